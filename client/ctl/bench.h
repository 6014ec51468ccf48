/* What bench measures with, and the rows it measures. Each row runs for a slice of time, again and again in
 * turn with the others, so that whatever the machine does meanwhile hits all of them alike.
 *
 * One thread. The other end of the bare sockets is a child process, which also gives the daemon its CPUs back when this process is gone,
 * however it went. What needs further processes or threads starts them as children: this one keeps its one thread, in which malloc takes no lock. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "buddyclient.h"
#include "observer.h"

#define BENCH_MESSAGE_BYTES   64u
#define BENCH_IN_FLIGHT       32u
#define BENCH_BATCH           64u
#define BENCH_PAIRS           100u /* of malloc, or cached, between two looks at the clock */
#define BENCH_ROUNDS          9
#define BENCH_SAMPLES         32768u
#define BENCH_HAND_OVER_BYTES (64u << 10)
#define BENCH_HAND_OVER_AHEAD 2u /* batches that the consumer may be behind */

/* What is measured, in nanoseconds of one operation. */
enum bench_figure {
        FIGURE_FUTEX_ROUND_TRIP,
        FIGURE_SOCKET_ROUND_TRIP,
        FIGURE_REQUEST_ROUND_TRIP, /* half an alloc + release pair */
        FIGURE_DAEMON_CPU,         /* of each of these requests */
        FIGURE_SOCKET_IN_FLIGHT,
        FIGURE_REQUEST_IN_FLIGHT,
        FIGURE_DAEMON_CPU_IN_FLIGHT,
        FIGURE_BATCH_ALLOC, /* of one range of a batch, as are the next two */
        FIGURE_BATCH_RELEASE,
        FIGURE_BATCH_PAIR,
        FIGURE_MALLOC_PAIR, /* glibc's malloc + free of 4 KiB */
        FIGURE_CACHED_4K,   /* pairs of a client with its cache on */
        FIGURE_CACHED_64K,
        FIGURE_CACHED_1M,
        FIGURE_CACHED_BATCH_ALLOC, /* the same with cache */
        FIGURE_CACHED_BATCH_RELEASE,
        FIGURE_CACHED_BATCH_PAIR,
        FIGURE_CACHED_THREADS,    /* 4 KiB, in each of two threads of one client on two CPUs */
        FIGURE_HAND_OVER_BATCHED, /* of one range of a batch, on two CPUs */
        FIGURE_HAND_OVER_STREAM,  /* one range per call, on two CPUs, the consumer runs behind */
        FIGURE_HAND_OVER_SINGLE,  /* the next one when the last is released, on one CPU */
        FIGURE_COUNT,
};

/* Durations of one slice. A full array goes round: the later part counts. */
struct bench_samples {
        uint32_t ns[BENCH_SAMPLES];
        size_t count;
};

struct cpu_pin;
struct partner_echo;

struct bench {
        const char *socket, *pool;  /* socket NULL: as the library finds it */
        pid_t daemon;               /* 0: not visible from here */
        struct cpu_pin *pin;        /* owned; NULL: nobody is pinned */
        int echo_fd;                /* to the child that echoes; owned; -1: none */
        pid_t echo_pid;             /* of the same */
        struct partner_echo *futex; /* owned */
        struct observer raw;        /* a session of its own, talked to by hand; owned */
        struct buddyclient *client; /* without cache; owned */
        struct buddyclient *cached; /* with; owned */
        uint64_t pair_bytes;        /* of the pairs of the slice that runs */
        unsigned pair_count;        /* of each sample */
        uint64_t requests;          /* of the slice that runs, where they are counted */
        struct bench_samples samples, more_samples; /* of the slice that runs */
        char detail[256]; /* of the last error, where neither client above has words for it */
};

/* Runs a slice and sets the row's figures. 0 or -errno, said by the caller; -ENODEV: it takes a second CPU. Leaves no range held. */
typedef int bench_row(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]);
bench_row bench_futex_round_trip, bench_round_trips, bench_in_flight, bench_batch, bench_cached_4k,
        bench_cached_64k, bench_cached_1m, bench_cached_batch, bench_cached_threads,
        bench_hand_over_batched, bench_hand_over_stream, bench_hand_over_single;

typedef int bench_operation(struct bench *bench);
bench_operation bench_malloc_pairs; /* BENCH_PAIRS of malloc + free of 4 KiB */

/* p50 in nanoseconds of an operation, which is called until the slice is over. Its error ends it. */
int bench_sample(struct bench *bench, int64_t slice_ns, bench_operation *operation, double *p50);

/* The same for an operation and its floor, which take turns, as a CPU changes its speed from slice to slice. */
struct bench_beside {
        bench_operation *operation, *floor;
        unsigned turn; /* so many times in a row each */
};
int bench_sample_beside(struct bench *bench, int64_t slice_ns, const struct bench_beside *beside,
        double *p50, double *floor_p50);

/* A connected client of the pool. On failure sets bench->detail. */
int bench_client_new(struct bench *bench, bool cached, struct buddyclient **out);
void bench_say_of_child(struct bench *bench, int error); /* whose client's words are gone */

/* Middle of count > 0 values, which it sorts. */
double bench_median(double *values, size_t count);

/* Middle of the durations since the last call, which are dropped; 0 if there are none. */
double bench_samples_take(struct bench_samples *samples);
void bench_samples_add(struct bench_samples *samples, int64_t ns);

/* What a run came to. */
struct bench_result {
        double rounds[FIGURE_COUNT][BENCH_ROUNDS]; /* NAN: not measured */
        int refused[FIGURE_COUNT];                 /* why not: a negative errno of a row, or 0 */
        double seconds;
        int cpu; /* -1: nobody is pinned */
        bool daemon_pinned;
};

/* Medians over the rounds: of a figure, and of its ratio to another one of the same round. NAN: a round is
 * without it. */
double bench_middle(const struct bench_result *result, enum bench_figure figure);
double bench_ratio(
        const struct bench_result *result, enum bench_figure figure, enum bench_figure floor);

void bench_print_json(const struct bench_result *result);
void bench_print_text(const struct bench_result *result);

/* Puts this process and, if daemon is not 0, all threads of that process on one CPU. NULL: not permitted, or
 * not possible, and nothing is changed. */
struct cpu_pin *cpu_pin_new(pid_t daemon);

/* The CPU; and another one, -1: there is none. */
int cpu_pin_cpu(const struct cpu_pin *pin);
int cpu_pin_other_cpu(const struct cpu_pin *pin);

/* Gives the daemon its own setting back for a while, and ends that; restore also frees. NULL is fine. */
void cpu_pin_loosen(const struct cpu_pin *pin);
void cpu_pin_tighten(const struct cpu_pin *pin);
void cpu_pin_restore(struct cpu_pin *pin);

/* Puts the calling thread on a CPU. -errno. */
int cpu_move(int cpu);

/* Starts the child that echoes; when its socket closes it restores pin (owned by the child and by the
 * caller each for itself) and ends. -errno. */
int echo_start(struct bench *bench, struct cpu_pin *pin);

/* So many messages to the child and back. */
int echo_exchange(struct bench *bench, unsigned messages);

/* Closes its socket and waits for its end. */
void echo_stop(struct bench *bench);

/* What bench measures with, and the rows it measures. Each row runs for a slice of time, again and again in
 * turn with the others, so that whatever the machine does meanwhile hits all of them alike.
 *
 * One thread. The other end of the bare sockets is a child process, which also gives the daemon its CPUs
 * back when this process is gone, however it went. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "buddyclient.h"
#include "observer.h"

#define BENCH_MESSAGE_BYTES 64u
#define BENCH_IN_FLIGHT     32u
#define BENCH_BATCH         64u
#define BENCH_SAMPLES       32768u

/* What is measured, in nanoseconds of one operation. */
enum bench_figure {
        FIGURE_SOCKET_ROUND_TRIP,
        FIGURE_REQUEST_ROUND_TRIP, /* half an alloc + release pair */
        FIGURE_SOCKET_IN_FLIGHT,
        FIGURE_REQUEST_IN_FLIGHT,
        FIGURE_BATCH_ALLOC, /* of one range of a batch */
        FIGURE_BATCH_RELEASE,
        FIGURE_MALLOC_PAIR, /* glibc's malloc + free of 4 KiB */
        FIGURE_COUNT,
};

/* Durations of one slice. A full array goes round: the later part counts. */
struct bench_samples {
        uint32_t ns[BENCH_SAMPLES];
        size_t count;
};

struct bench {
        int echo_fd; /* to the child that echoes; owned; -1: none */
        pid_t echo_pid;
        struct observer raw;        /* a session of its own, talked to by hand; owned */
        struct buddyclient *client; /* without cache; owned */
        uint64_t page_bytes;
        struct bench_samples samples, more_samples; /* of the slice that runs */
};

/* Runs one slice of slice_ns and sets the row's figures. 0 or -errno; what went wrong is said by the
 * caller. Leaves no range held. */
typedef int bench_row(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]);
bench_row bench_socket_round_trip, bench_request_round_trip, bench_socket_in_flight,
        bench_request_in_flight, bench_batch, bench_malloc;

/* Middle of count > 0 values, which it sorts. */
double bench_median(double *values, size_t count);

/* Middle of the durations since the last call, which are dropped; 0 if there are none. */
double bench_samples_take(struct bench_samples *samples);
void bench_samples_add(struct bench_samples *samples, int64_t ns);

struct cpu_pin;

/* Puts this process and, if daemon is not 0, all threads of that process on one CPU. NULL: not permitted, or
 * not possible, and nothing is changed. */
struct cpu_pin *cpu_pin_new(pid_t daemon);

/* The CPU. */
int cpu_pin_cpu(const struct cpu_pin *pin);

/* Gives the daemon its own setting back, and frees. NULL is fine. */
void cpu_pin_restore(struct cpu_pin *pin);

/* Starts the child that echoes; when its socket closes it restores pin (owned by the child and by the
 * caller each for itself) and ends. -errno. */
int echo_start(struct bench *bench, struct cpu_pin *pin);

/* Closes its socket and waits for its end. */
void echo_stop(struct bench *bench);

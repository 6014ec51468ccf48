/* Hand-overs: one process allocates and gives, another one releases. Which ranges, it learns through a ring in
 * memory that both see, so that what is measured beside the library's calls is one futex. */
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "client/deadline.h"
#include "partner.h"

#define RING_SLOTS 64u
#define RING_ENDED (1u << 31) /* in put: nothing follows */

/* Both counters only rise; what is between them is in the ring. */
struct ring {
        alignas(64) _Atomic uint32_t put;
        alignas(64) _Atomic uint32_t taken;
        alignas(64) _Atomic uint32_t peer; /* the consumer's id; 0: it is not there yet */
        _Atomic int error;                 /* of the consumer */
        struct buddyclient_range ranges[RING_SLOTS][BENCH_BATCH];
};

struct hand_over {
        struct bench *bench;
        struct ring *ring;
        uint32_t batch; /* ranges in a slot: 1, or BENCH_BATCH */
        uint32_t ahead; /* slots that the consumer may be behind */
        int cpu;        /* the consumer's; -1: wherever it is put */
};

static void consume(struct hand_over *way, struct buddyclient *client) {
        struct ring *ring = way->ring;
        for (uint32_t taken = 0;;) {
                uint32_t put = atomic_load(&ring->put);
                if (taken == (put & ~RING_ENDED)) {
                        if (put & RING_ENDED)
                                return;
                        partner_sleep(&ring->put, put);
                        continue;
                }
                struct buddyclient_range *ranges = ring->ranges[taken % RING_SLOTS];
                int error = way->batch == 1 ? buddyclient_release(client, ranges)
                                            : buddyclient_release_many(client, ranges, way->batch);
                if (error != 0)
                        atomic_store(&ring->error, error);
                atomic_store(&ring->taken, ++taken);
                partner_wake(&ring->taken);
                if (error != 0)
                        return;
        }
}

static void consumer_run(void *context) {
        struct hand_over *way = context;
        struct buddyclient *client = NULL;
        int error = way->cpu >= 0 ? cpu_move(way->cpu) : 0;
        if (error == 0)
                error = bench_client_new(way->bench, true, &client);
        atomic_store(&way->ring->error, error);
        atomic_store(&way->ring->peer, error == 0 ? buddyclient_id(client) : UINT32_MAX);
        partner_wake(&way->ring->peer);
        if (error == 0)
                consume(way, client);
        buddyclient_destroy(client);
}

static int give_slot(struct hand_over *way, struct buddyclient_range *ranges) {
        struct buddyclient *client = way->bench->cached;
        uint32_t peer = atomic_load(&way->ring->peer);
        int error = way->batch == 1 ? buddyclient_alloc(client, BENCH_HAND_OVER_BYTES, ranges)
                                    : buddyclient_alloc_many(
                                              client, BENCH_HAND_OVER_BYTES, way->batch, ranges);
        if (error != 0)
                return error;
        error = way->batch == 1 ? buddyclient_give(client, ranges, peer)
                                : buddyclient_give_many(client, ranges, way->batch, peer);
        if (error != 0)
                buddyclient_release_many(client, ranges, way->batch);
        return error;
}

/* Waits until no more than so many slots are in the ring. */
static int ring_drain(struct ring *ring, uint32_t rest) {
        for (;;) {
                uint32_t taken = atomic_load(&ring->taken);
                int error = atomic_load(&ring->error); /* after which it takes nothing more */
                if (error != 0 || atomic_load(&ring->put) - taken <= rest)
                        return error;
                error = partner_sleep(&ring->taken, taken);
                if (error != 0)
                        return error;
        }
}

static void ring_end(struct ring *ring, uint32_t put) {
        atomic_store(&ring->put, put | RING_ENDED);
        partner_wake(&ring->put);
}

static int produce(struct hand_over *way, int64_t slice_ns, double *ns) {
        struct ring *ring = way->ring;
        int64_t begin = deadline_now(), now = begin;
        uint32_t put = 0;
        int error = 0;
        while (error == 0 && now - begin < slice_ns) {
                error = give_slot(way, ring->ranges[put % RING_SLOTS]);
                if (error != 0)
                        break;
                atomic_store(&ring->put, ++put);
                partner_wake(&ring->put);
                error = ring_drain(ring, way->ahead - 1);
                now = deadline_now();
        }
        if (error == 0)
                error = ring_drain(ring, 0);
        if (error == 0)
                *ns = (double)(deadline_now() - begin) / put / way->batch;
        ring_end(ring, put);
        return error;
}

static int run(struct hand_over *way, int64_t slice_ns, double *ns) {
        pid_t consumer;
        int error = partner_start(&consumer, consumer_run, way);
        if (error != 0)
                return error;
        error = partner_sleep(&way->ring->peer, 0);
        if (error == 0)
                error = atomic_load(&way->ring->error);
        if (error == 0)
                error = produce(way, slice_ns, ns);
        else
                ring_end(way->ring, 0);
        partner_await(consumer);
        /* Its error is the cause of ours: we waited for it while it waited for the daemon, or it is gone with it. */
        int cause = atomic_load(&way->ring->error);
        if (error == 0 || cause == 0)
                return error;
        bench_say_of_child(way->bench, cause);
        return cause;
}

static int hand_over(struct hand_over *way, int64_t slice_ns, double *ns) {
        way->ring = partner_memory_new(sizeof(*way->ring));
        if (!way->ring)
                return -ENOMEM;
        int error = run(way, slice_ns, ns);
        partner_memory_free(way->ring, sizeof(*way->ring));
        return error;
}

/* The consumer on a CPU of its own. */
static int hand_over_two_cpus(struct hand_over *way, int64_t slice_ns, double *ns) {
        const struct cpu_pin *pin = way->bench->pin;
        way->cpu = pin ? cpu_pin_other_cpu(pin) : -1;
        return pin && way->cpu < 0 ? -ENODEV : hand_over(way, slice_ns, ns);
}

/* The daemon works for both, and is where it likes. */
int bench_hand_over_batched(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        struct hand_over way = {
                .bench = bench, .batch = BENCH_BATCH, .ahead = BENCH_HAND_OVER_AHEAD};
        cpu_pin_loosen(bench->pin);
        int error = hand_over_two_cpus(&way, slice_ns, &figures[FIGURE_HAND_OVER_BATCHED]);
        cpu_pin_tighten(bench->pin);
        return error;
}

/* The daemon stays with the producer, whose requests are compared with others that it makes there. */
int bench_hand_over_stream(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        struct hand_over way = {.bench = bench, .batch = 1, .ahead = RING_SLOTS};
        return hand_over_two_cpus(&way, slice_ns, &figures[FIGURE_HAND_OVER_STREAM]);
}

int bench_hand_over_single(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        struct hand_over way = {.bench = bench, .batch = 1, .ahead = 1, .cpu = -1};
        return hand_over(&way, slice_ns, &figures[FIGURE_HAND_OVER_SINGLE]);
}

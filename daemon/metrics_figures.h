/* What metrics are made of: the figures of all pools, taken before the first line is written, as a family has its
 * lines of all pools together. Plain data, the caller's. */
#pragma once

#include "core/geometry.h"
#include "proto/message.h"
#include "refusals.h"

struct connection;
struct worker;

/* Upper bounds of a latency histogram, as they are written and in ns. */
#define METRICS_BOUNDS(X)                                                                          \
        X("1e-06", 1000)                                                                           \
        X("2.5e-06", 2500)                                                                         \
        X("5e-06", 5000)                                                                           \
        X("1e-05", 10000)                                                                          \
        X("2.5e-05", 25000)                                                                        \
        X("5e-05", 50000)                                                                          \
        X("0.0001", 100000)                                                                        \
        X("0.00025", 250000)                                                                       \
        X("0.0005", 500000)                                                                        \
        X("0.001", 1000000)                                                                        \
        X("0.0025", 2500000)                                                                       \
        X("0.005", 5000000)                                                                        \
        X("0.01", 10000000)                                                                        \
        X("0.025", 25000000)                                                                       \
        X("0.05", 50000000)                                                                        \
        X("0.1", 100000000)                                                                        \
        X("0.25", 250000000)                                                                       \
        X("0.5", 500000000)                                                                        \
        X("1.0", 1000000000)                                                                       \
        X("2.5", 2500000000)                                                                       \
        X("5.0", 5000000000)                                                                       \
        X("10.0", 10000000000)

#define X(text, ns) +1
enum { METRICS_BOUND_COUNT = 0 METRICS_BOUNDS(X) };
#undef X

struct metrics_latency {
        uint64_t at_most[METRICS_BOUND_COUNT]; /* values up to each bound */
        uint64_t count, sum_ns;
};

/* One user of a pool. */
struct metrics_uid {
        uint32_t uid;
        uint64_t held_bytes, cached_bytes, held_ranges, clients, waiters;
        struct refusals_row refused; /* since_ms 0: never */
};

struct metrics_pool {
        struct reply_stats stats; /* its orders are the ones below */
        struct reply_order orders[ORDER_COUNT];
        struct metrics_latency alloc, free;
        struct metrics_uid *uids; /* owned; ascending */
        size_t uid_count;
};

struct metrics_figures {
        struct metrics_pool *pools; /* owned */
        size_t pool_count;
};

/* Takes them, of the pools that the peer of this connection is admitted to; NULL: of all. For a worker's thread. -ENOMEM: with nothing left behind. */
int metrics_figures_take(
        struct worker *worker, const struct connection *viewer, struct metrics_figures *out);
void metrics_figures_free(struct metrics_figures *figures);

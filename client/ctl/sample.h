/* The statistics of one instant, kept, and what happened between two of them. Not thread-safe. */
#pragma once

#include "ask.h"

struct sample {
        struct reply_stats stats; /* points into this; do not copy it */
        double taken;             /* seconds of the monotonic clock */
        char pool[MESSAGE_NAME_MAX + 1], backing[MESSAGE_NAME_MAX + 1];
        struct reply_order orders[MESSAGE_ORDERS_MAX];
};

enum exit_status sample_take(struct observer *observer, struct sample *out);

/* Per second. */
struct rates {
        double seconds; /* that they are over */
        bool since_start;
        double allocs, frees, cache_hits, granted_bytes;
};

/* Between two samples; before NULL, or of an earlier daemon: since the daemon's start. */
struct rates rates_between(const struct sample *before, const struct sample *after);

/* Share of what was granted since the daemon's start that nobody asked for: lengths are rounded up to powers of two. */
double stats_waste_ratio(const struct reply_stats *stats);

/* The order of blocks by which fragmentation is told: of 2 MiB, or the pool's largest below. NULL: the pool has none. */
const struct reply_order *stats_large_order(const struct reply_stats *stats);

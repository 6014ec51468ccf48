/* See sample.h. */
#include "sample.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define LARGE_BYTES (UINT64_C(2) << 20)

enum exit_status sample_take(struct observer *observer, struct sample *out) {
        struct request request = {.kind = REQUEST_STATS};
        struct reply reply;
        struct timespec now;
        enum exit_status status = ask(observer, &request, REPLY_STATS, &reply);
        if (status != EXIT_DONE)
                return status;
        clock_gettime(CLOCK_MONOTONIC, &now);
        out->taken = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
        out->stats = reply.stats;
        snprintf(out->pool, sizeof(out->pool), "%s", reply.stats.pool);
        snprintf(out->backing, sizeof(out->backing), "%s", reply.stats.backing);
        for (size_t i = 0; i < reply.stats.order_count; i++)
                out->orders[i] = reply.stats.orders[i];
        out->stats.pool = out->pool;
        out->stats.backing = out->backing;
        out->stats.orders = out->orders;
        return EXIT_DONE;
}

static double per_second(uint64_t before, uint64_t after, double seconds) {
        return after > before && seconds > 0 ? (double)(after - before) / seconds : 0;
}

struct rates rates_between(const struct sample *before, const struct sample *after) {
        static const struct reply_stats none;
        const struct reply_stats *now = &after->stats, *then = &none;
        struct rates rates = {.since_start = true, .seconds = (double)now->uptime_seconds};
        if (before && before->stats.restarts == now->restarts &&
                before->stats.allocs_total <= now->allocs_total &&
                before->stats.uptime_seconds <= now->uptime_seconds) {
                then = &before->stats;
                rates.since_start = false;
                rates.seconds = after->taken - before->taken;
        }
        /* Uptime has whole seconds only. */
        double seconds = rates.since_start && rates.seconds < 1 ? 1 : rates.seconds;
        rates.allocs = per_second(then->allocs_total, now->allocs_total, seconds);
        rates.frees = per_second(then->frees_total, now->frees_total, seconds);
        rates.cache_hits = per_second(then->cache_hits_total, now->cache_hits_total, seconds);
        rates.granted_bytes =
                per_second(then->granted_bytes_total, now->granted_bytes_total, seconds);
        return rates;
}

double stats_waste_ratio(const struct reply_stats *stats) {
        uint64_t granted = stats->granted_bytes_total, requested = stats->requested_bytes_total;
        return granted > requested ? (double)(granted - requested) / (double)granted : 0;
}

const struct reply_order *stats_large_order(const struct reply_stats *stats) {
        const struct reply_order *found = NULL;
        for (size_t i = 0; i < stats->order_count; i++)
                if (!found || stats->orders[i].block_bytes <= LARGE_BYTES)
                        found = &stats->orders[i];
        return found;
}

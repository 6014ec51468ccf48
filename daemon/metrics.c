/* The families and their lines. */
#include "metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "metrics_figures.h"
#include "metrics_writer.h"
#include "serving.h"

#define LABELS_BYTES 160 /* a pool's name of POOL_NAME_MAX and a few numbers */

struct rendering {
        struct metrics_writer writer;
        const struct metrics_figures *figures;
        uint64_t started_ms; /* wall clock */
};

static void labels_pool(char labels[LABELS_BYTES], const struct metrics_pool *pool) {
        snprintf(labels, LABELS_BYTES, "pool=\"%s\"", pool->stats.pool);
}

/* ---- The daemon ---- */

static void render_daemon(struct rendering *rendering, const struct serving *serving) {
        static const struct metric_family build = {
                "buddyd_build_info", METRIC_GAUGE, NULL, "The version that runs."};
        static const struct metric_family start = {"buddyd_start_time_seconds", METRIC_GAUGE,
                "seconds", "When the daemon started, since 1970-01-01 UTC."};
        static const struct metric_family workers = {
                "buddyd_workers", METRIC_GAUGE, NULL, "Threads that serve clients."};
        static const struct metric_family connections = {"buddyd_connections", METRIC_GAUGE, NULL,
                "Connections to the daemon's socket, tools that look included."};
        struct metrics_writer *writer = &rendering->writer;
        metrics_family(writer, &build);
        metrics_integer(writer, "", "version=\"" BUDDYD_VERSION "\"", 1);
        metrics_family(writer, &start);
        metrics_number(writer, "", "", (double)rendering->started_ms / 1e3);
        metrics_family(writer, &workers);
        metrics_integer(writer, "", "", serving->worker_count);
        uint64_t count = 0;
        for (unsigned i = 0; i < serving->worker_count; i++)
                count += atomic_load_explicit(
                        &serving->workers[i].connection_count, memory_order_relaxed);
        metrics_family(writer, &connections);
        metrics_integer(writer, "", "", count);
}

/* ---- Pools: one figure each ---- */

struct pool_family {
        struct metric_family family;
        size_t field;  /* of struct reply_stats */
        bool outlives; /* a counter that is older than the daemon */
};

#define BYTES(name, help)                                                                          \
        {                                                                                          \
                {"buddyd_pool_" #name, METRIC_GAUGE, "bytes", help},                               \
                        offsetof(struct reply_stats, name), false                                  \
        }
#define COUNT(name, help)                                                                          \
        {                                                                                          \
                {"buddyd_pool_" #name, METRIC_GAUGE, NULL, help},                                  \
                        offsetof(struct reply_stats, name), false                                  \
        }
#define TOTAL(name, unit, help)                                                                    \
        {                                                                                          \
                {"buddyd_pool_" #name, METRIC_COUNTER, unit, help},                                \
                        offsetof(struct reply_stats, name##_total), false                          \
        }

static const struct pool_family pool_families[] = {
        BYTES(page_bytes, "Bytes of the smallest range."),
        BYTES(size_bytes, "Bytes of the pool."),
        BYTES(capacity_bytes, "Bytes that the pool may grow to."),
        BYTES(held_bytes, "Bytes that clients, keys or the operator hold and that may be in use."),
        BYTES(cached_bytes, "Bytes in clients' caches, which go to others who need them."),
        BYTES(free_bytes, "Bytes that nobody holds."),
        BYTES(largest_free_bytes, "Bytes of the largest block that is free."),
        BYTES(resident_bytes, "Bytes of memory that the pool occupies."),
        COUNT(clients, "Clients that are connected."),
        COUNT(waiters, "Allocs that wait for memory."),
        COUNT(draining, "1 while nothing is granted, else 0."),
        COUNT(orphans, "Clients of an earlier daemon or a lost connection that may come back."),
        {{"buddyd_pool_restarts", METRIC_COUNTER, NULL,
                 "How often a daemon took the pool over from an earlier one."},
                offsetof(struct reply_stats, restarts), true},
        TOTAL(allocs, NULL, "Ranges that were granted."),
        TOTAL(frees, NULL, "Ranges that clients released."),
        TOTAL(cache_hits, NULL, "Ranges that clients took out of their caches."),
        TOTAL(requested_bytes, "bytes", "Bytes that were asked for, of granted ranges."),
        TOTAL(granted_bytes, "bytes", "Bytes that were granted for them."),
        TOTAL(reclaimed_bytes, "bytes", "Bytes that came back from clients that ended."),
        TOTAL(no_space, NULL, "Requests that were refused for want of a free block."),
        TOTAL(quota_refusals, NULL, "Requests that were refused as over a quota."),
};

static void render_pool_family(struct rendering *rendering, const struct pool_family *family) {
        char labels[LABELS_BYTES];
        metrics_family(&rendering->writer, &family->family);
        for (size_t i = 0; i < rendering->figures->pool_count; i++) {
                const struct metrics_pool *pool = &rendering->figures->pools[i];
                const char *field = (const char *)&pool->stats + family->field;
                uint64_t value = *(const uint64_t *)(const void *)field;
                labels_pool(labels, pool);
                if (family->family.type == METRIC_COUNTER)
                        metrics_counter(&rendering->writer, labels, value,
                                family->outlives ? 0 : rendering->started_ms);
                else
                        metrics_integer(&rendering->writer, "", labels, value);
        }
}

static void render_backings(struct rendering *rendering) {
        static const struct metric_family family = {
                "buddyd_pool_info", METRIC_GAUGE, NULL, "What the pool lies in."};
        metrics_family(&rendering->writer, &family);
        for (size_t i = 0; i < rendering->figures->pool_count; i++) {
                const struct reply_stats *stats = &rendering->figures->pools[i].stats;
                char labels[LABELS_BYTES];
                snprintf(labels, sizeof(labels), "pool=\"%s\",backing=\"%s\"", stats->pool,
                        stats->backing);
                metrics_integer(&rendering->writer, "", labels, 1);
        }
}

static void render_oldest_waiters(struct rendering *rendering) {
        static const struct metric_family family = {"buddyd_pool_oldest_waiter_seconds",
                METRIC_GAUGE, "seconds", "How long the alloc has waited that waits longest."};
        metrics_family(&rendering->writer, &family);
        for (size_t i = 0; i < rendering->figures->pool_count; i++) {
                const struct metrics_pool *pool = &rendering->figures->pools[i];
                char labels[LABELS_BYTES];
                labels_pool(labels, pool);
                metrics_number(
                        &rendering->writer, "", labels, (double)pool->stats.oldest_waiter_ms / 1e3);
        }
}

/* ---- Latencies ---- */

static void render_latency(struct rendering *rendering, const struct metrics_pool *pool,
        const struct metrics_latency *latency) {
        static const char *const bounds[METRICS_BOUND_COUNT] = {
#define X(text, ns) text,
                METRICS_BOUNDS(X)
#undef X
        };
        struct metrics_writer *writer = &rendering->writer;
        char labels[LABELS_BYTES];
        for (size_t i = 0; i < METRICS_BOUND_COUNT; i++) {
                snprintf(labels, sizeof(labels), "pool=\"%s\",le=\"%s\"", pool->stats.pool,
                        bounds[i]);
                metrics_integer(writer, "_bucket", labels, latency->at_most[i]);
        }
        snprintf(labels, sizeof(labels), "pool=\"%s\",le=\"+Inf\"", pool->stats.pool);
        metrics_integer(writer, "_bucket", labels, latency->count);
        labels_pool(labels, pool);
        metrics_integer(writer, "_count", labels, latency->count);
        metrics_number(writer, "_sum", labels, (double)latency->sum_ns / 1e9);
        metrics_created(writer, labels, rendering->started_ms);
}

static void render_latencies(struct rendering *rendering) {
        static const struct metric_family alloc = {"buddyd_pool_alloc_duration_seconds",
                METRIC_HISTOGRAM, "seconds",
                "Time in the daemon of allocs that do not wait, from the request to the reply."};
        static const struct metric_family release = {"buddyd_pool_free_duration_seconds",
                METRIC_HISTOGRAM, "seconds",
                "Time in the daemon of releases, from the request to the reply."};
        const struct metrics_figures *figures = rendering->figures;
        metrics_family(&rendering->writer, &alloc);
        for (size_t i = 0; i < figures->pool_count; i++)
                render_latency(rendering, &figures->pools[i], &figures->pools[i].alloc);
        metrics_family(&rendering->writer, &release);
        for (size_t i = 0; i < figures->pool_count; i++)
                render_latency(rendering, &figures->pools[i], &figures->pools[i].free);
}

/* ---- Orders ---- */

enum order_figure {
        ORDER_BLOCK_BYTES,
        ORDER_FREE,
        ORDER_HELD,
        ORDER_UNUSABLE,
        ORDER_FRAGMENTATION,
        ORDER_FIGURES,
};

static const struct metric_family order_families[ORDER_FIGURES] = {
        [ORDER_BLOCK_BYTES] = {"buddyd_order_block_bytes", METRIC_GAUGE, "bytes",
                "Bytes of a block of this order."},
        [ORDER_FREE] = {"buddyd_order_free_blocks", METRIC_GAUGE, NULL,
                "Free blocks of this order."},
        [ORDER_HELD] = {"buddyd_order_held_blocks", METRIC_GAUGE, NULL,
                "Held blocks of this order."},
        [ORDER_UNUSABLE] = {"buddyd_order_unusable_ratio", METRIC_GAUGE, "ratio",
                "Share of the free memory in blocks too small for this order."},
        [ORDER_FRAGMENTATION] = {"buddyd_order_fragmentation_index", METRIC_GAUGE, NULL,
                "Why no block of this order is free: 0 for lack of memory, 1 for fragmentation; -1 "
                "while one is."},
};

static void render_order(struct rendering *rendering, enum order_figure figure, const char *labels,
        const struct reply_order *order) {
        struct metrics_writer *writer = &rendering->writer;
        switch (figure) {
        case ORDER_BLOCK_BYTES:
                metrics_integer(writer, "", labels, order->block_bytes);
                break;
        case ORDER_FREE:
                metrics_integer(writer, "", labels, order->free_blocks);
                break;
        case ORDER_HELD:
                metrics_integer(writer, "", labels, order->held_blocks);
                break;
        case ORDER_UNUSABLE:
                metrics_number(writer, "", labels, order->unusable_index);
                break;
        case ORDER_FRAGMENTATION:
                metrics_number(writer, "", labels, order->fragmentation_index);
                break;
        case ORDER_FIGURES:
                break;
        }
}

static void render_orders(struct rendering *rendering, enum order_figure figure) {
        metrics_family(&rendering->writer, &order_families[figure]);
        for (size_t i = 0; i < rendering->figures->pool_count; i++) {
                const struct metrics_pool *pool = &rendering->figures->pools[i];
                for (size_t k = 0; k < pool->stats.order_count; k++) {
                        char labels[LABELS_BYTES];
                        snprintf(labels, sizeof(labels), "pool=\"%s\",order=\"%" PRIu32 "\"",
                                pool->stats.pool, pool->orders[k].order);
                        render_order(rendering, figure, labels, &pool->orders[k]);
                }
        }
}

/* ---- Users ---- */

struct uid_family {
        struct metric_family family;
        size_t field; /* of struct metrics_uid */
};

static const struct uid_family uid_families[] = {
        {{"buddyd_uid_held_bytes", METRIC_GAUGE, "bytes",
                 "Bytes that this user's clients hold, what is shared once for each that holds "
                 "it."},
                offsetof(struct metrics_uid, held_bytes)},
        {{"buddyd_uid_cached_bytes", METRIC_GAUGE, "bytes",
                 "Bytes in the caches of this user's clients."},
                offsetof(struct metrics_uid, cached_bytes)},
        {{"buddyd_uid_held_ranges", METRIC_GAUGE, NULL,
                 "Holds of this user's clients, cached ones included."},
                offsetof(struct metrics_uid, held_ranges)},
        {{"buddyd_uid_clients", METRIC_GAUGE, NULL, "This user's clients that are connected."},
                offsetof(struct metrics_uid, clients)},
        {{"buddyd_uid_waiters", METRIC_GAUGE, NULL, "This user's allocs that wait for memory."},
                offsetof(struct metrics_uid, waiters)},
};

static void labels_uid(char labels[LABELS_BYTES], const struct metrics_pool *pool, uint32_t uid) {
        snprintf(labels, LABELS_BYTES, "pool=\"%s\",uid=\"%" PRIu32 "\"", pool->stats.pool, uid);
}

static void render_uid_family(struct rendering *rendering, const struct uid_family *family) {
        metrics_family(&rendering->writer, &family->family);
        for (size_t i = 0; i < rendering->figures->pool_count; i++) {
                const struct metrics_pool *pool = &rendering->figures->pools[i];
                for (size_t k = 0; k < pool->uid_count; k++) {
                        char labels[LABELS_BYTES];
                        const char *field = (const char *)&pool->uids[k] + family->field;
                        labels_uid(labels, pool, pool->uids[k].uid);
                        metrics_integer(&rendering->writer, "", labels,
                                *(const uint64_t *)(const void *)field);
                }
        }
}

/* All reasons as soon as there is one, so that their rates begin at zero. */
static void render_uid_refusals(struct rendering *rendering, const struct metrics_pool *pool,
        const struct metrics_uid *user) {
        static const struct {
                enum status status;
                const char *reason;
        } reasons[] = {
                {STATUS_INVALID, "invalid"},
                {STATUS_TOO_BIG, "too_big"},
                {STATUS_NO_SPACE, "no_space"},
                {STATUS_TIMED_OUT, "timed_out"},
                {STATUS_QUOTA, "quota"},
                {STATUS_STALE, "stale"},
                {STATUS_DENIED, "denied"},
                {STATUS_NOT_FOUND, "not_found"},
                {STATUS_BUSY, "busy"},
        };
        for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
                char labels[LABELS_BYTES];
                snprintf(labels, sizeof(labels), "pool=\"%s\",uid=\"%" PRIu32 "\",reason=\"%s\"",
                        pool->stats.pool, user->uid, reasons[i].reason);
                metrics_counter(&rendering->writer, labels, user->refused.counts[reasons[i].status],
                        user->refused.since_ms);
        }
}

static void render_uids(struct rendering *rendering) {
        static const struct metric_family refusals = {"buddyd_uid_refusals", METRIC_COUNTER, NULL,
                "Requests of this user that were refused, by why."};
        for (size_t i = 0; i < sizeof(uid_families) / sizeof(uid_families[0]); i++)
                render_uid_family(rendering, &uid_families[i]);
        metrics_family(&rendering->writer, &refusals);
        for (size_t i = 0; i < rendering->figures->pool_count; i++) {
                const struct metrics_pool *pool = &rendering->figures->pools[i];
                for (size_t k = 0; k < pool->uid_count; k++)
                        if (pool->uids[k].refused.since_ms)
                                render_uid_refusals(rendering, pool, &pool->uids[k]);
        }
}

/* ---- The whole ---- */

static void render(struct rendering *rendering, const struct serving *serving) {
        render_daemon(rendering, serving);
        render_backings(rendering);
        for (size_t i = 0; i < sizeof(pool_families) / sizeof(pool_families[0]); i++)
                render_pool_family(rendering, &pool_families[i]);
        render_oldest_waiters(rendering);
        render_latencies(rendering);
        for (enum order_figure figure = 0; figure < ORDER_FIGURES; figure++)
                render_orders(rendering, figure);
        render_uids(rendering);
        metrics_end(&rendering->writer);
}

int metrics_render(struct worker *worker, enum metrics_format format,
        const struct connection *viewer, char **text, size_t *bytes) {
        struct metrics_figures figures;
        int error = metrics_figures_take(worker, viewer, &figures);
        if (error)
                return error;
        char *rendered = NULL;
        size_t length = 0;
        FILE *out = open_memstream(&rendered, &length);
        if (!out) {
                metrics_figures_free(&figures);
                return -ENOMEM;
        }
        struct rendering rendering = {
                .writer = {.out = out, .format = format},
                .figures = &figures,
                .started_ms = worker->serving->started_wall_ms,
        };
        render(&rendering, worker->serving);
        metrics_figures_free(&figures);
        bool whole = !ferror(out);
        if (fclose(out) != 0 || !whole) {
                free(rendered);
                return -ENOMEM;
        }
        *text = rendered;
        *bytes = length;
        return 0;
}

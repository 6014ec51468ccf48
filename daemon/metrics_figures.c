/* See metrics_figures.h. */
#include "metrics_figures.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "admission.h"
#include "connection.h"
#include "handle.h"
#include "serving.h"

static const uint64_t bounds_ns[METRICS_BOUND_COUNT] = {
#define X(text, ns) ns,
        METRICS_BOUNDS(X)
#undef X
};

/* ---- Users ---- */

/* The row of a uid, which is made if it is not there. NULL: no memory. The pointer lives until the next call. */
static struct metrics_uid *uid_row(struct metrics_pool *pool, uint32_t uid) {
        size_t low = 0, high = pool->uid_count;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (pool->uids[middle].uid < uid)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (low < pool->uid_count && pool->uids[low].uid == uid)
                return &pool->uids[low];
        struct metrics_uid *uids =
                reallocarray(pool->uids, pool->uid_count + 1, sizeof(*pool->uids));
        if (!uids)
                return NULL;
        pool->uids = uids;
        memmove(&uids[low + 1], &uids[low], (pool->uid_count - low) * sizeof(*uids));
        uids[low] = (struct metrics_uid){.uid = uid};
        pool->uid_count++;
        return &uids[low];
}

static int uids_from_sessions(struct metrics_pool *pool, struct served_pool *served) {
        uint64_t now_s = worker_clock_ns() / 1000000000;
        for (uint32_t at = 0; (at = pool_session_next(served->pool, at)) != 0;) {
                struct pool_session_info info;
                if (pool_session_info(served->pool, at, &info) != 0)
                        continue;
                if (at == SESSION_OPERATOR && info.held_ranges == 0)
                        continue;
                struct metrics_uid *row = uid_row(pool, info.identity.uid);
                if (!row)
                        return -ENOMEM;
                struct reply_client client = stats_client(served, &info, now_s);
                row->held_bytes += client.held_bytes;
                row->cached_bytes += client.cached_bytes;
                row->held_ranges += client.held_ranges;
                row->clients += client.connected;
                row->waiters += client.waiting;
        }
        return 0;
}

static int uids_from_refusals(struct metrics_pool *pool, struct served_pool *served) {
        struct refusals_row *rows;
        size_t count;
        int error = refusals_copy(&served->refusals, &rows, &count);
        if (error)
                return error;
        for (size_t i = 0; i < count && !error; i++) {
                struct metrics_uid *row = uid_row(pool, rows[i].uid);
                if (row)
                        row->refused = rows[i];
                else
                        error = -ENOMEM;
        }
        free(rows);
        return error;
}

/* ---- Pools ---- */

static void latency_take(const struct histogram *sum, struct metrics_latency *out) {
        for (size_t i = 0; i < METRICS_BOUND_COUNT; i++)
                out->at_most[i] = histogram_count_to(sum, bounds_ns[i]);
        out->count = histogram_count_to(sum, UINT64_MAX);
        out->sum_ns = sum->sum_ns;
}

/* A counter never goes down, whatever clients write into their caches. */
static uint64_t cache_hits_told(struct served_pool *served, uint64_t hits) {
        uint64_t told = atomic_load(&served->told_cache_hits);
        while (told < hits)
                if (atomic_compare_exchange_weak(&served->told_cache_hits, &told, hits))
                        return hits;
        return told;
}

static int pool_take(struct worker *worker, struct served_pool *served, struct metrics_pool *out) {
        struct worker_scratch *scratch = worker->scratch;
        stats_collect(worker, served, &out->stats);
        memcpy(out->orders, out->stats.orders, out->stats.order_count * sizeof(out->orders[0]));
        out->stats.orders = out->orders;
        out->stats.cache_hits_total = cache_hits_told(served, out->stats.cache_hits_total);
        latency_take(&scratch->statistics.alloc, &out->alloc);
        latency_take(&scratch->statistics.release, &out->free);
        int error = uids_from_sessions(out, served);
        return error ? error : uids_from_refusals(out, served);
}

static bool may_see(const struct connection *viewer, const struct served_pool *served) {
        return !viewer || admission_of(&served->store->settings.admission, &viewer->peer,
                                  viewer->fd) != ADMISSION_NONE;
}

int metrics_figures_take(
        struct worker *worker, const struct connection *viewer, struct metrics_figures *out) {
        struct serving *serving = worker->serving;
        struct metrics_figures figures = {
                .pools = calloc(serving->pool_count, sizeof(*figures.pools))};
        if (!figures.pools)
                return -ENOMEM;
        int error = 0;
        for (size_t i = 0; i < serving->pool_count && !error; i++)
                if (may_see(viewer, &serving->pools[i]))
                        error = pool_take(
                                worker, &serving->pools[i], &figures.pools[figures.pool_count++]);
        if (error)
                metrics_figures_free(&figures);
        else
                *out = figures;
        return error;
}

void metrics_figures_free(struct metrics_figures *figures) {
        for (size_t i = 0; i < figures->pool_count; i++)
                free(figures->pools[i].uids);
        free(figures->pools);
        *figures = (struct metrics_figures){0};
}

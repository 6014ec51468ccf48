/* stats, clients, holds and check: what operators see. */
#include "handle.h"

#include <string.h>

#include "serving.h"

/* ---- stats ---- */

static struct reply_latency latency_of(const struct histogram *histogram) {
        return (struct reply_latency){
                .p50 = (double)histogram_quantile(histogram, 0.50) / 1e3,
                .p99 = (double)histogram_quantile(histogram, 0.99) / 1e3,
                .p999 = (double)histogram_quantile(histogram, 0.999) / 1e3,
                .max = (double)histogram->max_ns / 1e3,
        };
}

static void stats_sizes(
        struct served_pool *served, const struct buddy_totals *totals, struct reply_stats *stats) {
        uint64_t page = served->page_bytes;
        stats->pool = served->store->settings.name;
        stats->backing = served->store->settings.backing == BACKING_MEMFD ? "memfd" : "posix-shm";
        stats->page_bytes = page;
        stats->size_bytes = totals->managed_pages * page;
        stats->capacity_bytes = pool_pages_max(served->pool) * page;
        stats->free_bytes = totals->free_pages * page;
        uint64_t granted_bytes = stats->size_bytes - stats->free_bytes;
        struct cache_figures cached;
        cache_count_all(served, &cached);
        stats->cached_bytes = cached.bytes < granted_bytes ? cached.bytes : granted_bytes;
        stats->held_bytes = granted_bytes - stats->cached_bytes;
        stats->cache_hits_total = cached.hits;
        stats->largest_free_bytes =
                totals->largest_free_order < 0 ? 0 : page << (unsigned)totals->largest_free_order;
        stats->resident_bytes = store_resident_bytes(served->store);
        stats->clients = served->clients;
        stats->waiters = waiters_count(&served->waiters);
        stats->oldest_waiter_ms = waiters_oldest_ms(&served->waiters);
        stats->orphans = served->orphans;
        stats->draining = atomic_load_explicit(&served->draining, memory_order_relaxed);
        stats->trimmed_bytes_total =
                atomic_load_explicit(&served->trimmed_bytes, memory_order_relaxed);
        stats->restarts = served->store->restarts;
}

static void stats_counters(
        struct served_pool *served, struct statistics *sum, struct reply_stats *stats) {
        memset(sum, 0, sizeof(*sum));
        served_pool_statistics(served, sum);
        stats->allocs_total = sum->allocs;
        stats->frees_total = sum->frees;
        stats->requested_bytes_total = sum->requested_bytes;
        stats->granted_bytes_total = sum->granted_bytes;
        stats->no_space_total = sum->no_space;
        stats->quota_refusals_total = sum->quota_refusals;
        stats->reclaimed_bytes_total = sum->reclaimed_bytes;
        stats->alloc = latency_of(&sum->alloc);
        stats->free = latency_of(&sum->release);
}

static size_t stats_orders(struct served_pool *served, const struct buddy_totals *totals,
        struct reply_order orders[ORDER_COUNT]) {
        uint64_t held[ORDER_COUNT];
        pool_held_blocks(served->pool, held);
        size_t count = log2_floor(pool_pages_max(served->pool)) + 1;
        for (unsigned order = 0; order < count; order++)
                orders[order] = (struct reply_order){
                        .order = order,
                        .block_bytes = served->page_bytes << order,
                        .free_blocks = totals->free_blocks[order],
                        .held_blocks = held[order],
                        .unusable_index = buddy_unusable_index(totals, order),
                        .fragmentation_index = buddy_fragmentation_index(totals, order),
                };
        return count;
}

void stats_collect(struct worker *worker, struct served_pool *served, struct reply_stats *stats) {
        struct worker_scratch *scratch = worker->scratch;
        struct buddy_totals totals;
        pool_totals(served->pool, &totals);
        *stats = (struct reply_stats){.orders = scratch->reply_orders};
        stats_sizes(served, &totals, stats);
        stats_counters(served, &scratch->statistics, stats);
        stats->order_count = stats_orders(served, &totals, scratch->reply_orders);
        stats->uptime_seconds = (worker_clock_ns() - worker->serving->started_ns) / 1000000000;
}

enum status handle_stats(struct call *call) {
        call->reply.kind = REPLY_STATS;
        stats_collect(call->worker, call->served, &call->reply.stats);
        return STATUS_OK;
}

/* ---- clients ---- */

static size_t list_limit(const struct request_list *list) {
        return list->limit == 0 || list->limit > MESSAGE_ENTRIES_MAX ? MESSAGE_ENTRIES_MAX
                                                                     : list->limit;
}

struct reply_client stats_client(
        struct served_pool *served, const struct pool_session_info *info, uint64_t now_s) {
        const struct presence *presence = served_pool_presence(served, info->session);
        uint64_t since_s = atomic_load_explicit(&presence->connected_since_s, memory_order_relaxed);
        struct cache_figures cached;
        cache_count(served, info->session, &cached);
        if (cached.bytes > info->held_bytes)
                cached.bytes = info->held_bytes;
        return (struct reply_client){
                .session = info->session,
                .name = info->identity.name,
                .pid = info->identity.pid,
                .uid = info->identity.uid,
                .connected = since_s != 0,
                .read_only = info->identity.read_only,
                .held_bytes = info->held_bytes - cached.bytes,
                .cached_bytes = cached.bytes,
                .held_ranges = info->held_ranges,
                .waiting = atomic_load_explicit(&presence->waiting, memory_order_relaxed),
                .connected_seconds = since_s != 0 && now_s + 1 > since_s ? now_s + 1 - since_s : 0,
        };
}

enum status handle_clients(struct call *call) {
        const struct request_list *list = &call->request->clients;
        struct worker_scratch *scratch = call->worker->scratch;
        struct pool *pool = call->served->pool;
        if (list->cursor >= LEDGER_SESSIONS)
                return call_refuse(call, STATUS_INVALID, "no such cursor");
        uint64_t now_s = worker_clock_ns() / 1000000000;
        size_t count = 0, limit = list_limit(list);
        uint32_t session = (uint32_t)list->cursor, last = session;
        while (count < limit && (session = pool_session_next(pool, session)) != 0) {
                struct pool_session_info *info = &scratch->sessions[count];
                last = session;
                if (session == SESSION_OPERATOR || pool_session_info(pool, session, info) != 0)
                        continue;
                scratch->reply_clients[count++] = stats_client(call->served, info, now_s);
        }
        call->reply.kind = REPLY_CLIENTS;
        call->reply.clients = (struct reply_clients){
                .entries = scratch->reply_clients,
                .count = count,
                .next_cursor = session == 0 ? 0 : last,
        };
        return STATUS_OK;
}

/* ---- holds ---- */

#define HOLDS_MIN 64u /* what the pool lists at least at once */

enum status handle_holds(struct call *call) {
        const struct request_list *list = &call->request->holds;
        struct worker_scratch *scratch = call->worker->scratch;
        uint64_t page_bytes = call->served->page_bytes;
        if (list->cursor >= PAGE_NONE)
                return call_refuse(call, STATUS_INVALID, "no such cursor");
        size_t limit = list_limit(list);
        uint32_t cursor = (uint32_t)list->cursor;
        size_t count = pool_list_holds(call->served->pool, list->session, &cursor, scratch->holds,
                limit < HOLDS_MIN ? HOLDS_MIN : limit);
        for (size_t i = 0; i < count; i++) {
                const struct pool_hold *hold = &scratch->holds[i];
                scratch->reply_holds[i] = (struct reply_hold){
                        .range = {.offset = hold->block.page * page_bytes,
                                .length = page_bytes << hold->block.order,
                                .generation = hold->block.generation},
                        .session = hold->session,
                        .given = hold->given,
                        .age_seconds = hold->age_s,
                        .key = hold->key,
                };
        }
        call->reply.kind = REPLY_HOLDS;
        call->reply.holds = (struct reply_holds){
                .entries = scratch->reply_holds,
                .count = count,
                .next_cursor = cursor == PAGE_NONE ? 0 : cursor,
        };
        return STATUS_OK;
}

/* ---- check ---- */

/* The only request for which all others stand still, so it is not for everybody. */
enum status handle_check(struct call *call) {
        enum status status = call_admit_operator(call);
        if (status != STATUS_OK)
                return status;
        struct pool_check_report *report = &call->worker->scratch->report;
        call_stop_others(call);
        uint64_t began_ns = worker_clock_ns();
        pool_check(call->served->pool, report);
        uint64_t took_ns = worker_clock_ns() - began_ns;
        call_let_others_go_on(call);

        call->reply.kind = REPLY_CHECK;
        call->reply.check = (struct reply_check){
                .pages = report->pages,
                .chunks = report->chunks,
                .records = report->records,
                .live_blocks = report->live_blocks,
                .holds = report->holds,
                .keys = report->keys,
                .sessions = report->sessions,
                .free_blocks = report->free_blocks,
                .microseconds = took_ns / 1000,
                .fault = report->fault,
        };
        return STATUS_OK;
}

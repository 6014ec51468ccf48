/* alloc and release, and what all requests about ranges have in common. */
#include "handle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "bytes.h"
#include "cache_share.h"
#include "quota.h"
#include "session.h"
#include "wait.h"
#include "worker.h"

#define PLACE_ORDER_MASK UINT64_C(0xfff)

/* ---- Between the wire and the pool ---- */

enum status call_order(struct call *call, uint64_t length, unsigned *order) {
        int error = pool_order_for(call->served->pool, length, order);
        if (error == -E2BIG) {
                uint64_t pages = pool_pages_max(call->served->pool);
                struct bytes_text most = bytes_whole(call->served->page_bytes << log2_floor(pages));
                return call_refuse(call, STATUS_TOO_BIG,
                        "%s is longer than this pool can ever grant: at most %s",
                        bytes_whole(length).text, most.text);
        }
        if (error)
                return call_refuse(call, STATUS_INVALID, "a range has at least one byte");
        return STATUS_OK;
}

static enum status call_refuse_range(struct call *call, uint64_t offset, uint64_t length) {
        return call_refuse(call, STATUS_INVALID,
                "offset %" PRIu64 ", length %" PRIu64 " is no range of this pool", offset, length);
}

enum status call_block(struct call *call, const struct message_range *range, struct block *out) {
        /* The upper half is the use of a range that its holder keeps in a cache. */
        uint64_t generation = range->generation >> 56 ? UINT64_MAX : (uint32_t)range->generation;
        int error =
                pool_block_at(call->served->pool, range->offset, range->length, generation, out);
        return error ? call_refuse_range(call, range->offset, range->length) : STATUS_OK;
}

enum status call_blocks(struct call *call, const struct message_ranges *ranges) {
        struct block *blocks = call->worker->scratch->blocks;
        if (ranges->count > MESSAGE_BATCH_MAX)
                return call_refuse(call, STATUS_INVALID, "%zu ranges: at most %u in one request",
                        ranges->count, MESSAGE_BATCH_MAX);
        for (size_t i = 0; i < ranges->count; i++) {
                uint64_t offset = ranges->places[i] & ~PLACE_ORDER_MASK;
                unsigned order = ranges->places[i] & PLACE_ORDER_MASK;
                if (pool_block_of(call->served->pool, offset, order, ranges->generations[i],
                            &blocks[i]) != 0)
                        return call_refuse_range(call, offset,
                                order < ORDER_COUNT ? call->served->page_bytes << order : 0);
        }
        return STATUS_OK;
}

void call_reply_blocks(struct call *call, const struct block *blocks, size_t count) {
        struct worker_scratch *scratch = call->worker->scratch;
        for (size_t i = 0; i < count; i++) {
                scratch->places[i] = served_pool_place(call->served, blocks[i]);
                scratch->generations[i] = blocks[i].generation;
        }
        call->reply.kind = REPLY_RANGES;
        call->reply.ranges = (struct message_ranges){
                .places = scratch->places, .generations = scratch->generations, .count = count};
}

enum status call_refuse_block(struct call *call, int error, struct block block) {
        uint64_t offset = block.page * call->served->page_bytes;
        switch (error) {
        case -ESTALE:
                return call_refuse(call, STATUS_STALE,
                        "the range at offset %" PRIu64 ", generation %" PRIu32
                        " is not held by this client (any more)",
                        offset, block.generation);
        case -EINVAL:
                return call_refuse(call, STATUS_INVALID,
                        "no range of %s was granted at offset %" PRIu64,
                        bytes_whole(call->served->page_bytes << block.order).text, offset);
        case -ENOSPC:
                return call_refuse(call, STATUS_NO_SPACE, "the table of shared holds is full");
        default:
                return call_refuse(call, status_from_errno(error), "refused by the pool");
        }
}

void call_freed(struct call *call) {
        waiters_serve(&call->served->waiters);
}

/* ---- alloc ---- */

enum status call_admit_grant(struct call *call) {
        if (!atomic_load_explicit(&call->served->draining, memory_order_relaxed))
                return STATUS_OK;
        served_pool_explain_draining(call->served, call->detail);
        return STATUS_NO_SPACE;
}

enum status call_refuse_grant(struct call *call, int error, unsigned order, size_t count) {
        /* What a failed grant held for a moment may be what somebody waits for. */
        call_freed(call);
        switch (error) {
        case -ENOMEM:
                statistics_count(&worker_statistics(call->worker, call->served)->no_space, 1);
                served_pool_explain(call->served, order, count, call->detail);
                return STATUS_NO_SPACE;
        case -ENOSPC:
                served_pool_explain_unbacked(call->served, order, count, call->detail);
                return STATUS_NO_SPACE;
        default:
                return call_refuse(call, status_from_errno(error), "the session is closing");
        }
}

static void alloc_count(struct call *call, unsigned order, size_t count) {
        statistics_grant(worker_statistics(call->worker, call->served), count,
                call->request->alloc.length, call->served->page_bytes << order);
}

static struct pool_want alloc_want(const struct call *call, unsigned order, size_t count) {
        return (struct pool_want){
                .bytes = (call->served->page_bytes << order) * count, .ranges = count};
}

/* What it and its uid only keep at hand is given back before it is told that it holds too much. */
static int alloc_grant(struct call *call, unsigned order, size_t count, struct block *blocks) {
        int error = cache_grant(call->served, call->session->id, order, count, blocks);
        if (error == -EDQUOT && call_take_back_own(call) > 0)
                error = cache_grant(call->served, call->session->id, order, count, blocks);
        return error;
}

static enum status alloc_at_once(struct call *call, unsigned order, size_t count) {
        struct pool_want want = alloc_want(call, order, count);
        enum status status = call_admit_share(call, want.bytes);
        if (status != STATUS_OK)
                return status;
        struct block *blocks = call->worker->scratch->blocks;
        size_t granted = count + call->request->alloc.spare;
        int error = -ENOMEM;
        if (granted > count && waiters_count(&call->served->waiters) == 0)
                error = pool_grant_many(
                        call->served->pool, call->session->id, order, granted, blocks);
        if (error) {
                granted = count;
                error = alloc_grant(call, order, count, blocks);
        }
        if (error == -EDQUOT)
                return call_refuse_quota(call, 0, &want);
        if (error)
                return call_refuse_grant(call, error, order, count);
        alloc_count(call, order, count);
        call_reply_blocks(call, blocks, granted);
        return STATUS_OK;
}

static enum status alloc_wait_refuse_many(struct call *call) {
        uint64_t own = call->session->wait_count;
        if (own >= atomic_load(&call->served->limits[QUOTA_CLIENT_WAITS]))
                return call_refuse_over(call,
                        "client %" PRIu32 " has %" PRIu64 " allocs waiting, as many as it may "
                        "(client-waits): withdraw some, or have it raised with buddyctl quota",
                        call->session->id, own);
        return call_refuse_over(call,
                "uid %" PRIu32 " has %" PRIu32 " allocs waiting, as many as it may (user-waits): "
                "withdraw some, or have it raised with buddyctl quota",
                call->session->uid, waiters_of(&call->served->waiters, call->session->uid));
}

static enum status alloc_wait_refuse(struct call *call, int error, unsigned order) {
        struct pool_want want = alloc_want(call, order, 1);
        switch (error) {
        case -EDQUOT:
                return call_refuse_quota(call, 0, &want);
        case -EUSERS:
                return alloc_wait_refuse_many(call);
        case -ETIMEDOUT:
                served_pool_explain(call->served, order, 1, call->detail);
                return STATUS_TIMED_OUT;
        case -EBUSY:
                return call_refuse(call, STATUS_BUSY,
                        "%u allocs of this client wait already: no more are queued", WAITS_MAX);
        case -ENOMEM:
                return call_refuse(call, STATUS_NO_SPACE,
                        "the daemon is out of memory and cannot queue this alloc");
        default:
                return call_refuse_grant(call, error, order, 1);
        }
}

/* 0: *block is granted; -EINPROGRESS: it waits, and the reply comes later; -ETIMEDOUT, and as wait_begin. */
static int alloc_grant_or_queue(struct call *call, unsigned order, struct block *block) {
        const struct request_alloc *alloc = &call->request->alloc;
        struct pool_want want = alloc_want(call, order, 1);
        struct pool_excess excess;
        int error = -ENOMEM;
        if (pool_find_excess(call->served->pool, call->session->id, &want, &excess) &&
                (call_take_back_own(call) == 0 ||
                        pool_find_excess(call->served->pool, call->session->id, &want, &excess)))
                return -EDQUOT;
        /* With nobody in line this alloc is the head of its own; and one that does not wait at all
         * takes what is free now. */
        if (alloc->timeout_ms == 0 || waiters_count(&call->served->waiters) == 0)
                error = alloc_grant(call, order, 1, block);
        if (error != -ENOMEM)
                return error;
        if (alloc->timeout_ms == 0)
                return -ETIMEDOUT;
        struct wait_request request = {.id = call->request->id,
                .length = alloc->length,
                .order = order,
                .timeout_ms = alloc->timeout_ms,
                .waited_ms = alloc->waited_ms};
        int result = wait_begin(call->session, &request, block);
        return result < 0 ? result : result == 0 ? -EINPROGRESS : 0;
}

static enum status alloc_wait(struct call *call, unsigned order) {
        struct block block;
        if (call->request->alloc.timeout_ms == 0) {
                enum status status = call_admit_share(call, call->served->page_bytes << order);
                if (status != STATUS_OK)
                        return status;
        }
        int error = alloc_grant_or_queue(call, order, &block);
        if (error == -EINPROGRESS) {
                call->reply.kind = REPLY_NONE;
                return STATUS_OK;
        }
        if (error)
                return alloc_wait_refuse(call, error, order);
        alloc_count(call, order, 1);
        call_reply_blocks(call, &block, 1);
        return STATUS_OK;
}

enum status handle_alloc(struct call *call) {
        const struct request_alloc *alloc = &call->request->alloc;
        if (alloc->count == 0 || alloc->count > MESSAGE_BATCH_MAX ||
                alloc->spare > MESSAGE_BATCH_MAX - alloc->count)
                return call_refuse(call, STATUS_INVALID,
                        "count is %" PRIu32 ", spare %" PRIu32 ": 1 to %u are served", alloc->count,
                        alloc->spare, MESSAGE_BATCH_MAX);
        if (alloc->wait && (alloc->count != 1 || alloc->timeout_ms < -1))
                return call_refuse(call, STATUS_INVALID,
                        alloc->count != 1 ? "only single ranges can be waited for"
                                          : "a timeout is -1 or more milliseconds");
        unsigned order;
        enum status status = call_order(call, alloc->length, &order);
        if (status == STATUS_OK)
                status = call_admit_grant(call);
        if (status != STATUS_OK)
                return status;
        return alloc->wait ? alloc_wait(call, order) : alloc_at_once(call, order, alloc->count);
}

/* ---- release ---- */

enum status handle_release(struct call *call) {
        const struct message_ranges *ranges = &call->request->release.ranges;
        enum status status = call_blocks(call, ranges);
        if (status != STATUS_OK)
                return status;
        struct cache_return back = {
                .blocks = call->worker->scratch->blocks, .count = ranges->count};
        int error = cache_release(call->served, call->session->id, &back);
        if (error)
                return call_refuse_block(call, error, back.blocks[back.bad]);
        statistics_count(&worker_statistics(call->worker, call->served)->frees, ranges->count);
        if (back.freed)
                call_freed(call);
        return STATUS_OK;
}

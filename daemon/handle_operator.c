/* hold and unhold: ranges that an operator holds by hand, in a session of the operator's own. */
#include "handle.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"
#include "worker.h"

enum status call_admit_operator(struct call *call) {
        uint32_t uid = call->connection->peer.uid;
        if (uid == 0 || uid == getuid())
                return STATUS_OK;
        return call_refuse(call, STATUS_DENIED,
                "only root and the daemon's user (uid %u) may do this, not uid %" PRIu32, getuid(),
                uid);
}

enum status handle_hold(struct call *call) {
        struct served_pool *served = call->served;
        uint64_t length = call->request->hold.length;
        struct block block;
        unsigned order;
        enum status status = call_admit_operator(call);
        if (status == STATUS_OK)
                status = call_order(call, length, &order);
        if (status != STATUS_OK)
                return status;
        int error = cache_grant(served, SESSION_OPERATOR, order, 1, &block);
        if (error)
                return call_refuse_grant(call, error, order, 1);
        statistics_grant(
                worker_statistics(call->worker, served), 1, length, served->page_bytes << order);
        call_reply_blocks(call, &block, 1);
        return STATUS_OK;
}

/* Why nothing at this page was released: who holds it, or that nobody does. */
static enum status unhold_refuse(struct call *call, uint64_t offset, const struct pool_hold *hold) {
        if (!hold)
                return call_refuse(
                        call, STATUS_INVALID, "no held range begins at offset %" PRIu64, offset);
        if (hold->session == 0)
                return call_refuse(call, STATUS_STALE,
                        "the range at offset %" PRIu64 " is held by key '%.200s', not by hand",
                        offset, hold->key);
        return call_refuse(call, STATUS_STALE,
                "the range at offset %" PRIu64 " is held by client %" PRIu32 ", not by hand",
                offset, hold->session);
}

/* The operator's hold at this page; else *other is somebody's, or NULL. */
static const struct pool_hold *unhold_find(
        struct call *call, uint32_t page, const struct pool_hold **other) {
        struct worker_scratch *scratch = call->worker->scratch;
        uint32_t cursor = page;
        size_t count = pool_list_holds(
                call->served->pool, 0, &cursor, scratch->holds, MESSAGE_ENTRIES_MAX);
        *other = NULL;
        for (size_t i = 0; i < count && scratch->holds[i].block.page == page; i++) {
                if (scratch->holds[i].session == SESSION_OPERATOR)
                        return &scratch->holds[i];
                *other = &scratch->holds[i];
        }
        return NULL;
}

enum status handle_unhold(struct call *call) {
        struct served_pool *served = call->served;
        uint64_t offset = call->request->unhold.offset;
        enum status status = call_admit_operator(call);
        if (status != STATUS_OK)
                return status;
        const struct pool_hold *hold = NULL, *other = NULL;
        if (offset % served->page_bytes == 0 &&
                offset / served->page_bytes < pool_pages(served->pool))
                hold = unhold_find(call, (uint32_t)(offset / served->page_bytes), &other);
        bool freed = false;
        if (!hold || pool_release(served->pool, SESSION_OPERATOR, hold->block, &freed) != 0)
                return unhold_refuse(call, offset, other);
        statistics_count(&worker_statistics(call->worker, served)->frees, 1);
        if (freed)
                call_freed(call);
        return STATUS_OK;
}

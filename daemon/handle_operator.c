/* hold and unhold: ranges that an operator holds by hand, in a session of the operator's own. */
#include "handle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "barrier.h"
#include "connection.h"
#include "ration.h"
#include "serving.h"

static void operator_explain(
        struct call *call, const struct served_pool *served, const char *where) {
        uint32_t uid = call->connection->peer.uid;
        uint64_t group = atomic_load(&served->admin_group);
        if (group == ADMIN_GROUP_NONE)
                snprintf(call->detail, sizeof(call->detail),
                        "only root and the daemon's user (uid %u) may do this%s, not uid %" PRIu32,
                        getuid(), where, uid);
        else
                snprintf(call->detail, sizeof(call->detail),
                        "only root, the daemon's user (uid %u) and members of group %" PRIu64
                        " may do this%s, not uid %" PRIu32,
                        getuid(), group, where, uid);
}

static enum status operator_deny(
        struct call *call, const struct served_pool *served, const char *where) {
        const struct peer *peer = &call->connection->peer;
        const struct log_subject about = {
                .pool = served->store->settings.name,
                .has_process = true,
                .pid = peer->pid,
                .uid = peer->uid,
        };
        operator_explain(call, served, where);
        ration_event(LOG_EVENT_REFUSED, &about, "%s of pool '%s' refused to pid %" PRIu32 ": %s",
                dispatch_find(call->request->kind)->name, served->store->settings.name, peer->pid,
                call->detail);
        return STATUS_DENIED;
}

bool call_may_operate(const struct call *call, const struct served_pool *served) {
        const struct peer *peer = &call->connection->peer;
        uint64_t group = atomic_load(&served->admin_group);
        return peer->uid == 0 || peer->uid == getuid() ||
               (group != ADMIN_GROUP_NONE &&
                       (peer->gid == group || peer_is_member(call->connection->fd, (gid_t)group)));
}

enum status call_admit_operator(struct call *call) {
        return call_may_operate(call, call->served) ? STATUS_OK
                                                    : operator_deny(call, call->served, "");
}

enum status call_admit_operator_of_all(struct call *call) {
        const struct serving *serving = call->worker->serving;
        for (size_t i = 0; i < serving->pool_count; i++)
                if (!call_may_operate(call, &serving->pools[i]))
                        return operator_deny(call, &serving->pools[i], " to all pools");
        return STATUS_OK;
}

void call_stop_others(struct call *call) {
        struct serving *serving = call->worker->serving;
        barrier_claim(&serving->barrier);
        for (unsigned i = 0; i < serving->worker_count; i++)
                if (i != call->worker->index)
                        worker_ask_to_park(&serving->workers[i]);
        barrier_await(&serving->barrier);
}

void call_let_others_go_on(struct call *call) {
        barrier_release(&call->worker->serving->barrier);
}

enum status handle_hold(struct call *call) {
        struct served_pool *served = call->served;
        uint64_t length = call->request->hold.length;
        struct block block;
        unsigned order;
        enum status status = call_admit_operator(call);
        if (status == STATUS_OK)
                status = call_order(call, length, &order);
        if (status == STATUS_OK)
                status = call_admit_grant(call);
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

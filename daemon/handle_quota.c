/* quota: shows what uids use and may use, and changes a limit. */
#include "handle.h"

#include <inttypes.h>

#include "connection.h"
#include "log.h"
#include "quota.h"
#include "serving.h"

static void quota_tell_changed(const struct call *call, enum quota quota) {
        const struct peer *peer = &call->connection->peer;
        const char *pool = call->served->store->settings.name;
        bool all = quota_is_of_daemon(quota);
        log_event(LOG_EVENT_LIMIT_CHANGED,
                &(struct log_subject){
                        .pool = pool, .has_process = true, .pid = peer->pid, .uid = peer->uid},
                "%s%s%s: %s is %s now, set by pid %" PRIu32 " (uid %" PRIu32 ")",
                all ? "all pools" : "pool '", all ? "" : pool, all ? "" : "'", quota_name(quota),
                quota_value_text(quota, call->request->quota.value).text, peer->pid, peer->uid);
}

static enum status quota_change(struct call *call) {
        const struct request_quota *request = &call->request->quota;
        if (request->limit >= QUOTA_END)
                return call_refuse(call, STATUS_INVALID,
                        "no limit has the number %" PRIu32 ": there are 1 to %d", request->limit,
                        QUOTA_END - 1);
        enum quota quota = (enum quota)request->limit;
        if (!quota_value_is_possible(quota, request->value))
                return call_refuse(call, STATUS_INVALID, "%s cannot be %s; give %s",
                        quota_name(quota), quota_value_text(quota, request->value).text,
                        request->value == 0 ? "1 or more, or nobody could be served to change it"
                                            : "a figure or none");
        enum status status = quota_is_of_daemon(quota) ? call_admit_operator_of_all(call)
                                                       : call_admit_operator(call);
        if (status != STATUS_OK)
                return status;
        quota_set(call->worker->serving, call->served, quota, request->value);
        quota_tell_changed(call, quota);
        return STATUS_OK;
}

static void user_entry(struct call *call, const struct pool_user *user, struct reply_user *out) {
        *out = (struct reply_user){
                .uid = user->uid,
                .privileged = user->privileged,
                .bytes = user->bytes,
                .ranges = user->ranges,
                .clients = user->clients,
                .keys = user->keys,
                .holds = user->holds,
                .waits = waiters_of(&call->served->waiters, user->uid),
        };
        users_count(&call->worker->serving->users, user->uid, &out->connections, &out->buffers);
}

enum status handle_quota(struct call *call) {
        const struct request_quota *request = &call->request->quota;
        struct worker_scratch *scratch = call->worker->scratch;
        if (request->cursor > UINT32_MAX)
                return call_refuse(call, STATUS_INVALID, "no such cursor");
        enum status status = request->limit != 0 ? quota_change(call) : STATUS_OK;
        if (status != STATUS_OK)
                return status;
        for (unsigned i = 1; i < QUOTA_END; i++)
                scratch->limits[i - 1] =
                        quota_get(call->worker->serving, call->served, (enum quota)i);
        uint32_t cursor = (uint32_t)request->cursor;
        size_t count =
                pool_list_users(call->served->pool, &cursor, scratch->users, MESSAGE_ENTRIES_MAX);
        for (size_t i = 0; i < count; i++)
                user_entry(call, &scratch->users[i], &scratch->reply_users[i]);
        call->reply.kind = REPLY_QUOTAS;
        call->reply.quotas = (struct reply_quotas){
                .limits = scratch->limits,
                .limit_count = QUOTA_END - 1,
                .entries = scratch->reply_users,
                .count = count,
                .next_cursor = cursor,
        };
        return STATUS_OK;
}

/* ping, hello and goodbye: beginning and end of a session. */
#include "handle.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "admission.h"
#include "connection.h"
#include "log.h"
#include "orphans.h"
#include "quota.h"
#include "ration.h"
#include "serving.h"
#include "session.h"

enum status handle_ping(struct call *call) {
        (void)call;
        return STATUS_OK;
}

static struct served_pool *serving_find_pool(const struct serving *serving, const char *name) {
        for (size_t i = 0; i < serving->pool_count; i++)
                if (strcmp(serving->pools[i].store->settings.name, name) == 0)
                        return &serving->pools[i];
        return NULL;
}

/* Names end up in logs and on terminals. */
static bool name_is_printable(const char *name) {
        for (; *name; name++)
                if ((unsigned char)*name < 0x20 || *name == 0x7f)
                        return false;
        return true;
}

static enum status hello_check(struct call *call, const struct request_hello *hello) {
        if (hello->version != PROTOCOL_VERSION)
                return call_refuse(call, STATUS_PROTOCOL,
                        "protocol version %" PRIu32 ": this daemon speaks version %u",
                        hello->version, PROTOCOL_VERSION);
        if (hello->access > ACCESS_OBSERVER)
                return call_refuse(call, STATUS_INVALID, "no such kind of access");
        if (strlen(hello->name) >= LEDGER_NAME_BYTES)
                return call_refuse(
                        call, STATUS_INVALID, "a name has at most %u bytes", LEDGER_NAME_BYTES - 1);
        if (!name_is_printable(hello->name))
                return call_refuse(call, STATUS_INVALID, "a name has no control characters");
        if (hello->token && hello->access == ACCESS_OBSERVER)
                return call_refuse(call, STATUS_INVALID, "an observer has no session to resume");
        return STATUS_OK;
}

/* Room for the token of the reply. */
static uint8_t *hello_token(struct call *call) {
        return (uint8_t *)call->worker->scratch->places;
}

/* ---- A new session ---- */

static enum status hello_refuse_quota(struct call *call, struct served_pool *served) {
        const struct peer *peer = &call->connection->peer;
        struct pool_excess excess = {.uid = peer->uid};
        pool_find_excess_clients(served->pool, peer->uid, &excess);
        statistics_count(&worker_statistics(call->worker, served)->quota_refusals, 1);
        call_refuse_over(call,
                "uid %" PRIu32 " has %" PRIu64 " of its %" PRIu64 " clients in pool '%s' "
                "(user-clients): end some, or have it raised with buddyctl quota",
                peer->uid, excess.used, excess.allowed, served->store->settings.name);
        ration_event(LOG_EVENT_REFUSED, &(struct log_subject){.pool = served->store->settings.name},
                "refused pid %" PRIu32 " (uid %" PRIu32 "): %s", peer->pid, peer->uid,
                call->detail);
        return STATUS_QUOTA;
}

static enum status hello_open(struct call *call, struct served_pool *served) {
        const struct request_hello *hello = &call->request->hello;
        const struct peer *peer = &call->connection->peer;
        uint8_t *token = hello_token(call);
        struct pool_session_identity identity = {
                .pid = peer->pid,
                .uid = peer->uid,
                .gid = peer->gid,
                .start_time = peer->start_time,
                .read_only = hello->access == ACCESS_READ_ONLY,
        };
        memcpy(identity.name, hello->name, strlen(hello->name));
        if (getrandom(token, MESSAGE_TOKEN_BYTES, 0) != MESSAGE_TOKEN_BYTES)
                return call_refuse(call, STATUS_BUSY, "no random bytes for a token");
        memcpy(identity.token, token, MESSAGE_TOKEN_BYTES);
        int error = session_open(call->connection, served, &identity, &call->connection->session);
        if (error == -EAGAIN)
                return call_refuse(call, STATUS_BUSY, "all %u sessions of this pool are in use",
                        LEDGER_SESSIONS - 2);
        if (error == -EDQUOT)
                return hello_refuse_quota(call, served);
        if (error)
                return call_refuse(call, STATUS_NO_SPACE, "the daemon is out of memory");
        call->connection->session->resumes = hello->features & FEATURE_RESUMES;
        return STATUS_OK;
}

/* ---- An earlier session ---- */

/* Takes as long for a token that is nearly right as for any other. */
static bool token_equal(const uint8_t *a, const uint8_t *b) {
        unsigned different = 0;
        for (size_t i = 0; i < MESSAGE_TOKEN_BYTES; i++)
                different |= (unsigned)(a[i] ^ b[i]);
        return different == 0;
}

static bool process_equal(const struct peer *peer, const struct pool_session_identity *identity) {
        bool time_known = peer->start_time != 0 && identity->start_time != 0;
        return peer->pid == identity->pid &&
               (!time_known || peer->start_time == identity->start_time);
}

static enum status resume_gone(struct call *call, const struct served_pool *served) {
        const struct request_hello *hello = &call->request->hello;
        uint64_t kicked = atomic_load(&served->presence[hello->session % LEDGER_SESSIONS].kicked);
        if (kicked != 0 && kicked == presence_mark(hello->token))
                return call_refuse(call, STATUS_NOT_FOUND,
                        "an operator ended session %" PRIu32 ": its ranges were returned",
                        hello->session);
        return call_refuse(call, STATUS_NOT_FOUND,
                "session %" PRIu32 " is gone: its ranges were returned", hello->session);
}

/* Whoever shows the token is that client, but for what a token that leaked would show. */
static enum status resume_check(
        struct call *call, const struct served_pool *served, const struct pool_session_info *info) {
        const struct request_hello *hello = &call->request->hello;
        const struct pool_session_identity *identity = &info->identity;
        const struct peer *peer = &call->connection->peer;
        if (info->state != SESSION_LIVE || !token_equal(hello->token, identity->token))
                return resume_gone(call, served);
        if (peer->uid != identity->uid)
                return call_refuse(call, STATUS_DENIED,
                        "session %" PRIu32 " is another user's, not uid %" PRIu32 "'s",
                        info->session, peer->uid);
        if (!process_equal(peer, identity))
                return call_refuse(call, STATUS_DENIED,
                        "session %" PRIu32 " is another process's, not pid %" PRIu32 "'s",
                        info->session, peer->pid);
        if ((hello->access == ACCESS_READ_ONLY) != identity->read_only ||
                strcmp(hello->name, identity->name) != 0)
                return call_refuse(call, STATUS_DENIED,
                        "session %" PRIu32 " was opened under another name or access",
                        info->session);
        return STATUS_OK;
}

static void resume_log(const struct call *call, const struct session *session,
        const struct pool_session_info *info) {
        struct log_subject about = session_subject(session, info->held_ranges, info->held_bytes);
        log_event(LOG_EVENT_CLIENT_RESUMED, &about,
                "client %" PRIu32 " '%s' (pid %" PRIu32 ", uid %" PRIu32 ") resumed %.3f ms "
                "after the daemon's start: holds %" PRIu64 " ranges, %" PRIu64 " bytes",
                session->id, session->name, session->pid, session->uid,
                (double)(worker_clock_ns() - call->worker->serving->started_ns) / 1e6,
                info->held_ranges, info->held_bytes);
}

/* On the session's own worker, so nothing happens to it meanwhile. */
static enum status resume_here(
        struct call *call, struct served_pool *served, const struct pool_session_info *info) {
        struct connection *connection = call->connection;
        struct session *session = served_pool_presence(served, info->session)->session;
        int error = 0;
        if (session)
                session_rebind(session, connection);
        else
                error = orphan_resume(connection, served, info, &session);
        if (error == -ENOENT)
                return resume_gone(call, served);
        if (error)
                return call_refuse(call, STATUS_NO_SPACE, "the daemon is out of memory");
        connection->session = session;
        session->resumes = call->request->hello.features & FEATURE_RESUMES;
        memcpy(hello_token(call), info->identity.token, MESSAGE_TOKEN_BYTES);
        resume_log(call, session, info);
        return STATUS_OK;
}

static enum status hello_resume(struct call *call, struct served_pool *served) {
        uint32_t session = call->request->hello.session;
        struct pool_session_info info;
        if (session == SESSION_OPERATOR || pool_session_info(served->pool, session, &info) != 0)
                return resume_gone(call, served);
        enum status status = resume_check(call, served, &info);
        if (status != STATUS_OK)
                return status;
        uint32_t worker = atomic_load_explicit(
                &served_pool_presence(served, session)->worker, memory_order_acquire);
        if (worker == 0)
                return resume_gone(call, served);
        if (worker - 1 == call->worker->index)
                return resume_here(call, served, &info);
        connection_move(call->connection, &call->worker->serving->workers[worker - 1]);
        call->reply.kind = REPLY_NONE;
        return STATUS_OK;
}

/* What lets a client find out what has become of its requests. */
static void resume_tell(
        const struct served_pool *served, uint32_t session, struct reply_welcome *welcome) {
        struct pool_progress progress;
        struct pool_session_info info;
        pool_session_progress(served->pool, session, &progress);
        welcome->done = (struct message_done){.request = progress.request, .ranges = progress.done};
        if (progress.has_block) {
                welcome->done.place = served_pool_place(served, progress.block);
                welcome->done.generation = progress.block.generation;
                welcome->done.use = progress.use;
        }
        if (pool_session_info(served->pool, session, &info) == 0)
                welcome->granted_ranges = info.held_ranges - info.given_ranges;
}

/* ---- hello ---- */

static void hello_reply(struct call *call) {
        static const uint32_t descriptors[] = {DESCRIPTOR_SEGMENT};
        const struct served_pool *served = call->connection->served;
        const struct session *session = call->connection->session;
        const struct store *store = served->store;
        call->reply.kind = REPLY_WELCOME;
        call->reply.welcome = (struct reply_welcome){
                .version = PROTOCOL_VERSION,
                .session = session ? session->id : 0,
                .token = session ? hello_token(call) : NULL,
                .page_bytes = served->page_bytes,
                .size_bytes = pool_pages(served->pool) * served->page_bytes,
                .max_size_bytes = pool_pages_max(served->pool) * served->page_bytes,
                .resumed = session && call->request->hello.token,
                .descriptors = descriptors,
                .descriptor_count = session ? 1 : 0,
        };
        if (!session)
                return;
        call->descriptor = session->read_only ? store->segment_fd_read_only : store->segment_fd;
        if (call->reply.welcome.resumed)
                resume_tell(served, session->id, &call->reply.welcome);
}

/* Tells the client, and the log. */
static enum status admission_refuse(struct call *call) {
        const struct peer *peer = &call->connection->peer;
        const struct log_subject about = {.has_process = true, .pid = peer->pid, .uid = peer->uid};
        ration_event(LOG_EVENT_REFUSED, &about, "refused pid %" PRIu32 " (uid %" PRIu32 "): %s",
                peer->pid, peer->uid, call->detail);
        return STATUS_DENIED;
}

static enum status hello_admit(struct call *call, const struct served_pool *served) {
        const struct pool_settings *settings = &served->store->settings;
        const struct peer *peer = &call->connection->peer;
        enum hello_access access = call->request->hello.access;
        enum admission admission = admission_of(&settings->admission, peer, call->connection->fd);
        /* Who may operate it may look at it. */
        if (access == ACCESS_OBSERVER && call_may_operate(call, served))
                return STATUS_OK;
        if (admission == ADMISSION_READ_WRITE ||
                (admission == ADMISSION_READ_ONLY && access != ACCESS_READ_WRITE))
                return STATUS_OK;
        if (admission == ADMISSION_READ_ONLY)
                call_refuse(call, STATUS_DENIED,
                        "uid %" PRIu32 " may only read pool '%s': connect read-only, or have the "
                        "uid added to allow-users or one of its groups to allow-groups",
                        peer->uid, settings->name);
        else
                call_refuse(call, STATUS_DENIED,
                        "uid %" PRIu32 " is not admitted to pool '%s': have it added to "
                        "allow-users or read-only-users, or one of its groups to allow-groups or "
                        "read-only-groups",
                        peer->uid, settings->name);
        return admission_refuse(call);
}

enum status handle_hello(struct call *call) {
        const struct request_hello *hello = &call->request->hello;
        enum status status = hello_check(call, hello);
        if (status != STATUS_OK)
                return status;
        struct served_pool *served = serving_find_pool(call->worker->serving, hello->pool);
        if (!served)
                return call_refuse(call, STATUS_NOT_FOUND, "no pool '%.64s' here", hello->pool);
        status = hello_admit(call, served);
        if (status != STATUS_OK)
                return status;

        if (hello->token)
                status = hello_resume(call, served);
        else if (hello->access != ACCESS_OBSERVER)
                status = hello_open(call, served);
        if (status != STATUS_OK || call->connection->moves_to)
                return status;
        call->connection->served = served;
        call->connection->state = CONNECTION_OPEN;
        call->connection->expects_cache =
                hello->cache_bytes > 0 && hello->access == ACCESS_READ_WRITE;
        if (call->connection->expects_cache && call->connection->plain_receive)
                peer_pass_descriptors(call->connection->fd, true);
        hello_reply(call);
        return STATUS_OK;
}

/* The reply comes when all is returned. */
enum status handle_goodbye(struct call *call) {
        struct connection *connection = call->connection;
        struct session *session = call->session;
        connection->state = session ? CONNECTION_PARTING : CONNECTION_LEAVING;
        if (!session)
                return STATUS_OK;
        connection->session = NULL;
        connection->parting = session;
        session->farewell = connection;
        session->farewell_id = call->request->id;
        session->said_goodbye = true;
        session_end(session, "said goodbye");
        call->reply.kind = REPLY_NONE;
        return STATUS_OK;
}

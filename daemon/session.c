/* See session.h. */
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "kick.h"
#include "log.h"
#include "orphans.h"
#include "wait.h"
#include "worker.h"

#define RECLAIM_SLICE 256u /* holds: some 25 us, whoever waits meanwhile */

static struct session *session_new(struct worker *worker, struct served_pool *served,
        const struct pool_session_identity *identity) {
        struct session *session = malloc(sizeof(*session));
        if (!session)
                return NULL;
        *session = (struct session){
                .worker = worker,
                .served = served,
                .pid = identity->pid,
                .uid = identity->uid,
                .read_only = identity->read_only,
        };
        memcpy(session->name, identity->name, sizeof(session->name));
        link_init(&session->waits);
        link_init(&session->in_reclaims);
        return session;
}

static void session_arrived(struct session *session) {
        struct presence *presence = served_pool_presence(session->served, session->id);
        presence->session = session;
        atomic_store_explicit(&presence->worker, session->worker->index + 1, memory_order_release);
        atomic_store_explicit(&presence->connected_since_s, worker_clock_ns() / 1000000000 + 1,
                memory_order_relaxed);
        atomic_fetch_add_explicit(&session->served->clients, 1, memory_order_relaxed);
}

static void session_left(struct session *session) {
        struct presence *presence = served_pool_presence(session->served, session->id);
        presence->session = NULL;
        atomic_store_explicit(&presence->connected_since_s, 0, memory_order_relaxed);
        atomic_fetch_sub_explicit(&session->served->clients, 1, memory_order_relaxed);
}

int session_open(struct connection *connection, struct served_pool *served,
        const struct pool_session_identity *identity, struct session **out) {
        struct session *session = session_new(connection->worker, served, identity);
        if (!session)
                return -ENOMEM;
        session->connection = connection;
        int error = pool_session_open(served->pool, identity, &session->id);
        if (error) {
                free(session);
                return error;
        }
        /* It brings its cache itself; whoever was here before an earlier daemon ended has to be asked for it. */
        atomic_store_explicit(&served_pool_presence(served, session->id)->cache_sought, true,
                memory_order_relaxed);
        session_arrived(session);
        *out = session;
        return 0;
}

int session_reopen(struct connection *connection, struct served_pool *served,
        const struct pool_session_info *info, struct session **out) {
        struct session *session = session_new(connection->worker, served, &info->identity);
        if (!session)
                return -ENOMEM;
        session->connection = connection;
        session->confirmed = true;
        session->id = info->session;
        session_arrived(session);
        *out = session;
        return 0;
}

void session_rebind(struct session *session, struct connection *connection) {
        struct connection *old = session->connection;
        waits_withdraw(session);
        old->session = NULL;
        session->connection = connection;
        connection_close(old, NULL);
}

/* From here on the worker's idle turns return what it holds. */
static void session_queue_reclaim(struct session *session) {
        pool_session_close(session->served->pool, session->id); /* so its cache is not found anew */
        cache_close(session->served, session->id);
        session->ended_ns = worker_clock_ns();
        list_append(&session->worker->reclaims, &session->in_reclaims);
        worker_has_more(session->worker);
}

int session_adopt(struct worker *worker, struct served_pool *served,
        const struct pool_session_info *info, const char *ending, struct kick *kick) {
        struct session *session = session_new(worker, served, &info->identity);
        if (!session)
                return -ENOMEM;
        session->id = info->session;
        session->ending = ending;
        session->kick = kick;
        session_queue_reclaim(session);
        return 0;
}

void session_end(struct session *session, const char *ending) {
        session->ending = ending;
        waits_withdraw(session);
        session_left(session);
        session_queue_reclaim(session);
}

void session_kick(struct session *session, struct kick *kick) {
        struct connection *connection = session->connection;
        session->kick = kick;
        connection->session = NULL;
        session_end(session, "was ended by an operator");
        connection_close(connection, NULL);
}

int session_leave(struct session *session, int pidfd, struct user *user) {
        struct pool_session_info info;
        int error = pool_session_info(session->served->pool, session->id, &info);
        if (!error)
                error = orphan_keep(session->worker, session->served, &info,
                        (struct orphan_process){pidfd, user});
        if (error)
                return error;
        waits_withdraw(session);
        session_left(session);
        free(session);
        return 0;
}

void session_abandon(struct session *session) {
        waits_withdraw(session);
        free(session);
}

struct log_subject session_subject(const struct session *session, uint64_t ranges, uint64_t bytes) {
        return (struct log_subject){
                .pool = session->served->store->settings.name,
                .client = session->id,
                .client_name = session->name,
                .has_process = true,
                .pid = session->pid,
                .uid = session->uid,
                .has_holdings = true,
                .ranges = ranges,
                .bytes = bytes,
        };
}

static void session_log(const struct session *session, uint64_t took_ns) {
        if (session->said_goodbye) /* as it should be */
                return;
        struct log_subject about =
                session_subject(session, session->reclaimed.holds, session->reclaimed.bytes);
        log_event(LOG_EVENT_CLIENT_ENDED, &about,
                "client %" PRIu32 " '%s' (pid %" PRIu32 ", uid %" PRIu32 ") %s: returned %" PRIu64
                " ranges, %" PRIu64 " bytes in %.3f ms",
                session->id, session->name, session->pid, session->uid, session->ending,
                session->reclaimed.holds, session->reclaimed.bytes, (double)took_ns / 1e6);
}

bool session_reclaim(struct session *session) {
        struct served_pool *served = session->served;
        uint64_t bytes_before = session->reclaimed.bytes;
        bool done =
                pool_session_reclaim(served->pool, session->id, RECLAIM_SLICE, &session->reclaimed);
        struct statistics *statistics = worker_statistics(session->worker, served);
        statistics_count(&statistics->reclaimed_bytes, session->reclaimed.bytes - bytes_before);
        if (session->reclaimed.bytes != bytes_before)
                waiters_serve(&served->waiters);
        if (!done)
                return false;

        session_log(session, worker_clock_ns() - session->ended_ns);
        if (session->farewell)
                connection_farewell(session->farewell, session->farewell_id);
        if (session->kick)
                kick_done(session->kick, &session->reclaimed);
        link_remove(&session->in_reclaims);
        free(session);
        return true;
}

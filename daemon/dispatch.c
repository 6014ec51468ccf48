/* See dispatch.h. */
#include "dispatch.h"

#include <stdarg.h>
#include <stdio.h>

#include "connection.h"
#include "handle.h"
#include "session.h"
#include "worker.h"

static const struct dispatch_row dispatch_rows[REQUEST_KIND_END] = {
        [REQUEST_HELLO] = {"hello", NEEDS_NO_POOL, handle_hello},
        [REQUEST_ALLOC] = {"alloc", NEEDS_POOL | NEEDS_SESSION | NEEDS_WRITE, handle_alloc},
        [REQUEST_RELEASE] = {"release", NEEDS_POOL | NEEDS_SESSION | NAMES_HOLDS, handle_release},
        [REQUEST_ATTACH] = {"attach", NEEDS_POOL | NEEDS_SESSION | NAMES_HOLDS, handle_attach},
        [REQUEST_GIVE] = {"give", NEEDS_POOL | NEEDS_SESSION | NEEDS_WRITE | NAMES_HOLDS,
                handle_give},
        [REQUEST_LOOKUP] = {"lookup", NEEDS_POOL | NEEDS_SESSION | NAMES_HOLDS, handle_lookup},
        [REQUEST_PUBLISH] = {"publish", NEEDS_POOL | NEEDS_SESSION | NEEDS_WRITE | NAMES_HOLDS,
                handle_publish},
        [REQUEST_UNPUBLISH] = {"unpublish", NEEDS_POOL | NEEDS_SESSION | NEEDS_WRITE | NAMES_HOLDS,
                handle_unpublish},
        [REQUEST_FIND] = {"find", NEEDS_POOL | NEEDS_SESSION, handle_find},
        [REQUEST_PING] = {"ping", NEEDS_NOTHING, handle_ping},
        [REQUEST_GOODBYE] = {"goodbye", NEEDS_POOL, handle_goodbye},
        [REQUEST_STATS] = {"stats", NEEDS_POOL, handle_stats},
        [REQUEST_CLIENTS] = {"clients", NEEDS_POOL, handle_clients},
        [REQUEST_HOLDS] = {"holds", NEEDS_POOL, handle_holds},
        [REQUEST_CHECK] = {"check", NEEDS_POOL, handle_check},
        [REQUEST_MAP] = {"map", NEEDS_POOL, handle_map},
        [REQUEST_HOLD] = {"hold", NEEDS_POOL, handle_hold},
        [REQUEST_CACHE] = {"cache", NEEDS_POOL | NEEDS_SESSION | NEEDS_WRITE, handle_cache},
        [REQUEST_UNCACHE] = {"uncache", NEEDS_POOL | NEEDS_SESSION | NEEDS_WRITE, handle_uncache},
        [REQUEST_METRICS] = {"metrics", NEEDS_NOTHING, handle_metrics},
        [REQUEST_QUOTA] = {"quota", NEEDS_POOL, handle_quota},
        [REQUEST_UNHOLD] = {"unhold", NEEDS_POOL, handle_unhold},
        [REQUEST_KICK] = {"kick", NEEDS_POOL, handle_kick},
        [REQUEST_DRAIN] = {"drain", NEEDS_POOL, handle_drain},
        [REQUEST_TRIM] = {"trim", NEEDS_POOL, handle_trim},
        [REQUEST_GROW] = {"grow", NEEDS_POOL, handle_grow},
};

const struct dispatch_row *dispatch_find(unsigned kind) {
        if (kind >= REQUEST_KIND_END || !dispatch_rows[kind].handler)
                return NULL;
        return &dispatch_rows[kind];
}

enum status dispatch_admit(
        const struct dispatch_row *row, struct dispatch_asker asker, const char **reason) {
        if ((row->needs & NEEDS_NO_POOL) && asker.greeted) {
                *reason = "hello was said before";
                return STATUS_PROTOCOL;
        }
        if ((row->needs & NEEDS_POOL) && !asker.greeted) {
                *reason = "say hello first";
                return STATUS_PROTOCOL;
        }
        if ((row->needs & NEEDS_SESSION) && !asker.has_session) {
                *reason = "an observer has no session";
                return STATUS_DENIED;
        }
        if ((row->needs & NEEDS_WRITE) && asker.read_only) {
                *reason = "this client is read-only";
                return STATUS_DENIED;
        }
        return STATUS_OK;
}

enum status call_refuse(struct call *call, enum status status, const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(call->detail, sizeof(call->detail), format, arguments);
        va_end(arguments);
        return status;
}

/* The ledger knows one request of those that change holds, the last that was done: what it could not tell of this one must
 * be told before another one is run. */
static void dispatch_note(struct call *call, const struct dispatch_row *row, enum status status) {
        if ((row->needs & NAMES_HOLDS) &&
                (status != STATUS_OK || call->request->kind == REQUEST_LOOKUP))
                call->connection->must_tell = true;
}

/* A client that asks knows of its session. */
static void dispatch_begin(struct call *call, const struct dispatch_row *row) {
        struct session *session = call->session;
        if (!session->confirmed)
                pool_session_confirm(call->served->pool, session->id);
        session->confirmed = true;
        if (row->needs & NAMES_HOLDS)
                pool_session_request(call->served->pool, session->id, call->request->id);
}

static enum status dispatch_serve(struct call *call) {
        const struct request *request = call->request;
        const struct dispatch_row *row = dispatch_find(request->kind);
        if (!row)
                return call_refuse(
                        call, STATUS_UNKNOWN_REQUEST, "this daemon knows no such request");
        struct dispatch_asker asker = {
                .greeted = call->served != NULL,
                .has_session = call->session != NULL,
                .read_only = call->session && call->session->read_only,
        };
        const char *reason;
        enum status status = dispatch_admit(row, asker, &reason);
        if (status != STATUS_OK)
                call_refuse(call, status, "%s: %s", row->name, reason);
        if (status == STATUS_OK && call->session)
                dispatch_begin(call, row);
        if (status == STATUS_OK)
                status = row->handler(call);
        dispatch_note(call, row, status);
        return status;
}

static void dispatch_reply(struct call *call, enum status status) {
        const struct request *request = call->request;
        if ((request->kind == REQUEST_RELEASE && request->release.one_way) ||
                request->kind == REQUEST_UNCACHE)
                return;
        if (status != STATUS_OK) {
                call->reply.kind = REPLY_REFUSED;
                call->reply.refused =
                        (struct reply_refused){.status = status, .detail = call->detail};
        }
        if (call->reply.kind == REPLY_NONE)
                return;
        call->reply.id = request->id;
        if (status == STATUS_OK && call->descriptor >= 0)
                connection_reply_with(call->connection, &call->reply, call->descriptor);
        else
                connection_reply(call->connection, &call->reply);
}

static void dispatch_measure(const struct call *call, uint64_t latency_ns) {
        const struct request *request = call->request;
        if (!call->served)
                return;
        struct statistics *statistics = worker_statistics(call->worker, call->served);
        if (request->kind == REQUEST_RELEASE)
                histogram_add(&statistics->release, latency_ns);
        else if (request->kind == REQUEST_ALLOC && !request->alloc.wait)
                histogram_add(&statistics->alloc, latency_ns);
}

uint64_t dispatch_run(struct connection *connection, const uint8_t *message, size_t length) {
        struct worker *worker = connection->worker;
        struct request request;
        arena_reset(&worker->arena);
        if (request_decode(&worker->arena, message, length, &request) != 0) {
                connection_reject(connection, "it sent what is no request");
                return worker_clock_ns();
        }
        /* It comes back for what must be told, and asks for the rest again; unless it does not mean to. */
        if (connection->deaf && connection->must_tell && request.kind != REQUEST_GOODBYE)
                return worker_clock_ns();
        struct call call;
        call.worker = worker;
        call.connection = connection;
        call.served = connection->served;
        call.session = connection->session;
        call.request = &request;
        call.reply.kind = REPLY_DONE;
        call.descriptor = -1;
        call.detail[0] = '\0';
        dispatch_reply(&call, dispatch_serve(&call));
        uint64_t now_ns = worker_clock_ns();
        dispatch_measure(&call, now_ns - connection->received_ns);
        return now_ns;
}

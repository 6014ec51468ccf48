/* See connection.h. */
#include "connection.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection_private.h"
#include "later.h"
#include "ration.h"
#include "serving.h"
#include "session.h"
#include "worker.h"

#define PATIENCE_MS       5000u /* for a hello, the rest of a frame, a reader that does not read */
#define OUTPUT_MORE_BYTES (960u * 1024) /* waiting beyond client-output: dropped */

/* ---- Closing ---- */

void connections_bury(struct worker *worker) {
        while (link_used(&worker->closed)) {
                struct connection *connection =
                        LINK_OWNER(worker->closed.next, struct connection, in_worker);
                link_remove(&connection->in_worker);
                free(connection->metrics);
                free(connection);
        }
}

/* A client that resumes comes back as long as its process lives; its death ends it, not the loss of a connection. */
static bool connection_keep_session(struct connection *connection) {
        int pidfd = connection->peer.pidfd;
        if (!connection->session->resumes || !connection->session->confirmed || pidfd < 0 ||
                process_ended(pidfd) ||
                session_leave(connection->session, pidfd, connection->user) != 0)
                return false;
        connection->peer.pidfd = -1;
        connection->user = NULL;
        return true;
}

static void connection_drop_session(struct connection *connection) {
        if (connection->parting)
                connection->parting->farewell = NULL;
        connection->parting = NULL;
        if (connection->session && connection->worker->stopping)
                session_abandon(connection->session);
        else if (connection->session && !connection_keep_session(connection))
                session_end(connection->session, "is gone");
        connection->session = NULL;
}

/* Brings in line what its user has of the daemon's memory. False: that is too much. */
static bool connection_charge(struct connection *connection, uint64_t bytes) {
        struct users_excess excess;
        int64_t more = (int64_t)(bytes - connection->buffer_bytes);
        connection->buffer_bytes = bytes;
        return more == 0 ||
               users_buffer(&connection->worker->serving->users, connection->user, more, &excess);
}

/* Ends everything but what can be handed on: descriptors and input. */
static void connection_detach(struct connection *connection) {
        struct worker *worker = connection->worker;
        connection->state = CONNECTION_CLOSED;
        link_remove(&connection->in_worker);
        link_remove(&connection->in_watched);
        link_remove(&connection->in_runnable);
        if (worker->output_for == connection) {
                worker->output_for = NULL;
                worker->output_bytes = 0;
        }
        poller_watch(&worker->poller, &connection->socket, connection->fd, 0);
        poller_watch(&worker->poller, &connection->process, connection->peer.pidfd, 0);
        turns_leave(&worker->turns, connection->share);
        connection_charge(connection, 0);
        list_append(&worker->closed, &connection->in_worker);
        output_deinit(&connection->output);
        worker_lost_connection(worker);
}

static void connection_log_end(const struct connection *connection, const char *reason) {
        const struct session *session = connection->session;
        const struct log_subject about = {
                .pool = session ? session->served->store->settings.name : NULL,
                .client = session ? session->id : 0,
                .client_name = session ? session->name : NULL,
                .has_process = true,
                .pid = connection->peer.pid,
                .uid = connection->peer.uid,
        };
        ration_event(LOG_EVENT_CONNECTION_CLOSED, &about,
                "connection of pid %" PRIu32 " (uid %" PRIu32 ") closed: %s", about.pid, about.uid,
                reason);
}

void connection_close(struct connection *connection, const char *reason) {
        if (connection->state == CONNECTION_CLOSED)
                return;
        if (reason)
                connection_log_end(connection, reason);
        connection_detach(connection);
        laters_forget(connection);
        connection_drop_session(connection);
        if (connection->user)
                users_leave(&connection->worker->serving->users, connection->user);
        close(connection->fd);
        if (connection->passed >= 0)
                close(connection->passed);
        peer_deinit(&connection->peer);
        free(connection->input);
}

void connection_hand_over(struct connection *connection) {
        struct arrival *arrival = malloc(sizeof(*arrival));
        if (!arrival) {
                connection_close(connection, "out of memory");
                return;
        }
        *arrival = (struct arrival){
                .fd = connection->fd,
                .peer = connection->peer,
                .user = connection->user,
                .input = connection->input,
                .input_bytes = connection->input_bytes,
        };
        connection_detach(connection);
        worker_give(connection->moves_to, arrival);
}

void connection_move(struct connection *connection, struct worker *worker) {
        connection->moves_to = worker;
}

/* ---- What the loop is asked for ---- */

/* Asks again also for what it is watched for already, if some of it may still be there. */
static int connection_poll(struct connection *connection, uint32_t events) {
        if (connection->socket.events == events && !connection->more_input)
                return 0;
        connection->more_input = false;
        return poller_watch(
                &connection->worker->poller, &connection->socket, connection->fd, events);
}

static uint64_t connection_limit(const _Atomic uint64_t *limit) {
        return atomic_load_explicit(limit, memory_order_relaxed);
}

/* So many replies, of so many bytes, are as much as may be in flight before another request is run. */
static bool connection_has_enough(
        const struct connection *connection, uint64_t in_flight, uint64_t bytes) {
        const struct users *users = &connection->worker->serving->users;
        return in_flight >= connection_limit(&users->client_requests) ||
               bytes > connection_limit(&users->client_output);
}

bool connection_listens(const struct connection *connection) {
        size_t waiting = output_waiting(&connection->output);
        return connection->state < CONNECTION_PARTING &&
               (connection->deaf || waiting == 0 ||
                       (!connection->must_tell &&
                               !connection_has_enough(connection, connection->in_flight, waiting)));
}

void connection_pace(struct connection *connection) {
        struct worker *worker = connection->worker;
        if (worker->output_for == connection &&
                connection_has_enough(connection, connection->in_flight,
                        output_waiting(&connection->output) + worker->output_bytes))
                connection_flush(worker);
}

/* A whole frame, or one that is wrong already, was received and not run. */
bool connection_has_request(const struct connection *connection) {
        if (connection->input_bytes == 0)
                return false;
        const uint8_t *message;
        size_t message_bytes, wanted;
        return frame_next(connection->input, connection->input_bytes, FRAME_REQUEST_MAX, &message,
                       &message_bytes, &wanted) != 0;
}

static bool connection_may_expire(const struct connection *connection) {
        return connection->state == CONNECTION_GREETING || connection->input_bytes > 0 ||
               output_waiting(&connection->output) > 0;
}

/* Brings what the loop watches in line with the state; the end of whatever happened to a connection. */
void connection_settle(struct connection *connection) {
        size_t waiting = output_waiting(&connection->output);
        if (connection->state == CONNECTION_CLOSED)
                return;
        if (connection->state == CONNECTION_LEAVING && waiting == 0) {
                connection_close(connection, NULL);
                return;
        }
        if (waiting > OUTPUT_MORE_BYTES &&
                connection_has_enough(connection, 0, waiting - OUTPUT_MORE_BYTES)) {
                connection_close(
                        connection, "more replies wait to be read than may (client-output)");
                return;
        }
        if (!connection_charge(connection, waiting + connection->input_bytes)) {
                connection_close(connection, "its uid has as many requests and replies waiting as "
                                             "it may (user-buffers)");
                return;
        }
        bool listens = connection_listens(connection);
        bool runnable = listens && connection_has_request(connection);
        connection->unread &= listens; /* else it is reported again when it listens */
        if (!runnable && !connection->unread && !connection->dead) {
                link_remove(&connection->in_runnable);
        } else if (!link_used(&connection->in_runnable)) {
                turns_add(&connection->worker->turns, connection->share, &connection->in_runnable);
                worker_has_more(connection->worker);
        }
        int error = connection_poll(
                connection, (listens && !runnable ? EPOLLIN : 0) | (waiting > 0 ? EPOLLOUT : 0));
        if (error) {
                connection_close(connection, strerror(-error));
                return;
        }
        if (connection_may_expire(connection) && !link_used(&connection->in_watched))
                worker_watch(connection->worker, &connection->in_watched);
}

bool connection_expire(struct connection *connection, uint64_t now_ms) {
        const char *reason = NULL;
        if (output_waiting(&connection->output) > 0 &&
                now_ms - connection->output_since_ms >= PATIENCE_MS)
                reason = "it does not read its replies";
        else if (connection->state == CONNECTION_GREETING &&
                 now_ms - connection->accepted_ms >= PATIENCE_MS)
                reason = "it said no hello";
        else if (connection->input_bytes > 0 && connection_listens(connection) &&
                 !connection_has_request(connection) &&
                 now_ms - connection->input_since_ms >= PATIENCE_MS)
                reason = "it sent half a request";
        if (reason)
                connection_close(connection, reason);
        return reason || !connection_may_expire(connection);
}

/* ---- Sending ---- */

/* What a client sent before it closed still counts, as far as it need not be told of it: behind it may be a goodbye. */
static void connection_turn_deaf(struct connection *connection) {
        connection->deaf = connection->dead = true;
        output_deinit(&connection->output);
        connection_settle(connection);
}

/* Where all went out nothing is to be settled that was not before. */
static void connection_sent(struct connection *connection, int error) {
        bool closed = error == -EPIPE || error == -ECONNRESET;
        bool all = output_waiting(&connection->output) == 0;
        if (all)
                connection->in_flight = 0;
        if (closed && connection->session && connection->state < CONNECTION_PARTING)
                connection_turn_deaf(connection);
        else if (closed)
                connection_close(connection, NULL);
        else if (error)
                connection_close(connection, strerror(-error));
        else if (!all)
                connection_settle(connection);
}

static void connection_send(
        struct connection *connection, const uint8_t *bytes, size_t length, int descriptor) {
        if (connection->deaf) {
                connection_settle(connection);
                return;
        }
        if (output_waiting(&connection->output) == 0)
                connection->output_since_ms = worker_now_ms(connection->worker);
        connection_sent(connection,
                output_send(&connection->output, connection->fd, bytes, length, descriptor));
}

void connection_flush(struct worker *worker) {
        struct connection *connection = worker->output_for;
        if (!connection)
                return;
        size_t length = worker->output_bytes;
        worker->output_for = NULL;
        worker->output_bytes = 0;
        connection_send(connection, worker->output, length, -1);
}

/* Room for one more reply is always left behind what waits in the worker's buffer. */
static ptrdiff_t connection_encode(struct connection *connection, const struct reply *reply) {
        struct worker *worker = connection->worker;
        if (worker->output_for != connection)
                connection_flush(worker);
        ptrdiff_t length = reply_encode(reply, worker->output + worker->output_bytes,
                WORKER_OUTPUT_BYTES - worker->output_bytes);
        if (length < 0)
                connection_close(connection, "a reply is longer than the protocol allows");
        return length;
}

void connection_reply(struct connection *connection, const struct reply *reply) {
        struct worker *worker = connection->worker;
        if (connection->state == CONNECTION_CLOSED)
                return;
        if (reply->kind == REPLY_REFUSED && connection->served)
                refusals_count(
                        &connection->served->refusals, connection->peer.uid, reply->refused.status);
        ptrdiff_t length = connection_encode(connection, reply);
        if (length < 0)
                return;
        worker->output_for = connection;
        worker->output_bytes += (size_t)length;
        connection->in_flight++;
        if (worker->output_bytes >= WORKER_OUTPUT_HIGH)
                connection_flush(worker);
}

void connection_reply_with(
        struct connection *connection, const struct reply *reply, int descriptor) {
        connection_flush(connection->worker);
        if (connection->state == CONNECTION_CLOSED)
                return;
        ptrdiff_t length = connection_encode(connection, reply);
        if (length >= 0)
                connection_send(connection, connection->worker->output, (size_t)length, descriptor);
}

void connection_send_waiting(struct connection *connection) {
        ptrdiff_t sent = output_flush(&connection->output, connection->fd);
        if (sent > 0)
                connection->output_since_ms = worker_now_ms(connection->worker);
        connection_sent(connection, sent < 0 ? (int)sent : 0);
}

void connection_leave(struct connection *connection) {
        if (connection->state == CONNECTION_CLOSED)
                return;
        connection->state = CONNECTION_LEAVING;
        if (connection->worker->output_for == connection)
                connection_flush(connection->worker);
        connection_settle(connection);
}

void connection_reject(struct connection *connection, const char *reason) {
        struct reply reply = {
                .kind = REPLY_REFUSED,
                .refused = {.status = STATUS_PROTOCOL, .detail = reason},
        };
        connection_log_end(connection, reason);
        connection_reply(connection, &reply);
        connection_leave(connection);
}

void connection_farewell(struct connection *connection, uint64_t id) {
        struct reply reply = {.id = id, .kind = REPLY_DONE};
        connection->parting = NULL;
        connection_reply(connection, &reply);
        connection_leave(connection);
}

/* ---- Beginning ---- */

static int connection_watch_process(struct connection *connection) {
        int pidfd = connection->peer.pidfd;
        return pidfd < 0 ? 0
                         : poller_watch(&connection->worker->poller, &connection->process, pidfd,
                                   EPOLLIN);
}

int connection_new(struct worker *worker, const struct arrival *arrival) {
        struct connection *connection = malloc(sizeof(*connection));
        struct share *share = turns_join(&worker->turns, arrival->peer.uid);
        if (!connection || !share) {
                free(connection);
                if (share)
                        turns_leave(&worker->turns, share);
                return -ENOMEM;
        }
        *connection = (struct connection){
                .worker = worker,
                .share = share,
                .peer = arrival->peer,
                .user = arrival->user,
                .fd = arrival->fd,
                .passed = -1,
                .socket.ready = connection_on_socket,
                .process.ready = connection_on_process,
                .plain_receive = peer_sends_bytes_only(arrival->fd),
                .input = arrival->input,
                .input_bytes = arrival->input_bytes,
                .accepted_ms = worker_now_ms(worker),
                .input_since_ms = worker_now_ms(worker),
        };
        link_init(&connection->in_watched);
        link_init(&connection->in_runnable);
        link_init(&connection->laters);
        output_init(&connection->output);
        list_append(&worker->connections, &connection->in_worker);
        int error = connection_watch_process(connection);
        if (error)
                connection_close(connection, strerror(-error));
        else
                connection_settle(connection);
        return 0;
}

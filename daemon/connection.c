/* See connection.h. */
#include "connection.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dispatch.h"
#include "ration.h"
#include "receive.h"
#include "session.h"
#include "worker.h"

#define PATIENCE_MS       5000u /* for a hello, the rest of a frame, a reader that does not read */
#define OUTPUT_HIGH_BYTES (64u * 1024)   /* waiting: no more requests are run */
#define OUTPUT_MAX_BYTES  (1024u * 1024) /* waiting: dropped */
#define DRAIN_BYTES_MAX   (1024u * 1024) /* of a dead client's last words */

/* ---- Closing ---- */

static void connection_process_closed(uv_handle_t *process) {
        ((struct connection *)process->data)->process_open = false;
}

void connections_bury(struct worker *worker) {
        struct link closed;
        link_init(&closed);
        list_move(&worker->closed, &closed);
        while (link_used(&closed)) {
                struct connection *connection =
                        LINK_OWNER(closed.next, struct connection, in_worker);
                link_remove(&connection->in_worker);
                if (connection->process_open)
                        list_append(&worker->closed, &connection->in_worker);
                else
                        free(connection);
        }
}

/* A client that resumes comes back as long as its process lives; its death ends it, not the loss of a connection. */
static bool connection_keep_session(struct connection *connection) {
        int pidfd = connection->peer.pidfd;
        if (!connection->session->resumes || !connection->session->confirmed || pidfd < 0 ||
                process_ended(pidfd) || session_leave(connection->session, pidfd) != 0)
                return false;
        connection->peer.pidfd = -1;
        return true;
}

static void connection_drop_session(struct connection *connection) {
        if (connection->parting)
                connection->parting->farewell = NULL;
        connection->parting = NULL;
        if (connection->session && connection->worker->stopping)
                session_abandon(connection->session);
        else if (connection->session && !connection_keep_session(connection))
                session_end(connection->session);
        connection->session = NULL;
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
        if (connection->process_open)
                uv_close((uv_handle_t *)&connection->process, connection_process_closed);
        list_append(&worker->closed, &connection->in_worker);
        output_deinit(&connection->output);
        worker_lost_connection(worker);
}

void connection_close(struct connection *connection, const char *reason) {
        if (connection->state == CONNECTION_CLOSED)
                return;
        if (reason)
                ration_warning("connection of pid %" PRIu32 " (uid %" PRIu32 ") closed: %s",
                        connection->peer.pid, connection->peer.uid, reason);
        connection_detach(connection);
        connection_drop_session(connection);
        close(connection->fd);
        if (connection->passed >= 0)
                close(connection->passed);
        peer_deinit(&connection->peer);
        free(connection->input);
}

static void connection_hand_over(struct connection *connection) {
        struct arrival *arrival = malloc(sizeof(*arrival));
        if (!arrival) {
                connection_close(connection, "out of memory");
                return;
        }
        *arrival = (struct arrival){
                .fd = connection->fd,
                .peer = connection->peer,
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

static bool connection_listens(const struct connection *connection) {
        size_t waiting = output_waiting(&connection->output);
        return connection->state < CONNECTION_PARTING &&
               (connection->must_tell ? waiting == 0 : waiting <= OUTPUT_HIGH_BYTES);
}

/* A whole frame, or one that is wrong already, was received and not run. */
static bool connection_has_request(const struct connection *connection) {
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
static void connection_settle(struct connection *connection) {
        size_t waiting = output_waiting(&connection->output);
        if (connection->state == CONNECTION_CLOSED)
                return;
        if (connection->state == CONNECTION_LEAVING && waiting == 0) {
                connection_close(connection, NULL);
                return;
        }
        if (waiting > OUTPUT_MAX_BYTES) {
                connection_close(connection, "more than 1 MiB of replies wait to be read");
                return;
        }
        bool listens = connection_listens(connection);
        bool runnable = listens && connection_has_request(connection);
        if (!runnable) {
                link_remove(&connection->in_runnable);
        } else if (!link_used(&connection->in_runnable)) {
                list_append(&connection->worker->runnable, &connection->in_runnable);
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

static void connection_sent(struct connection *connection, int error) {
        if (error == -EPIPE || error == -ECONNRESET)
                connection_close(connection, NULL);
        else if (error)
                connection_close(connection, strerror(-error));
        else
                connection_settle(connection);
}

static void connection_send(
        struct connection *connection, const uint8_t *bytes, size_t length, int descriptor) {
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
        ptrdiff_t length = connection_encode(connection, reply);
        if (length < 0)
                return;
        worker->output_for = connection;
        worker->output_bytes += (size_t)length;
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

static void connection_send_waiting(struct connection *connection) {
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
        else
                connection_settle(connection);
}

void connection_reject(struct connection *connection, const char *reason) {
        struct reply reply = {
                .kind = REPLY_REFUSED,
                .refused = {.status = STATUS_PROTOCOL, .detail = reason},
        };
        ration_warning("connection of pid %" PRIu32 " (uid %" PRIu32 ") closed: %s",
                connection->peer.pid, connection->peer.uid, reason);
        connection_reply(connection, &reply);
        connection_leave(connection);
}

void connection_farewell(struct connection *connection, uint64_t id) {
        struct reply reply = {.id = id, .kind = REPLY_DONE};
        connection->parting = NULL;
        connection_reply(connection, &reply);
        connection_leave(connection);
}

/* ---- Receiving ---- */

/* Keeps what was received and not run. */
static void connection_keep(struct connection *connection, const uint8_t *bytes, size_t length) {
        connection->input = malloc(length);
        if (!connection->input) {
                connection_close(connection, "out of memory");
                return;
        }
        memcpy(connection->input, bytes, length);
        connection->input_bytes = length;
}

/* Moves what was kept to the start of the worker's buffer. */
static size_t connection_unkeep(struct connection *connection) {
        size_t kept = connection->input_bytes;
        if (kept == 0)
                return 0;
        memcpy(connection->worker->input, connection->input, kept);
        free(connection->input);
        connection->input = NULL;
        connection->input_bytes = 0;
        return kept;
}

/* Runs one request. Returns the bytes that it took, 0 if there is no whole one. */
static size_t connection_run_one(
        struct connection *connection, const uint8_t *bytes, size_t length, uint64_t *now_ns) {
        const uint8_t *message;
        size_t message_bytes, wanted;
        int found = frame_next(bytes, length, FRAME_REQUEST_MAX, &message, &message_bytes, &wanted);
        if (found < 0)
                connection_reject(connection,
                        found == -EMSGSIZE ? "a request is over 64 KiB" : "a request of no bytes");
        if (found <= 0)
                return 0;
        *now_ns = dispatch_run(connection, message, message_bytes);
        return connection->moves_to ? 0 : FRAME_HEADER_BYTES + message_bytes;
}

/* A reply that is in the socket is the client's, also if we are killed now. */
static void connection_tell(struct connection *connection) {
        connection_flush(connection->worker);
        connection->must_tell =
                connection->state != CONNECTION_CLOSED && output_waiting(&connection->output) > 0;
}

/* Runs what is in the worker's buffer until the turn is over, and keeps the rest. */
static void connection_run(struct connection *connection, size_t length) {
        struct worker *worker = connection->worker;
        uint64_t began_ns = worker->poller.now_ns, now_ns = began_ns;
        size_t used = 0;
        connection->received_ns = began_ns;
        connection->must_tell &= output_waiting(&connection->output) > 0;
        while (used < length && now_ns - began_ns < WORKER_TURN_NS &&
                connection_listens(connection)) {
                size_t took = connection_run_one(
                        connection, worker->input + used, length - used, &now_ns);
                if (took == 0)
                        break;
                used += took;
                if (connection->must_tell)
                        connection_tell(connection);
        }
        worker->poller.now_ns = now_ns;
        if (used > 0)
                connection->input_since_ms = worker_now_ms(worker);
        if (used < length && connection->state < CONNECTION_PARTING)
                connection_keep(connection, worker->input + used, length - used);
        connection_flush(worker);
        if (connection->moves_to && connection->state != CONNECTION_CLOSED)
                connection_hand_over(connection);
}

/* A receive that is not full took all there was, unless a descriptor came along. */
static ssize_t connection_receive_some(struct connection *connection, uint8_t *bytes) {
        bool plain = connection->plain_receive && !connection->expects_cache;
        struct received received = {.passed = -1};
        ssize_t length = plain ? recv(connection->fd, bytes, WORKER_RECEIVE_BYTES, MSG_DONTWAIT)
                               : receive_watchfully(connection->fd, bytes, WORKER_RECEIVE_BYTES,
                                         connection->expects_cache, &received);
        connection->more_input =
                length == WORKER_RECEIVE_BYTES || received.cut || (length < 0 && errno == EINTR);
        if (received.passed < 0)
                return length;
        if (connection->passed >= 0)
                close(connection->passed);
        connection->passed = received.passed;
        return length;
}

/* One receive, and a turn with what it brought. Bytes received; 0: none, and at the end of the stream it
 * is closed. */
static size_t connection_receive(struct connection *connection) {
        struct worker *worker = connection->worker;
        size_t kept = connection_unkeep(connection);
        ssize_t length = connection_receive_some(connection, worker->input + kept);
        if (length <= 0) {
                if (length == 0 || (errno != EAGAIN && errno != EINTR))
                        connection_close(connection, NULL);
                else if (kept > 0)
                        connection_keep(connection, worker->input, kept);
                return 0;
        }
        if (kept == 0)
                connection->input_since_ms = worker_now_ms(worker);
        connection_run(connection, kept + (size_t)length);
        return (size_t)length;
}

void connection_resume(struct connection *connection) {
        connection_run(connection, connection_unkeep(connection));
        connection_settle(connection);
}

/* What a client sent before it died still counts: it may have given something to others. */
static void connection_drain(struct connection *connection) {
        size_t drained = 0;
        while (drained < DRAIN_BYTES_MAX && connection_listens(connection)) {
                if (connection_has_request(connection)) {
                        connection_resume(connection);
                        continue;
                }
                size_t length = connection_receive(connection);
                if (length == 0)
                        break;
                drained += length;
        }
        connection_close(connection, NULL);
}

static void connection_on_socket(struct poller_socket *socket, uint32_t events) {
        struct connection *connection = LINK_OWNER(socket, struct connection, socket);
        if (events & EPOLLOUT)
                connection_send_waiting(connection);
        if ((events & EPOLLIN) && connection_listens(connection)) {
                size_t length = connection_receive(connection);
                /* Its end was reported and is not again. */
                connection->more_input |= length > 0 && (events & POLLER_END) != 0;
        }
        connection_settle(connection);
}

static void connection_on_process(uv_poll_t *handle, int status, int events) {
        (void)status;
        (void)events;
        connection_drain(handle->data);
}

/* ---- Beginning ---- */

static int connection_watch_process(struct connection *connection) {
        uv_loop_t *loop = &connection->worker->loop;
        if (connection->peer.pidfd < 0)
                return 0;
        int error = uv_poll_init(loop, &connection->process, connection->peer.pidfd);
        if (error)
                return error;
        connection->process_open = true;
        connection->process.data = connection;
        return uv_poll_start(&connection->process, UV_READABLE, connection_on_process);
}

int connection_new(struct worker *worker, const struct arrival *arrival) {
        struct connection *connection = malloc(sizeof(*connection));
        if (!connection)
                return -ENOMEM;
        *connection = (struct connection){
                .worker = worker,
                .peer = arrival->peer,
                .fd = arrival->fd,
                .passed = -1,
                .socket.ready = connection_on_socket,
                .plain_receive = peer_sends_bytes_only(arrival->fd),
                .input = arrival->input,
                .input_bytes = arrival->input_bytes,
                .accepted_ms = worker_now_ms(worker),
                .input_since_ms = worker_now_ms(worker),
        };
        link_init(&connection->in_watched);
        link_init(&connection->in_runnable);
        output_init(&connection->output);
        list_append(&worker->connections, &connection->in_worker);
        int error = connection_watch_process(connection);
        if (error)
                connection_close(connection, uv_strerror(error));
        else
                connection_settle(connection);
        return 0;
}

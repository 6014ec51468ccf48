/* Receiving from a client and running what it asks, in turns. See connection.h. */
#include "connection_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dispatch.h"
#include "proto/frame.h"
#include "receive.h"
#include "serving.h"
#include "worker.h"

#define DRAIN_BYTES_MAX      (1024u * 1024) /* of a dead client's last words */
#define SHARED_RECEIVE_BYTES 2048u /* at once, while uids take turns: some 100 small requests */

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
        connection->must_tell = connection->state != CONNECTION_CLOSED &&
                                (connection->deaf || output_waiting(&connection->output) > 0);
}

/* Runs what is in the worker's buffer until the turn is over, and keeps the rest. */
static void connection_run(struct connection *connection, size_t length) {
        struct worker *worker = connection->worker;
        uint64_t began_ns = worker->poller.now_ns, now_ns = began_ns;
        size_t used = 0;
        connection->received_ns = began_ns;
        connection->must_tell &= connection->deaf || output_waiting(&connection->output) > 0;
        uint64_t turn_ns = turns_contended(&worker->turns) ? WORKER_SHARED_TURN_NS : WORKER_TURN_NS;
        while (used < length && now_ns - began_ns < turn_ns && connection_listens(connection)) {
                size_t took = connection_run_one(
                        connection, worker->input + used, length - used, &now_ns);
                if (took == 0)
                        break;
                used += took;
                if (connection->must_tell)
                        connection_tell(connection);
                else
                        connection_pace(connection);
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

/* As much as a turn can run, and the rest of a frame that has begun. */
static size_t connection_receive_limit(const struct connection *connection, size_t kept) {
        const struct worker *worker = connection->worker;
        const uint8_t *message;
        size_t message_bytes, wanted = 0;
        if (!turns_contended(&worker->turns))
                return WORKER_RECEIVE_BYTES;
        if (kept > 0)
                frame_next(
                        worker->input, kept, FRAME_REQUEST_MAX, &message, &message_bytes, &wanted);
        wanted = wanted > kept ? wanted - kept : 0;
        return wanted > SHARED_RECEIVE_BYTES ? wanted : SHARED_RECEIVE_BYTES;
}

/* A receive that is not full took all there was, unless a descriptor came along. */
static ssize_t connection_receive_some(struct connection *connection, size_t kept) {
        bool plain = connection->plain_receive && !connection->expects_cache;
        size_t limit = connection_receive_limit(connection, kept);
        uint8_t *bytes = connection->worker->input + kept;
        struct received received = {.passed = -1};
        ssize_t length = plain ? recv(connection->fd, bytes, limit, MSG_DONTWAIT)
                               : receive_watchfully(connection->fd, bytes, limit,
                                         connection->expects_cache, &received);
        connection->more_input = length == (ssize_t)limit || received.cut ||
                                 (length < 0 && errno == EINTR) ||
                                 (length > 0 && connection->ended);
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
        ssize_t length = connection_receive_some(connection, kept);
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

/* ---- Turns ---- */

/* What a client sent before it died still counts: it may have given something to others. */
static void connection_drain(struct connection *connection) {
        size_t length = 0;
        if (connection_listens(connection) && connection->drained < DRAIN_BYTES_MAX)
                length = connection_receive(connection);
        connection->drained += length;
        if (length == 0)
                connection_close(connection, NULL);
}

void connection_take_turn(struct connection *connection) {
        if (connection_listens(connection) && connection_has_request(connection)) {
                connection_run(connection, connection_unkeep(connection));
        } else if (connection->dead) {
                connection_drain(connection);
        } else if (connection->unread && connection_listens(connection)) {
                connection_receive(connection);
                connection->unread = connection->more_input;
                connection->more_input = false;
        }
        connection_settle(connection);
}

/* Where others wait, too, it is only noted: it is their turn as well. */
void connection_on_socket(struct poller_socket *socket, uint32_t events) {
        struct connection *connection = LINK_OWNER(socket, struct connection, socket);
        guard_notice(&connection->worker->serving->guard);
        if (events & EPOLLOUT)
                connection_send_waiting(connection);
        if ((events & EPOLLIN) && connection_listens(connection)) {
                connection->ended |= (events & POLLER_END) != 0;
                if (turns_contended(&connection->worker->turns))
                        connection->unread = true;
                else
                        connection_receive(connection);
        }
        connection_settle(connection);
}

void connection_on_process(struct poller_socket *process, uint32_t events) {
        struct connection *connection = LINK_OWNER(process, struct connection, process);
        (void)events;
        connection->dead = true;
        connection_settle(connection);
}

/* One socket, one buffer of received bytes, one arena for the last reply. */
#include "observer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "proto/frame.h"

#define INPUT_BYTES (FRAME_HEADER_BYTES + FRAME_REPLY_MAX)

/* A blocking socket says EAGAIN when its timeout has passed. */
static int socket_error(void) {
        return errno == EAGAIN || errno == EINPROGRESS ? -ETIMEDOUT : -errno;
}

int observer_set_timeout(struct observer *observer, int timeout_ms) {
        struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
        if (setsockopt(observer->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
                setsockopt(observer->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0)
                return -errno;
        return 0;
}

static int observer_connect(struct observer *observer, const struct sockaddr_un *address) {
        observer->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (observer->fd < 0)
                return -errno;
        int error = observer_set_timeout(observer, OBSERVER_TIMEOUT_MS);
        if (error != 0)
                return error;
        if (connect(observer->fd, (const struct sockaddr *)address, sizeof(*address)) != 0)
                return socket_error();
        return 0;
}

int observer_open(struct observer *observer, const struct sockaddr_un *address) {
        struct observer opened = {.fd = -1};
        int error = arena_init(&opened.arena, MESSAGE_ARENA_REPLY);
        if (error != 0)
                return error;
        opened.input = malloc(INPUT_BYTES);
        error = !opened.input ? -ENOMEM : observer_connect(&opened, address);
        if (error != 0) {
                observer_close(&opened);
                return error;
        }
        *observer = opened;
        return 0;
}

void observer_close(struct observer *observer) {
        if (observer->fd >= 0)
                close(observer->fd);
        observer->fd = -1;
        free(observer->input);
        observer->input = NULL;
        arena_deinit(&observer->arena);
}

int observer_send(struct observer *observer, const uint8_t *frames, size_t length) {
        while (length > 0) {
                ssize_t sent = send(observer->fd, frames, length, MSG_NOSIGNAL);
                if (sent < 0 && errno == EINTR)
                        continue;
                if (sent < 0)
                        return errno == EPIPE ? -ECONNRESET : socket_error();
                frames += sent;
                length -= (size_t)sent;
        }
        return 0;
}

static int observer_fill(struct observer *observer) {
        if (observer->begin == observer->end)
                observer->begin = observer->end = 0;
        if (observer->end == INPUT_BYTES) {
                size_t kept = observer->end - observer->begin;
                memmove(observer->input, observer->input + observer->begin, kept);
                observer->begin = 0;
                observer->end = kept;
        }
        ssize_t got;
        do
                got = recv(observer->fd, observer->input + observer->end,
                        INPUT_BYTES - observer->end, 0);
        while (got < 0 && errno == EINTR);
        if (got <= 0)
                return got == 0 ? -ECONNRESET : socket_error();
        observer->end += (size_t)got;
        return 0;
}

int observer_receive(struct observer *observer, struct reply *out) {
        for (;;) {
                const uint8_t *message;
                size_t message_bytes, wanted;
                int found = frame_next(observer->input + observer->begin,
                        observer->end - observer->begin, FRAME_REPLY_MAX, &message, &message_bytes,
                        &wanted);
                if (found < 0)
                        return -EPROTO;
                if (found > 0) {
                        observer->begin += FRAME_HEADER_BYTES + message_bytes;
                        arena_reset(&observer->arena);
                        return reply_decode(&observer->arena, message, message_bytes, out) != 0
                                       ? -EPROTO
                                       : 0;
                }
                int error = observer_fill(observer);
                if (error != 0)
                        return error;
        }
}

int observer_call(struct observer *observer, struct request *request, struct reply *out) {
        request->id = ++observer->last_id;
        uint8_t frame[4096];
        ptrdiff_t length = request_encode(request, frame, sizeof(frame));
        if (length < 0)
                return (int)length;
        int sent = observer_send(observer, frame, (size_t)length);
        struct reply reply;
        int error = sent == 0 || sent == -ECONNRESET ? observer_receive(observer, &reply) : sent;
        if (error != 0)
                return error;
        /* With id 0 the daemon says why it closes the connection, before it has read anything. */
        if (reply.id != request->id && !(reply.id == 0 && reply.kind == REPLY_REFUSED))
                return -EPROTO;
        *out = reply;
        return 0;
}

static int observer_pass_credentials(struct observer *observer, int on) {
        return setsockopt(observer->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0 ? -errno : 0;
}

/* Waits for bytes and looks who sent them, without taking them. */
static int observer_peek_sender(struct observer *observer, pid_t *pid) {
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(struct ucred))];
        } control;
        char byte;
        struct iovec io = {.iov_base = &byte, .iov_len = 1};
        struct msghdr message = {
                .msg_iov = &io,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof(control.bytes),
        };
        ssize_t got;
        do
                got = recvmsg(observer->fd, &message, MSG_PEEK | MSG_CMSG_CLOEXEC);
        while (got < 0 && errno == EINTR);
        if (got <= 0)
                return got == 0 ? -ECONNRESET : socket_error();
        *pid = 0;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_CREDENTIALS) {
                struct ucred sender;
                memcpy(&sender, CMSG_DATA(header), sizeof(sender));
                *pid = sender.pid;
        }
        return 0;
}

int observer_peer_pid(struct observer *observer, pid_t *pid) {
        struct request ping = {.id = ++observer->last_id, .kind = REQUEST_PING};
        uint8_t frame[64];
        pid_t sender = 0;
        ptrdiff_t length = request_encode(&ping, frame, sizeof(frame));
        int error = length < 0 ? (int)length : observer_pass_credentials(observer, 1);
        if (error == 0)
                error = observer_send(observer, frame, (size_t)length);
        if (error == 0)
                error = observer_peek_sender(observer, &sender);
        struct reply reply;
        if (error == 0)
                error = observer_receive(observer, &reply);
        if (error == 0)
                error = observer_pass_credentials(observer, 0);
        if (error == 0)
                *pid = sender;
        return error;
}

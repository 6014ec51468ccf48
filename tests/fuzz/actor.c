/* See actor.h. */
#include "actor.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "live_server.h"
#include "proto/frame.h"

#define IN_BYTES    (FRAME_HEADER_BYTES + FRAME_REPLY_MAX)
#define PATIENCE_MS 20000

static struct arena arena;

void actor_connect(struct actor *actor) {
        if (!arena.bytes)
                fuzz_require(arena_init(&arena, MESSAGE_ARENA_REPLY) == 0);
        if (!actor->in)
                fuzz_require((actor->in = malloc(IN_BYTES)) != NULL);
        actor->fd = live_server_connect();
        fuzz_require(actor->fd >= 0);
        actor->session = 0;
        actor->in_bytes = 0;
}

void actor_send_bytes(struct actor *actor, const uint8_t *bytes, size_t length) {
        while (length > 0) {
                ssize_t sent = send(actor->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (sent <= 0)
                        return;
                bytes += sent;
                length -= (size_t)sent;
        }
}

void actor_send(struct actor *actor, const struct request *request, int fd) {
        static uint8_t frame[FRAME_HEADER_BYTES + FRAME_REQUEST_MAX];
        ptrdiff_t length = request_encode(request, frame, sizeof(frame));
        if (length < 0)
                return;
        if (fd < 0) {
                actor_send_bytes(actor, frame, (size_t)length);
                return;
        }
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct iovec bytes = {frame, (size_t)length};
        struct msghdr header = {.msg_iov = &bytes,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof(control.bytes)};
        struct cmsghdr *one = CMSG_FIRSTHDR(&header);
        one->cmsg_level = SOL_SOCKET;
        one->cmsg_type = SCM_RIGHTS;
        one->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(one), &fd, sizeof(int));
        sendmsg(actor->fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The next whole reply of what was received, or NULL. */
static const struct reply *actor_next(struct actor *actor) {
        static struct reply reply;
        const uint8_t *message;
        size_t length, wanted;
        int found =
                frame_next(actor->in, actor->in_bytes, FRAME_REPLY_MAX, &message, &length, &wanted);
        fuzz_require(found >= 0);
        if (found == 0)
                return NULL;
        arena_reset(&arena);
        fuzz_require(reply_decode(&arena, message, length, &reply) == 0);
        size_t frame_bytes = FRAME_HEADER_BYTES + length;
        actor->in_bytes -= frame_bytes;
        memmove(actor->in, actor->in + frame_bytes, actor->in_bytes);
        return &reply;
}

/* Bytes received; 0: the server has closed; -1: there is nothing. */
static ssize_t actor_receive(struct actor *actor) {
        ssize_t length = recv(
                actor->fd, actor->in + actor->in_bytes, IN_BYTES - actor->in_bytes, MSG_DONTWAIT);
        if (length > 0)
                actor->in_bytes += (size_t)length;
        if (length < 0 && (errno == ECONNRESET || errno == EPIPE))
                return 0;
        return length;
}

static void actor_close(struct actor *actor) {
        close(actor->fd);
        actor->fd = -1;
}

void actor_read(struct actor *actor, actor_hears *hears) {
        const struct reply *reply;
        while (actor->fd >= 0) {
                ssize_t length = actor_receive(actor);
                while ((reply = actor_next(actor)))
                        hears(actor, reply);
                if (length == 0)
                        actor_close(actor);
                if (length <= 0)
                        return;
        }
}

static void await(const struct actor *actor) {
        struct pollfd readable = {.fd = actor->fd, .events = POLLIN};
        int ready;
        do /* libFuzzer's clock is a signal */
                ready = poll(&readable, 1, PATIENCE_MS);
        while (ready < 0 && errno == EINTR);
        fuzz_require(ready == 1);
}

void actor_end(struct actor *actor, actor_hears *hears) {
        if (actor->fd >= 0)
                shutdown(actor->fd, SHUT_WR);
        while (actor->fd >= 0) {
                await(actor);
                actor_read(actor, hears);
        }
        actor->session = 0;
}

const struct reply *actor_ask(struct actor *actor, struct request *request) {
        static uint64_t last_id = UINT64_C(1) << 40;
        const struct reply *reply;
        request->id = ++last_id;
        actor_send(actor, request, -1);
        for (;;) {
                while ((reply = actor_next(actor)))
                        if (reply->id == request->id)
                                return reply;
                await(actor);
                fuzz_require(actor_receive(actor) != 0);
        }
}

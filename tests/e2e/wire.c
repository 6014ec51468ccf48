#include "wire.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/frame.h"

void wire_open(struct wire *wire, const struct scene *scene) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        memcpy(address.sun_path, scene->socket, sizeof scene->socket);
        memset(wire, 0, sizeof *wire);
        wire->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert(wire->fd >= 0, "socket: %s", strerror(errno));
        cr_assert(connect(wire->fd, (struct sockaddr *)&address, sizeof address) == 0,
                "connect: %s", strerror(errno));
        cr_assert_eq(arena_init(&wire->arena, MESSAGE_ARENA_REPLY), 0);
        wire->size = FRAME_REPLY_MAX + FRAME_HEADER_BYTES;
        wire->bytes = malloc(wire->size);
        cr_assert_not_null(wire->bytes);
}

void wire_close(struct wire *wire) {
        for (size_t each = 0; each < wire->descriptor_count; each++)
                close(wire->descriptors[each]);
        close(wire->fd);
        free(wire->bytes);
        arena_deinit(&wire->arena);
}

void wire_send(struct wire *wire, const void *bytes, size_t length) {
        const char *at = bytes;
        while (length > 0) {
                ssize_t sent = send(wire->fd, at, length, MSG_NOSIGNAL);
                if (sent < 0 && errno == EINTR)
                        continue;
                if (sent < 0)
                        return;
                at += sent;
                length -= (size_t)sent;
        }
}

uint64_t wire_request(struct wire *wire, struct request request) {
        request.id = ++wire->next_id;
        size_t size = request_frame_bytes(&request);
        uint8_t *frame = malloc(size);
        cr_assert_not_null(frame);
        ptrdiff_t length = request_encode(&request, frame, size);
        cr_assert_gt(length, 0);
        wire_send(wire, frame, (size_t)length);
        free(frame);
        return request.id;
}

static void descriptors_keep(struct wire *wire, struct msghdr *message) {
        for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each;
                each = CMSG_NXTHDR(message, each)) {
                if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                cr_assert_leq(wire->descriptor_count + count, 8, "too many descriptors");
                memcpy(&wire->descriptors[wire->descriptor_count], CMSG_DATA(each),
                        count * sizeof(int));
                wire->descriptor_count += count;
        }
}

/* False when the peer has closed; fails when it says nothing for too long. */
static bool bytes_receive(struct wire *wire, int milliseconds) {
        struct pollfd wait = {.fd = wire->fd, .events = POLLIN};
        cr_assert_eq(poll(&wait, 1, milliseconds), 1, "the daemon says nothing");
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(8 * sizeof(int))];
        } control;
        struct iovec part = {wire->bytes + wire->length, wire->size - wire->length};
        struct msghdr message = {.msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof control};
        ssize_t got = recvmsg(wire->fd, &message, MSG_CMSG_CLOEXEC);
        if (got <= 0)
                return false;
        descriptors_keep(wire, &message);
        wire->length += (size_t)got;
        return true;
}

bool wire_reply(struct wire *wire, struct reply *reply) {
        for (;;) {
                const uint8_t *message = NULL;
                size_t length = 0, wanted = 0;
                int whole = frame_next(
                        wire->bytes, wire->length, FRAME_REPLY_MAX, &message, &length, &wanted);
                cr_assert(whole >= 0, "the daemon sent a bad frame");
                if (whole == 0) {
                        if (!bytes_receive(wire, PATIENCE_MS))
                                return false;
                        continue;
                }
                arena_reset(&wire->arena);
                cr_assert_eq(reply_decode(&wire->arena, message, length, reply), 0,
                        "the daemon sent a bad message");
                size_t taken = FRAME_HEADER_BYTES + length;
                memmove(wire->bytes, wire->bytes + taken, wire->length - taken);
                wire->length -= taken;
                return true;
        }
}

void wire_expect_closed(struct wire *wire, int milliseconds) {
        uint64_t deadline = now_ms() + (uint64_t)milliseconds;
        do {
                uint64_t now = now_ms();
                cr_assert_lt(now, deadline, "the connection stays open");
                wire->length = 0;
                struct pollfd wait = {.fd = wire->fd, .events = POLLIN};
                cr_assert_eq(poll(&wait, 1, (int)(deadline - now)), 1, "the connection stays open");
        } while (bytes_receive(wire, milliseconds));
}

struct reply_welcome wire_hello(struct wire *wire, const struct scene *scene) {
        struct request request = {.kind = REQUEST_HELLO};
        request.hello = (struct request_hello){
                .version = PROTOCOL_VERSION, .pool = scene->pool, .name = "by hand"};
        uint64_t id = wire_request(wire, request);
        struct reply reply;
        cr_assert(wire_reply(wire, &reply), "closed instead of a welcome");
        cr_assert_eq(reply.id, id);
        cr_assert_eq(reply.kind, REPLY_WELCOME, "no welcome: %s",
                reply.kind == REPLY_REFUSED ? reply.refused.detail : "another reply");
        return reply.welcome;
}

int wire_segment(struct wire *wire, const struct scene *scene) {
        wire_open(wire, scene);
        wire_hello(wire, scene);
        return wire->descriptors[0];
}

void wire_expect_alive(struct wire *wire) {
        struct reply reply;
        uint64_t id = wire_request(wire, (struct request){.kind = REQUEST_PING});
        do
                cr_assert(wire_reply(wire, &reply), "the connection is closed");
        while (reply.id != id);
        cr_assert_eq(reply.kind, REPLY_DONE);
}

size_t wire_frame(uint8_t *frame, const void *message, size_t length) {
        frame_header(frame, length);
        memcpy(frame + FRAME_HEADER_BYTES, message, length);
        return FRAME_HEADER_BYTES + length;
}

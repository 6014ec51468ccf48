/* The scripted peer. A failed system call of the child ends it with a status that peer_stop
 * reports. */
#include "peer.h"

#include "client/buddyclient.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/frame.h"

#define PEER_FAILED 70

static void need(bool condition) {
        if (!condition)
                _exit(PEER_FAILED);
}

static _Noreturn void play(int listener, peer_script *script) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
                int fd = accept(listener, NULL, NULL);
                need(fd >= 0);
                script(fd);
                close(fd);
        }
}

struct peer peer_start(peer_script *script) {
        struct peer peer = {.folder = "/tmp/buddyclient-peer-XXXXXX"};
        cr_assert_not_null(mkdtemp(peer.folder));
        snprintf(peer.path, sizeof(peer.path), "%s/sock", peer.folder);
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", peer.path);
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
        cr_assert_eq(listen(listener, 16), 0);
        peer.pid = fork();
        cr_assert_geq(peer.pid, 0);
        if (peer.pid == 0)
                play(listener, script);
        close(listener);
        return peer;
}

void peer_stop(struct peer *peer) {
        int status;
        kill(peer->pid, SIGKILL);
        cr_assert_eq(waitpid(peer->pid, &status, 0), peer->pid);
        cr_assert(WIFSIGNALED(status), "the peer ended by itself with status %d", status);
        unlink(peer->path);
        rmdir(peer->folder);
}

static bool read_all(int fd, uint8_t *bytes, size_t length) {
        for (size_t done = 0; done < length;) {
                ssize_t n = read(fd, bytes + done, length - done);
                if (n <= 0)
                        return false;
                done += (size_t)n;
        }
        return true;
}

static const struct request *read_request(int fd) {
        static uint8_t frame[FRAME_HEADER_BYTES + FRAME_REQUEST_MAX];
        static struct arena arena;
        static struct request request;
        if (!arena.bytes)
                need(arena_init(&arena, MESSAGE_ARENA_REQUEST) == 0);
        const uint8_t *message;
        size_t length, wanted;
        need(read_all(fd, frame, FRAME_HEADER_BYTES));
        need(frame_next(frame, FRAME_HEADER_BYTES, FRAME_REQUEST_MAX, &message, &length, &wanted) ==
                0);
        need(read_all(fd, frame + FRAME_HEADER_BYTES, wanted - FRAME_HEADER_BYTES));
        need(frame_next(frame, wanted, FRAME_REQUEST_MAX, &message, &length, &wanted) == 1);
        arena_reset(&arena);
        need(request_decode(&arena, message, length, &request) == 0);
        return &request;
}

/* What comes second: nothing is cached here, and a client that knows of its session is believed. */
static bool answer_second(int fd, const struct request *request) {
        struct reply reply = {.id = request->id, .kind = REPLY_DONE};
        if (request->kind == REQUEST_CACHE) {
                reply.kind = REPLY_REFUSED;
                reply.refused = (struct reply_refused){STATUS_UNKNOWN_REQUEST, "no such request"};
        } else if (request->kind != REQUEST_PING) {
                return false;
        }
        peer_send(fd, &reply, NULL, 0);
        return true;
}

const struct request *peer_read(int fd) {
        const struct request *request;
        do
                request = read_request(fd);
        while (answer_second(fd, request));
        return request;
}

const struct request *peer_read_any(int fd) {
        return read_request(fd);
}

void peer_send(int fd, const struct reply *reply, const int *fds, size_t fd_count) {
        static uint8_t frame[FRAME_HEADER_BYTES + FRAME_REPLY_MAX];
        ptrdiff_t length = reply_encode(reply, frame, sizeof(frame));
        need(length > 0);
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * 64)];
        } control = {0};
        struct iovec bytes = {frame, (size_t)length};
        struct msghdr header = {.msg_iov = &bytes, .msg_iovlen = 1};
        if (fd_count > 0) {
                header.msg_control = control.bytes;
                header.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
                struct cmsghdr *c = CMSG_FIRSTHDR(&header);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_count);
        }
        need(sendmsg(fd, &header, MSG_NOSIGNAL) == length);
}

void peer_send_bytes(int fd, const void *bytes, size_t length) {
        need(send(fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length);
}

int peer_segment(size_t bytes) {
        int fd = memfd_create("peer", MFD_CLOEXEC);
        need(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
        return fd;
}

struct reply peer_welcome(uint64_t id) {
        static const uint8_t token[MESSAGE_TOKEN_BYTES] = {1, 2, 3};
        static const uint32_t descriptors[] = {DESCRIPTOR_SEGMENT};
        return (struct reply){
                .id = id,
                .kind = REPLY_WELCOME,
                .welcome =
                        {
                                .version = PROTOCOL_VERSION,
                                .session = 7,
                                .token = token,
                                .page_bytes = 4096,
                                .size_bytes = 1 << 20,
                                .max_size_bytes = 1 << 20,
                                .descriptors = descriptors,
                                .descriptor_count = 1,
                        },
        };
}

/* The same for every connection. */
static int pool_segment(void) {
        static int segment = -1;
        if (segment < 0)
                segment = peer_segment(1 << 20);
        return segment;
}

void peer_confirm(int fd) {
        peer_need(answer_second(fd, read_request(fd)));
}

void peer_greet(int fd) {
        const struct request *hello = peer_read(fd);
        bool resumes = hello->hello.token != NULL; /* it will not take another session */
        struct reply reply = peer_welcome(hello->id);
        int segment = pool_segment();
        peer_send(fd, &reply, &segment, 1);
        if (!resumes)
                peer_confirm(fd);
}

void peer_need(bool condition) {
        need(condition);
}

struct message_done peer_done;
uint64_t peer_granted;

void peer_welcome_back(int fd, uint64_t id) {
        struct reply reply = peer_welcome(id);
        int segment = pool_segment();
        reply.welcome.resumed = true;
        reply.welcome.done = peer_done;
        reply.welcome.granted_ranges = peer_granted;
        peer_send(fd, &reply, &segment, 1);
}

void peer_expect_hello_again(int fd) {
        const struct request *request = peer_read(fd);
        struct reply reply = peer_welcome(request->id);
        need(request->kind == REQUEST_HELLO && request->hello.session == reply.welcome.session);
        need(request->hello.token &&
                memcmp(request->hello.token, reply.welcome.token, MESSAGE_TOKEN_BYTES) == 0);
        peer_welcome_back(fd, request->id);
}

void peer_expect_holds(int fd, const struct reply_hold *holds, size_t count) {
        const struct request *request = peer_read(fd);
        need(request->kind == REQUEST_HOLDS && request->holds.session == 7);
        struct reply reply = {.id = request->id,
                .kind = REPLY_HOLDS,
                .holds = {.entries = holds, .count = count}};
        peer_send(fd, &reply, NULL, 0);
}

void peer_send_done(int fd, uint64_t id) {
        struct reply done = {.id = id, .kind = REPLY_DONE};
        peer_send(fd, &done, NULL, 0);
}

void peer_send_range(int fd, uint64_t id, uint64_t place, uint32_t generation) {
        struct reply reply = {.id = id, .kind = REPLY_RANGES, .ranges = {&place, &generation, 1}};
        peer_send(fd, &reply, NULL, 0);
}

void peer_part(int fd) {
        const struct request *request = peer_read(fd);
        need(request->kind == REQUEST_GOODBYE);
        peer_send_done(fd, request->id);
        peer_wait_close(fd);
}

void peer_wait_close(int fd) {
        char byte;
        while (read(fd, &byte, 1) > 0)
                continue;
}

struct buddyclient *peer_connected(const struct peer *peer, int timeout_ms) {
        struct buddyclient *client;
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, peer->path), 0);
        cr_assert_eq(buddyclient_set_timeout_ms(client, timeout_ms), 0);
        cr_assert_eq(buddyclient_connect(client), 0, "%s", buddyclient_detail(client));
        return client;
}

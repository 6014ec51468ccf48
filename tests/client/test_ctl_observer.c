/* The observer's connection against peers that misbehave; the real daemon meets it in the end-to-end tests. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/observer.h"
#include "proto/frame.h"

/* An observer that is connected, and the other end of it, in one thread: what the peer will have answered
 * is written before the observer asks. */
struct stage {
        char folder[32];
        struct sockaddr_un address;
        int listener, peer;
        struct observer observer;
};

static void stage_open(struct stage *stage) {
        *stage = (struct stage){.folder = "/tmp/ctl-observer-XXXXXX"};
        cr_assert_not_null(mkdtemp(stage->folder));
        stage->address.sun_family = AF_UNIX;
        snprintf(stage->address.sun_path, sizeof(stage->address.sun_path), "%s/socket",
                stage->folder);
        stage->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert_eq(
                bind(stage->listener, (struct sockaddr *)&stage->address, sizeof(stage->address)),
                0);
        cr_assert_eq(listen(stage->listener, 4), 0);
        cr_assert_eq(observer_open(&stage->observer, &stage->address), 0);
        stage->peer = accept(stage->listener, NULL, NULL);
        cr_assert_geq(stage->peer, 0);
}

static void stage_close(struct stage *stage) {
        observer_close(&stage->observer);
        if (stage->peer >= 0)
                close(stage->peer);
        close(stage->listener);
        unlink(stage->address.sun_path);
        rmdir(stage->folder);
}

static void peer_says(struct stage *stage, const struct reply *reply) {
        static uint8_t frame[FRAME_HEADER_BYTES + FRAME_REPLY_MAX];
        ptrdiff_t length = reply_encode(reply, frame, sizeof(frame));
        cr_assert_gt(length, 0);
        cr_assert_eq(send(stage->peer, frame, (size_t)length, 0), length);
}

static int ping(struct stage *stage, struct reply *reply) {
        struct request request = {.kind = REQUEST_PING};
        return observer_call(&stage->observer, &request, reply);
}

Test(ctl_observer, call_returns_the_reply) {
        struct stage stage;
        struct reply reply;
        stage_open(&stage);
        for (uint64_t id = 1; id <= 3; id++) {
                peer_says(&stage, &(struct reply){.id = id, .kind = REPLY_DONE});
                cr_expect_eq(ping(&stage, &reply), 0);
                cr_expect_eq(reply.kind, REPLY_DONE);
                cr_expect_eq(reply.id, id);
        }
        stage_close(&stage);
}

/* Who made the socket does not matter, only who answers. */
Test(ctl_observer, knows_the_process_that_answers) {
        struct stage stage;
        struct reply reply;
        pid_t seen = 0;
        stage_open(&stage);
        pid_t child = fork();
        if (child == 0) {
                uint8_t byte, frame[64];
                struct reply done = {.id = 1, .kind = REPLY_DONE};
                ptrdiff_t length = reply_encode(&done, frame, sizeof(frame));
                if (recv(stage.peer, &byte, 1, 0) == 1)
                        send(stage.peer, frame, (size_t)length, 0);
                _exit(0);
        }
        cr_expect_eq(observer_peer_pid(&stage.observer, &seen), 0);
        cr_expect_eq(seen, child);
        cr_expect_eq(waitpid(child, NULL, 0), child);
        peer_says(&stage, &(struct reply){.id = 2, .kind = REPLY_DONE});
        cr_expect_eq(ping(&stage, &reply), 0, "and the connection goes on");
        stage_close(&stage);
}

Test(ctl_observer, receives_replies_that_come_together) {
        struct stage stage;
        struct reply reply;
        char name[600];
        memset(name, 'n', sizeof(name));
        name[sizeof(name) - 1] = '\0';
        stage_open(&stage);
        for (uint64_t id = 1; id <= 50; id++)
                peer_says(&stage, &(struct reply){.id = id,
                                          .kind = REPLY_REFUSED,
                                          .refused = {.status = STATUS_STALE, .detail = name}});
        for (uint64_t id = 1; id <= 50; id++) {
                cr_expect_eq(observer_receive(&stage.observer, &reply), 0);
                cr_expect_eq(reply.id, id);
                cr_expect_str_eq(reply.refused.detail, name);
        }
        stage_close(&stage);
}

/* A daemon that takes no more connections says so before it reads anything, and has closed before it is asked. */
Test(ctl_observer, hears_why_the_connection_was_closed_at_once) {
        struct stage stage;
        struct reply reply = {.id = 77};
        stage_open(&stage);
        peer_says(&stage, &(struct reply){.kind = REPLY_REFUSED,
                                  .refused = {.status = STATUS_QUOTA, .detail = "too many"}});
        close(stage.peer);
        stage.peer = -1;
        cr_assert_eq(ping(&stage, &reply), 0);
        cr_expect_eq(reply.kind, REPLY_REFUSED);
        cr_expect_str_eq(reply.refused.detail, "too many");
        cr_expect_eq(ping(&stage, &reply), -ECONNRESET);
        stage_close(&stage);
}

Test(ctl_observer, a_reply_to_another_request_is_no_reply) {
        struct stage stage;
        struct reply reply = {.id = 77};
        stage_open(&stage);
        peer_says(&stage, &(struct reply){.id = 5, .kind = REPLY_DONE});
        cr_expect_eq(ping(&stage, &reply), -EPROTO);
        cr_expect_eq(reply.id, 77);
        stage_close(&stage);
}

Test(ctl_observer, refuses_what_is_no_frame) {
        static const struct {
                uint8_t bytes[8];
                size_t length;
        } wrong[] = {
                {{0, 0, 0, 0}, 4},
                {{1, 0, 16, 0}, 4}, /* one byte over the cap: said by the length alone */
                {{0xff, 0xff, 0xff, 0xff}, 4},
                {{4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, 8},
                {"HTTP/1.1", 8},
        };
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                struct stage stage;
                struct reply reply;
                stage_open(&stage);
                cr_assert_eq(send(stage.peer, wrong[i].bytes, wrong[i].length, 0),
                        (ssize_t)wrong[i].length);
                cr_expect_eq(ping(&stage, &reply), -EPROTO, "case %zu", i);
                stage_close(&stage);
        }
}

Test(ctl_observer, silence_ends_with_the_timeout) {
        struct stage stage;
        struct reply reply;
        stage_open(&stage);
        cr_assert_eq(observer_set_timeout(&stage.observer, 20), 0);
        cr_expect_eq(ping(&stage, &reply), -ETIMEDOUT);
        uint8_t half[2] = {9, 0};
        cr_assert_eq(send(stage.peer, half, sizeof(half), 0), 2);
        cr_expect_eq(ping(&stage, &reply), -ETIMEDOUT);
        stage_close(&stage);
}

Test(ctl_observer, a_closed_connection_is_reset) {
        struct stage stage;
        struct reply reply;
        stage_open(&stage);
        close(stage.peer);
        stage.peer = -1;
        cr_expect_eq(ping(&stage, &reply), -ECONNRESET);
        stage_close(&stage);
}

Test(ctl_observer, open_says_why_not) {
        struct stage stage;
        struct observer observer = {.fd = -1};
        stage_open(&stage);
        close(stage.listener);
        cr_expect_eq(observer_open(&observer, &stage.address), -ECONNREFUSED);
        unlink(stage.address.sun_path);
        cr_expect_eq(observer_open(&observer, &stage.address), -ENOENT);
        cr_expect_eq(observer.fd, -1);
        stage.listener = -1;
        stage_close(&stage);
}

Test(ctl_observer, a_request_that_is_too_long_is_not_sent) {
        struct stage stage;
        struct reply reply;
        static char pool[100000];
        memset(pool, 'p', sizeof(pool) - 1);
        stage_open(&stage);
        struct request request = {.kind = REQUEST_HELLO, .hello = {.pool = pool, .name = ""}};
        cr_expect_eq(observer_call(&stage.observer, &request, &reply), -EMSGSIZE);
        char byte;
        cr_expect_eq(recv(stage.peer, &byte, 1, MSG_DONTWAIT), -1);
        stage_close(&stage);
}

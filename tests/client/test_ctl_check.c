/* check when something does not hold: no sound daemon says so, thus a peer that does. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl/arguments.h"
#include "client/ctl/observer.h"

struct stage {
        char folder[32];
        struct sockaddr_un address;
        pid_t peer;
};

/* Answers one request with one reply, whatever was asked. */
static void peer_answer(int fd, const struct reply *reply) {
        uint8_t request[4096], frame[1024];
        ptrdiff_t length = reply_encode(reply, frame, sizeof(frame));
        if (recv(fd, request, sizeof(request), 0) > 0)
                send(fd, frame, (size_t)length, MSG_NOSIGNAL);
}

static void stage_open(struct stage *stage, const struct reply *second) {
        *stage = (struct stage){.folder = "/tmp/ctl-check-XXXXXX"};
        cr_assert_not_null(mkdtemp(stage->folder));
        stage->address.sun_family = AF_UNIX;
        snprintf(stage->address.sun_path, sizeof(stage->address.sun_path), "%s/socket",
                stage->folder);
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert_eq(bind(listener, (struct sockaddr *)&stage->address, sizeof(stage->address)), 0);
        cr_assert_eq(listen(listener, 1), 0);
        stage->peer = fork();
        if (stage->peer == 0) {
                int fd = accept(listener, NULL, NULL);
                peer_answer(
                        fd, &(struct reply){.id = 1,
                                    .kind = REPLY_WELCOME,
                                    .welcome = {.version = PROTOCOL_VERSION, .page_bytes = 4096}});
                if (second)
                        peer_answer(fd, second);
                _exit(0);
        }
        close(listener);
}

static void stage_close(struct stage *stage) {
        cr_assert_eq(waitpid(stage->peer, NULL, 0), stage->peer);
        unlink(stage->address.sun_path);
        rmdir(stage->folder);
}

static enum exit_status run_check(const struct stage *stage, bool as_json) {
        struct invocation invocation = {.command = command_find("check")};
        invocation.values[OPTION_SOCKET] = stage->address.sun_path;
        invocation.values[OPTION_JSON] = as_json ? "" : NULL;
        enum exit_status status = invocation.command->run(&invocation);
        fflush(stdout);
        return status;
}

static const struct reply fault = {
        .id = 2,
        .kind = REPLY_CHECK,
        .check = {.pages = 12345, .fault = "page 7 is free and held\033[2J"},
};

Test(ctl_check, a_fault_is_status_4_and_named, .init = cr_redirect_stdout) {
        struct stage stage;
        stage_open(&stage, &fault);
        cr_expect_eq(run_check(&stage, false), EXIT_FAULT);
        char text[4096] = "";
        FILE *out = cr_get_redirected_stdout();
        text[fread(text, 1, sizeof(text) - 1, out)] = '\0';
        cr_expect_not_null(strstr(text, "12,345"), "%s", text);
        cr_expect_not_null(strstr(text, "page 7 is free and held\\x1b[2J"), "%s", text);
        cr_expect_null(strstr(text, "ok"), "%s", text);
        stage_close(&stage);
}

Test(ctl_check, a_fault_in_json, .init = cr_redirect_stdout) {
        struct stage stage;
        stage_open(&stage, &fault);
        cr_expect_eq(run_check(&stage, true), EXIT_FAULT);
        cr_expect_stdout_eq_str("{\"ok\":false,\"pages\":12345,\"chunks\":0,\"records\":0,\"live_"
                                "blocks\":0,\"holds\":0,"
                                "\"keys\":0,\"sessions\":0,\"free_blocks\":0,\"microseconds\":0,"
                                "\"fault\":\"page 7 is free and held\\u001b[2J\"}\n");
        stage_close(&stage);
}

Test(ctl_check, a_refusal_is_status_1, .init = cr_redirect_stderr) {
        struct stage stage;
        stage_open(&stage, &(struct reply){.id = 2,
                                   .kind = REPLY_REFUSED,
                                   .refused = {.status = STATUS_UNKNOWN_REQUEST, .detail = ""}});
        cr_expect_eq(run_check(&stage, false), EXIT_REFUSED);
        fflush(stderr);
        cr_expect_stderr_eq_str("buddyctl: this buddyd does not know the request; update it\n");
        stage_close(&stage);
}

Test(ctl_check, a_reply_of_another_kind_is_status_3) {
        struct stage stage;
        stage_open(&stage, &(struct reply){.id = 2, .kind = REPLY_DONE});
        cr_expect_eq(run_check(&stage, false), EXIT_UNREACHABLE);
        stage_close(&stage);
}

Test(ctl_check, a_connection_that_ends_is_status_3) {
        struct stage stage;
        stage_open(&stage, NULL);
        cr_expect_eq(run_check(&stage, false), EXIT_UNREACHABLE);
        stage_close(&stage);
}

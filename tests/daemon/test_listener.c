#include "daemon/listener.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "captured.h"
#include "daemon/log.h"
#include "scratch.h"

static void make(void) {
        scratch_make();
}

TestSuite(listener, .init = make, .fini = scratch_remove);

static struct settings settings_for(const char *path) {
        return (struct settings){.socket_path = (char *)path, .socket_mode = 0600};
}

static struct sockaddr_un address_of(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        return address;
}

static bool can_connect(const char *path) {
        struct sockaddr_un address = address_of(path);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        int result = connect(fd, (const struct sockaddr *)&address, sizeof(address));
        close(fd);
        return result == 0;
}

/* Leaves a socket file as a killed daemon does, or a live socket. */
static int bind_there(const char *path, bool live) {
        struct sockaddr_un address = address_of(path);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        cr_assert_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
        if (live)
                cr_assert_eq(listen(fd, 5), 0);
        return fd;
}

static void claim_refused(const struct settings *settings, int expected, const char *part) {
        unsigned files = scratch_open_files();
        struct listener listener = {.fd = 77};
        captured_begin(2);
        int error = listener_claim(settings, &listener);
        const char *text = captured_end();
        cr_expect_eq(error, expected, "%d", error);
        cr_expect(is_one_line(text) && strstr(text, part) && strchr(text, ';'), "%s", text);
        cr_expect_eq(listener.fd, 77, "the output was written");
        cr_expect_eq(scratch_open_files(), files);
}

static void serve(const struct settings *settings, struct listener *listener) {
        cr_assert_eq(listener_claim(settings, listener), 0);
        cr_assert_eq(listener_open(listener, settings), 0);
        cr_assert(can_connect(settings->socket_path));
}

Test(listener, serves_and_leaves_nothing_behind) {
        unsigned files = scratch_open_files();
        struct settings settings = settings_for(scratch_path("s"));
        struct listener listener;
        cr_assert_eq(listener_claim(&settings, &listener), 0);
        cr_assert_neq(access(settings.socket_path, F_OK), 0,
                "nothing is to be seen before listener_open");
        cr_assert_eq(listener_open(&listener, &settings), 0);
        cr_assert(can_connect(settings.socket_path));
        struct stat stat;
        cr_assert_eq(lstat(settings.socket_path, &stat), 0);
        cr_assert_eq(stat.st_mode & 07777, 0600);
        listener_close(&listener);
        cr_assert_neq(access(settings.socket_path, F_OK), 0);
        cr_assert_eq(rmdir(scratch_path("")), 0, "a file was left in the folder");
        cr_assert_eq(scratch_open_files(), files);
}

Test(listener, sets_mode_and_group_whatever_the_umask) {
        struct settings settings = settings_for(scratch_path("s"));
        settings.socket_mode = 0666;
        settings.socket_group_set = true;
        settings.socket_group = geteuid() == 0 ? 4711 : getegid();
        mode_t mask = umask(0077);
        struct listener listener;
        serve(&settings, &listener);
        cr_assert_eq(umask(mask), 0077, "the umask was changed");
        struct stat stat;
        cr_assert_eq(lstat(settings.socket_path, &stat), 0);
        cr_assert_eq(stat.st_mode & 07777, 0666);
        cr_assert_eq(stat.st_gid, settings.socket_group);
        listener_close(&listener);
}

Test(listener, a_second_one_is_refused_from_claim_to_close) {
        struct settings settings = settings_for(scratch_path("s"));
        struct listener listener;
        cr_assert_eq(listener_claim(&settings, &listener), 0);
        claim_refused(&settings, -EADDRINUSE, "another daemon serves on");
        cr_assert_eq(listener_open(&listener, &settings), 0);
        claim_refused(&settings, -EADDRINUSE, "another daemon serves on");
        cr_assert(can_connect(settings.socket_path), "the refused one broke the first");
        listener_close(&listener);
        serve(&settings, &listener);
        listener_close(&listener);
}

Test(listener, replaces_a_stale_socket) {
        struct settings settings = settings_for(scratch_path("s"));
        close(bind_there(settings.socket_path, false));
        struct listener listener;
        serve(&settings, &listener);
        listener_close(&listener);
}

Test(listener, takes_over_after_a_kill) {
        struct settings settings = settings_for(scratch_path("s"));
        pid_t child = fork();
        if (child == 0) {
                struct listener listener;
                if (listener_claim(&settings, &listener) == 0 &&
                        listener_open(&listener, &settings) == 0)
                        kill(getpid(), SIGKILL);
                _exit(1);
        }
        int status;
        waitpid(child, &status, 0);
        cr_assert(WIFSIGNALED(status));
        cr_assert_eq(access(settings.socket_path, F_OK), 0);
        struct listener listener;
        serve(&settings, &listener);
        listener_close(&listener);
}

Test(listener, refuses_a_live_socket_of_another_program) {
        struct settings settings = settings_for(scratch_path("s"));
        int other = bind_there(settings.socket_path, true);
        claim_refused(&settings, -EADDRINUSE, "another program serves on");
        cr_assert(can_connect(settings.socket_path));
        close(other);
}

Test(listener, refuses_what_is_not_a_socket) {
        const char *file = scratch_write("f", "precious");
        struct settings settings = settings_for(file);
        claim_refused(&settings, -EEXIST, "is not a socket");
        struct stat stat;
        cr_assert_eq(lstat(file, &stat), 0);
        cr_assert_eq(stat.st_size, 8);
        cr_assert_eq(symlink(file, scratch_path("link")), 0);
        settings = settings_for(scratch_path("link"));
        claim_refused(&settings, -EEXIST, "is not a socket");
}

Test(listener, refuses_a_missing_folder_unless_it_is_the_default) {
        struct settings settings = settings_for(scratch_path("none/s"));
        claim_refused(&settings, -ENOENT, "create the folder");
        settings.socket_path_default = true;
        struct listener listener;
        serve(&settings, &listener);
        struct stat stat;
        cr_assert_eq(lstat(scratch_path("none"), &stat), 0);
        cr_assert_eq(stat.st_mode & 07777, geteuid() == 0 ? 0755 : 0700);
        listener_close(&listener);
}

Test(listener, refuses_a_path_that_no_address_holds) {
        char path[200];
        memset(path, 'x', sizeof(path));
        path[0] = '/';
        path[108] = '\0';
        struct settings settings = settings_for(path);
        claim_refused(&settings, -ENAMETOOLONG, "107 is the limit");
}

Test(listener, close_leaves_a_successors_file_alone) {
        struct settings settings = settings_for(scratch_path("s"));
        struct listener listener;
        serve(&settings, &listener);
        unlink(settings.socket_path);
        int other = bind_there(settings.socket_path, true);
        listener_close(&listener);
        cr_assert(can_connect(settings.socket_path));
        close(other);
}

/* Exits with 0 if it served until hold was closed, 1 if it was refused as it should be. */
static void start_one(const struct settings *settings, int go, int hold) {
        char byte;
        struct listener listener;
        if (read(go, &byte, 1) != 0)
                _exit(2);
        int error = listener_claim(settings, &listener);
        if (error)
                _exit(error == -EADDRINUSE ? 1 : 3);
        if (listener_open(&listener, settings) || read(hold, &byte, 1) != 0)
                _exit(4);
        listener_close(&listener);
        _exit(0);
}

Test(listener, of_many_that_start_at_once_one_serves, .timeout = 60) {
        struct settings settings = settings_for(scratch_path("s"));
        log_set_level(LOG_CRIT);
        for (unsigned round = 0; round < 20; round++) {
                if (round % 2)
                        close(bind_there(settings.socket_path, false));
                int go[2], hold[2];
                cr_assert_eq(pipe(go) | pipe(hold), 0);
                for (unsigned i = 0; i < 6; i++) {
                        if (fork() == 0) {
                                close(go[1]);
                                close(hold[1]);
                                start_one(&settings, go[0], hold[0]);
                        }
                }
                close(go[1]);
                int status;
                for (unsigned i = 0; i < 5; i++) {
                        cr_assert_gt(waitpid(-1, &status, 0), 0);
                        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 1, "%d",
                                WEXITSTATUS(status));
                }
                close(hold[1]);
                cr_assert_gt(waitpid(-1, &status, 0), 0);
                cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%d", WEXITSTATUS(status));
                close(go[0]);
                close(hold[0]);
        }
}

/* Puts fd where the service manager would, in a child, and returns the child's exit status. */
static int inherit_in_child(int fd, int count, int (*body)(void)) {
        pid_t child = fork();
        if (child == 0) {
                dup2(fd, 3);
                char text[32];
                snprintf(text, sizeof(text), "%d", (int)getpid());
                setenv("LISTEN_PID", text, 1);
                snprintf(text, sizeof(text), "%d", count);
                setenv("LISTEN_FDS", text, 1);
                _exit(body());
        }
        int status;
        waitpid(child, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int inherit_and_close(void) {
        struct settings settings = settings_for("");
        struct listener listener;
        if (listener_claim(&settings, &listener) < 0 || listener_open(&listener, &settings) < 0)
                return 1;
        if (listener.fd != 3 || !can_connect(listener.path))
                return 2;
        if (!(fcntl(3, F_GETFD) & FD_CLOEXEC))
                return 3;
        listener_close(&listener);
        return 0;
}

static int inherit_refused(void) {
        struct settings settings = settings_for("");
        struct listener listener;
        captured_begin(2);
        int error = listener_claim(&settings, &listener);
        return error < 0 && is_one_line(captured_end()) ? 0 : 1;
}

Test(listener, inherits_and_leaves_the_file_to_its_owner) {
        const char *path = scratch_path("s");
        int fd = bind_there(path, true);
        cr_assert_eq(inherit_in_child(fd, 1, inherit_and_close), 0);
        cr_assert(can_connect(path));
        close(fd);
}

Test(listener, refuses_to_inherit_what_it_cannot_serve_on) {
        int fd = bind_there(scratch_path("s"), false);
        cr_expect_eq(inherit_in_child(fd, 1, inherit_refused), 0, "not listening");
        close(fd);
        fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        cr_expect_eq(inherit_in_child(fd, 1, inherit_refused), 0, "datagrams");
        close(fd);
        fd = bind_there(scratch_path("t"), true);
        cr_expect_eq(inherit_in_child(fd, 2, inherit_refused), 0, "two sockets");
        close(fd);
}

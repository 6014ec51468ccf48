#include "harness.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- Processes and time ---- */

uint64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

pid_t process_fork(void) {
        pid_t process = fork();
        cr_assert(process >= 0);
        if (process == 0)
                prctl(PR_SET_PDEATHSIG, SIGKILL);
        return process;
}

int process_wait(pid_t process) {
        int gone = (int)syscall(SYS_pidfd_open, process, 0);
        cr_assert(gone >= 0, "process %d: %s", (int)process, strerror(errno));
        struct pollfd wait = {.fd = gone, .events = POLLIN};
        int ended = poll(&wait, 1, 3 * PATIENCE_MS);
        close(gone);
        cr_assert_eq(ended, 1, "process %d does not end", (int)process);
        int status = 0;
        cr_assert_eq(waitpid(process, &status, 0), process);
        return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int process_kill(pid_t process) {
        kill(process, SIGKILL);
        return process_wait(process);
}

int byte_read(int fd) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        unsigned char byte;
        if (poll(&wait, 1, PATIENCE_MS) != 1 || read(fd, &byte, 1) != 1)
                return -1;
        return byte;
}

void byte_write(int fd, int byte) {
        unsigned char value = (unsigned char)byte;
        if (write(fd, &value, 1) != 1)
                _exit(125);
}

void process_environment(const struct scene *scene) {
        unsetenv("BUDDYD_SOCKET");
        unsetenv("XDG_RUNTIME_DIR");
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_PID");
        for (size_t each = 0; scene && each < 4 && scene->environment[each]; each++)
                putenv((char *)(uintptr_t)scene->environment[each]);
}

void process_become(const struct scene *scene) {
        if (scene && scene->uid && (setgid(scene->uid) != 0 || setuid(scene->uid) != 0))
                _exit(126);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* ---- Programs ---- */

const char *program_buddyd(void) {
        const char *path = getenv("E2E_BUDDYD");
        return path ? path : E2E_BUDDYD;
}

const char *program_buddyctl(void) {
        const char *path = getenv("E2E_BUDDYCTL");
        return path ? path : E2E_BUDDYCTL;
}

/* Appends what can be read; false at the end. */
static bool output_take(int fd, char **text, size_t *length) {
        char *larger = realloc(*text, *length + 65536 + 1);
        cr_assert_not_null(larger);
        *text = larger;
        ssize_t got = read(fd, larger + *length, 65536);
        if (got > 0)
                *length += (size_t)got;
        larger[*length] = 0;
        return got > 0;
}

static void output_collect(int out, int err, struct run *run) {
        size_t lengths[2] = {0, 0};
        char **texts[2] = {&run->out, &run->err};
        struct pollfd wait[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
        uint64_t deadline = now_ms() + 3 * PATIENCE_MS;
        for (int open_count = 2; open_count > 0;) {
                cr_assert(now_ms() < deadline, "a program does not end");
                if (poll(wait, 2, 1000) <= 0)
                        continue;
                for (int each = 0; each < 2; each++) {
                        if (wait[each].fd < 0 || !wait[each].revents)
                                continue;
                        if (output_take(wait[each].fd, texts[each], &lengths[each]))
                                continue;
                        wait[each].fd = -1;
                        open_count--;
                }
        }
        close(out);
        close(err);
}

const struct run *program_run(const struct scene *scene, const char *const *arguments) {
        static struct run runs[4];
        static unsigned turn;
        struct run *run = &runs[turn++ % 4];
        int out[2], err[2];
        cr_assert(pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0);
        pid_t process = fork();
        cr_assert(process >= 0);
        if (process == 0) {
                dup2(open("/dev/null", O_RDONLY), 0);
                dup2(out[1], 1);
                dup2(err[1], 2);
                close_range(3, ~0u, 0);
                process_environment(scene);
                process_become(scene);
                execv(arguments[0], (char *const *)(uintptr_t)arguments);
                _exit(127);
        }
        close(out[1]);
        close(err[1]);
        output_collect(out[0], err[0], run);
        run->status = process_wait(process);
        return run;
}

static const struct run *ctl_list(const struct scene *scene, va_list arguments) {
        const char *argv[ARGUMENTS_MAX] = {program_buddyctl()};
        size_t count = 1;
        if (!scene->bare) {
                argv[count++] = "--socket";
                argv[count++] = scene->socket;
                argv[count++] = "--pool";
                argv[count++] = scene->pool;
        }
        while (count + 1 < ARGUMENTS_MAX && (argv[count] = va_arg(arguments, const char *)))
                count++;
        return program_run(scene, argv);
}

const struct run *ctl(const struct scene *scene, ...) {
        va_list arguments;
        va_start(arguments, scene);
        const struct run *run = ctl_list(scene, arguments);
        va_end(arguments);
        return run;
}

const struct json *ctl_json(const struct scene *scene, ...) {
        va_list arguments;
        va_start(arguments, scene);
        const struct run *run = ctl_list(scene, arguments);
        va_end(arguments);
        cr_assert_eq(run->status, 0, "buddyctl: status %d: %s", run->status, run->err);
        const struct json *document = json_parse(run->out, NULL);
        cr_assert_not_null(document, "not one JSON document: %s", run->out);
        return document;
}

const char *ctl_refused(const struct scene *scene, int status, ...) {
        va_list arguments;
        va_start(arguments, status);
        const struct run *run = ctl_list(scene, arguments);
        va_end(arguments);
        cr_assert_eq(run->status, status, "buddyctl: status %d, expected %d: %s%s", run->status,
                status, run->out, run->err);
        cr_assert_str_empty(run->out, "a refused command printed: %s", run->out);
        expect_one_line(run->err, "a refusal of buddyctl");
        return run->err;
}

void expect_one_line(const char *text, const char *what) {
        size_t length = strlen(text);
        const char *end = strchr(text, '\n');
        cr_assert(length > 1, "%s says nothing", what);
        cr_assert(end == text + length - 1, "%s is not one line: \"%s\"", what, text);
}

bool has_digit(const char *text) {
        return strpbrk(text, "0123456789") != NULL;
}

/* bench from outside: what it says when the pool or the daemon is not up to it, and how it ends when it is told to. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(bench, .timeout = 90);

#define CLIENTS_OF_BENCH 3 /* and one more in the rows with a second process */

struct running {
        pid_t process; /* leads a process group of its own */
        int errors;    /* ends when its children have ended, too */
        char line[1024];
};

static void begin(const struct scene *scene, const char *seconds, struct running *out) {
        int errors[2];
        cr_assert_eq(pipe(errors), 0);
        *out = (struct running){.process = process_fork(), .errors = errors[0]};
        if (out->process == 0) {
                setpgid(0, 0);
                dup2(open("/dev/null", O_WRONLY), 1);
                dup2(errors[1], 2);
                close_range(3, ~0u, 0);
                execl(program_buddyctl(), "buddyctl", "--socket", scene->socket, "--pool",
                        scene->pool, "bench", "--seconds", seconds, (char *)NULL);
                _exit(127);
        }
        close(errors[1]);
}

/* Returns its status when it and its children have ended. */
static int await_end(struct running *running) {
        int status = process_wait(running->process);
        struct pollfd wait = {.fd = running->errors, .events = POLLIN};
        size_t length = 0;
        for (ssize_t got = 1; got > 0; length += (size_t)got) {
                cr_assert_eq(poll(&wait, 1, PATIENCE_MS), 1, "a child stays");
                got = read(running->errors, running->line + length,
                        sizeof(running->line) - 1 - length);
                cr_assert_geq(got, 0);
        }
        close(running->errors);
        expect_one_line(running->line, "bench");
        return status;
}

static void open_stage(struct scene *scene) {
        scene_open(scene);
        scene_start(scene, "--size", "64M", NULL);
}

Test(bench, measures) {
        struct scene scene;
        open_stage(&scene);
        const struct run *run = ctl(&scene, "bench", NULL);
        cr_assert_eq(run->status, 0, "%s", run->err);
        cr_assert(has_digit(run->out));
        ctl_json(&scene, "bench", "--json", NULL);
        struct buddyclient *client = client_new(&scene);
        expect_held(client, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(bench, a_draining_pool_is_said_to_drain) {
        struct scene scene;
        open_stage(&scene);
        cr_assert_eq(ctl(&scene, "drain", NULL)->status, 0);
        const char *line = ctl_refused(&scene, 1, "bench", NULL);
        cr_assert(strstr(line, "draining") && strstr(line, "drain --off"), "%s", line);
        cr_assert_not(strstr(line, "return some") || strstr(line, "no block"), "%s", line);
        scene_close(&scene);
}

/* Whichever row it is that finds no room: one by one, in flight, in a batch. */
Test(bench, a_full_pool_is_said_to_be_full) {
        static const char *const sizes[][2] = {{"4K", "no free block of 4 KiB"},
                {"64K", "no free block of 4 KiB"}, {"160K", "no 64 free blocks of 4 KiB"}};
        for (size_t each = 0; each < sizeof sizes / sizeof *sizes; each++) {
                struct scene scene;
                struct buddyclient_range range;
                scene_open(&scene);
                scene_start(&scene, "--size", sizes[each][0], NULL);
                struct buddyclient *client = client_new(&scene);
                if (each == 0)
                        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
                const char *line = ctl_refused(&scene, 1, "bench", NULL);
                cr_assert(strstr(line, sizes[each][1]), "%s", line);
                cr_assert(strstr(line, "; return some"), "%s", line);
                buddyclient_destroy(client);
                scene_close(&scene);
        }
}

/* With so many clients, and then the daemon hangs; its CPUs are its own again when bench has ended. */
static void interrupt(int64_t clients, int signal) {
        struct scene scene;
        struct running running;
        cpu_set_t before, after;
        open_stage(&scene);
        cr_assert_eq(sched_getaffinity(scene.daemon, sizeof(before), &before), 0);
        begin(&scene, "30", &running);
        scene_await_figure(&scene, "clients", clients);
        scene_freeze(&scene);
        uint64_t told = now_ms();
        cr_assert_eq(kill(-running.process, signal), 0);
        cr_assert_eq(await_end(&running), 1, "%s", running.line);
        /* Half of what it takes who waits for three requests first. */
        cr_assert_lt(now_ms() - told, 7500);
        cr_assert(strstr(running.line, "interrupted"), "%s", running.line);
        cr_assert_eq(sched_getaffinity(scene.daemon, sizeof(after), &after), 0);
        cr_assert(CPU_EQUAL(&before, &after));
        scene_thaw(&scene);
        scene_await_figure(&scene, "clients", 0);
        cr_assert_eq(scene_figure(&scene, "held_bytes"), 0);
        scene_close(&scene);
}

Test(bench, is_interrupted_also_while_the_daemon_hangs) {
        interrupt(CLIENTS_OF_BENCH, SIGINT);
}

Test(bench, is_interrupted_also_while_its_children_wait) {
        interrupt(CLIENTS_OF_BENCH + 1, SIGTERM);
}

Test(bench, a_hanging_daemon_is_unreachable) {
        struct scene scene;
        struct running running;
        open_stage(&scene);
        begin(&scene, "30", &running);
        scene_await_figure(&scene, "clients", CLIENTS_OF_BENCH + 1);
        scene_freeze(&scene);
        cr_assert_eq(await_end(&running), 3, "%s", running.line);
        cr_assert(strstr(running.line, "unreachable"), "%s", running.line);
        scene_thaw(&scene);
        scene_await_figure(&scene, "clients", 0);
        scene_close(&scene);
}

/* Why it failed stays the one thing that it says, whatever comes while it clears up. */
Test(bench, is_interrupted_silently_when_it_has_said_why) {
        struct scene scene;
        struct running running;
        open_stage(&scene);
        begin(&scene, "30", &running);
        scene_await_figure(&scene, "clients", CLIENTS_OF_BENCH);
        scene_freeze(&scene);
        struct pollfd said = {.fd = running.errors, .events = POLLIN};
        cr_assert_eq(poll(&said, 1, PATIENCE_MS), 1);
        kill(-running.process, SIGINT);
        cr_assert_eq(await_end(&running), 3, "%s", running.line);
        scene_thaw(&scene);
        scene_await_figure(&scene, "clients", 0);
        scene_close(&scene);
}

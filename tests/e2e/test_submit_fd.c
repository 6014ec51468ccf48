/* The descriptor of the event loop: one for ever, readable when there is something to dispatch, and quiet otherwise. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "outcome.h"

TestSuite(submit_fd, .timeout = 120);

#define SIZE "1M"

static void stage(struct scene *scene) {
        scene_open(scene);
        scene_start(scene, "--size", SIZE, NULL);
}

static void crash(struct scene *scene) {
        scene_kill(scene);
        scene_start(scene, "--size", SIZE, NULL);
}

/* Serves for so long, and says how often it was woken. */
static unsigned wakes_within(struct buddyclient *client, unsigned span_ms) {
        uint64_t end = now_ms() + span_ms, now;
        unsigned wakes = 0;
        while ((now = now_ms()) < end)
                if (client_readable(client, (int)(end - now))) {
                        int rc = buddyclient_dispatch(client);
                        cr_assert_geq(rc, 0, "dispatch: %d", rc);
                        wakes++;
                }
        return wakes;
}

static void expect_quiet(struct buddyclient *client, const char *when) {
        cr_assert_not(client_readable(client, 100), "readable with nothing to dispatch: %s", when);
        cr_assert_eq(buddyclient_dispatch(client), 0);
        cr_assert_not(client_readable(client, 20), "readable after that: %s", when);
}

Test(submit_fd, one_for_ever) {
        struct scene scene;
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        int fd = buddyclient_fd(client);
        cr_assert_geq(fd, 0);
        cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC, "inherited by programs that are executed");
        for (int round = 0; round < 20; round++) {
                struct outcome outcome = {0};
                cr_assert_eq(buddyclient_submit_find(client, "nobody", outcome_note, &outcome), 0);
                outcome_await(client, &outcome, -ENOENT);
                cr_assert_eq(buddyclient_fd(client), fd);
                crash(&scene);
                cr_assert_eq(buddyclient_fd(client), fd);
        }
        struct outcome last = {0};
        cr_assert_eq(buddyclient_submit_find(client, "nobody", outcome_note, &last), 0);
        outcome_await(client, &last, -ENOENT);
        buddyclient_destroy(client);
        cr_assert_eq(fcntl(fd, F_GETFD), -1, "not closed by destroy");
        scene_close(&scene);
}

Test(submit_fd, descriptors_do_not_pile_up) {
        struct scene scene, self = {.daemon = getpid()};
        stage(&scene);
        size_t before = scene_daemon_fds(&self);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        cr_assert_geq(buddyclient_fd(client), 0);
        struct outcome first = {0};
        cr_assert_eq(buddyclient_submit_find(client, "nobody", outcome_note, &first), 0);
        outcome_await(client, &first, -ENOENT);
        size_t open = scene_daemon_fds(&self);
        for (int round = 0; round < 30; round++) {
                struct outcome outcome = {0};
                crash(&scene);
                cr_assert_eq(buddyclient_submit_find(client, "nobody", outcome_note, &outcome), 0);
                outcome_await(client, &outcome, -ENOENT);
        }
        cr_assert_eq(scene_daemon_fds(&self), open);
        buddyclient_destroy(client);
        cr_assert_eq(scene_daemon_fds(&self), before);
        scene_close(&scene);
}

Test(submit_fd, quiet_with_nothing_to_do) {
        struct scene scene;
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        struct outcome outcome = {0};
        expect_quiet(client, "just connected");
        cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &outcome), 0);
        outcome_await(client, &outcome, 0);
        expect_quiet(client, "served");
        scene_freeze(&scene);
        expect_quiet(client, "the daemon stands");
        scene_thaw(&scene);
        scene_kill(&scene);
        client_settle(client, 150); /* that the connection ended may be told */
        expect_quiet(client, "the daemon is away");
        cr_assert_leq(wakes_within(client, 500), 1);
        scene_start(&scene, "--size", SIZE, NULL);
        client_settle(client, 150);
        expect_quiet(client, "the daemon is back");
        cr_assert_eq(buddyclient_release(client, &outcome.ranges[0]), 0);
        expect_quiet(client, "after a call");
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* A wait that has no end needs no look. */
Test(submit_fd, quiet_while_waiting) {
        struct scene scene;
        struct buddyclient_range all;
        struct outcome waiter = {0};
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 20000), *owner = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(owner, MIB, &all), 0);
        cr_assert_eq(buddyclient_submit_alloc_wait(client, 1, -1, outcome_note, &waiter), 0);
        client_settle(client, 100);
        await_waiters(owner, 1);
        cr_assert_leq(wakes_within(client, 500), 2);
        cr_assert_eq(buddyclient_release(owner, &all), 0);
        outcome_await(client, &waiter, 0);
        buddyclient_destroy(client);
        buddyclient_destroy(owner);
        scene_close(&scene);
}

/* Without a dispatch of its own nothing would be sent. */
Test(submit_fd, tells_of_what_is_submitted) {
        struct scene scene;
        stage(&scene);
        for (int cached = 0; cached < 2; cached++) {
                struct buddyclient *client = client_with(&scene, cached ? 16384 : 0, 20000);
                for (int round = 0; round < 20; round++) {
                        struct outcome take = {0}, back = {0};
                        cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &take), 0);
                        outcome_await(client, &take, 0);
                        cr_assert_eq(buddyclient_submit_release(
                                             client, &take.ranges[0], outcome_note, &back),
                                0);
                        outcome_await(client, &back, 0);
                        cr_assert_not(client_readable(client, 0));
                }
                buddyclient_destroy(client);
        }
        scene_close(&scene);
}

/* Also the descriptor that was asked for after the submission. */
Test(submit_fd, asked_for_late) {
        struct scene scene;
        struct outcome outcome = {0}, done = {0};
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &outcome), 0);
        outcome_await(client, &outcome, 0);
        buddyclient_destroy(client);
        /* And a program may dispatch without ever asking. */
        client = client_with(&scene, 0, 20000);
        cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &done), 0);
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (done.runs == 0) {
                cr_assert_geq(buddyclient_dispatch(client), 0);
                cr_assert_lt(now_ms(), deadline);
        }
        cr_assert_eq(done.result, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* ---- While the daemon is away ---- */

Test(submit_fd, no_busy_loop_while_the_daemon_is_away) {
        struct scene scene;
        static struct outcome outcomes[100];
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        for (int each = 0; each < 50; each++)
                cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &outcomes[each]), 0);
        scene_kill(&scene);
        for (int each = 50; each < 100; each++)
                cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &outcomes[each]), 0);
        unsigned wakes = wakes_within(client, 1000);
        cr_assert_leq(wakes, 60, "woken %u times in a second", wakes);
        scene_start(&scene, "--size", SIZE, NULL);
        uint64_t back = now_ms();
        for (int each = 0; each < 100; each++)
                outcome_await(client, &outcomes[each], 0);
        cr_assert_leq(now_ms() - back, 2000, "its return was not noticed");
        expect_held(client, 100 * SCENE_PAGE);
        expect_quiet(client, "all is told");
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(submit_fd, no_busy_loop_while_the_daemon_stands) {
        struct scene scene;
        static struct outcome outcomes[100];
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        scene_freeze(&scene);
        for (int each = 0; each < 100; each++)
                cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &outcomes[each]), 0);
        unsigned wakes = wakes_within(client, 1000);
        cr_assert_leq(wakes, 60, "woken %u times in a second", wakes);
        scene_thaw(&scene);
        for (int each = 0; each < 100; each++)
                outcome_await(client, &outcomes[each], 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* ---- Beside threads that make calls ---- */

struct caller {
        pthread_t thread;
        struct buddyclient *client;
        atomic_bool stop;
        atomic_uint calls;
        int error;
};

static void *call_on(void *argument) {
        struct caller *caller = argument;
        uint32_t peer;
        while (!atomic_load(&caller->stop)) {
                int rc = buddyclient_find(caller->client, "nobody", &peer);
                if (rc != -ENOENT)
                        caller->error = rc;
                atomic_fetch_add(&caller->calls, 1);
        }
        return NULL;
}

static void caller_start(struct caller *caller, struct buddyclient *client) {
        *caller = (struct caller){.client = client};
        cr_assert_eq(pthread_create(&caller->thread, NULL, call_on, caller), 0);
}

static void caller_end(struct caller *caller) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (atomic_load(&caller->calls) <= 100)
                cr_assert_lt(now_ms(), deadline, "calls beside do not go on");
        atomic_store(&caller->stop, true);
        pthread_join(caller->thread, NULL);
        cr_assert_eq(caller->error, 0, "a call beside: %d", caller->error);
}

Test(submit_fd, answers_to_other_threads_wake_nobody) {
        struct scene scene;
        struct caller caller;
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        cr_assert_geq(buddyclient_fd(client), 0);
        caller_start(&caller, client);
        unsigned wakes = wakes_within(client, 1000);
        cr_assert_gt(atomic_load(&caller.calls), 100);
        caller_end(&caller);
        cr_assert_leq(wakes, 60, "woken %u times beside %u calls", wakes, caller.calls);
        expect_quiet(client, "the thread has ended");
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(submit_fd, answers_to_other_threads_wake_no_waiter) {
        struct scene scene;
        struct caller caller;
        struct buddyclient_range all;
        struct outcome waiter = {0};
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 20000), *owner = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(owner, MIB, &all), 0);
        cr_assert_eq(buddyclient_submit_alloc_wait(client, 1, -1, outcome_note, &waiter), 0);
        client_settle(client, 50);
        caller_start(&caller, client);
        unsigned wakes = wakes_within(client, 1000);
        cr_assert_gt(atomic_load(&caller.calls), 100);
        cr_assert_eq(buddyclient_release(owner, &all), 0);
        outcome_await(client, &waiter, 0);
        caller_end(&caller);
        cr_assert_leq(wakes, 60, "woken %u times beside %u calls", wakes, caller.calls);
        buddyclient_destroy(client);
        buddyclient_destroy(owner);
        scene_close(&scene);
}

/* Whoever reads the answer, the event loop is told of it. */
Test(submit_fd, answers_that_another_thread_reads_are_told) {
        static struct outcome outcomes[2000];
        struct scene scene;
        struct caller caller;
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        caller_start(&caller, client);
        for (int each = 0; each < 2000; each++) {
                cr_assert_eq(
                        buddyclient_submit_find(client, "nobody", outcome_note, &outcomes[each]),
                        0);
                outcome_await(client, &outcomes[each], -ENOENT);
        }
        caller_end(&caller);
        expect_quiet(client, "all is told");
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* ---- Submitted by another thread than watches ---- */

struct sender {
        pthread_t thread;
        struct buddyclient *client;
        struct outcome outcomes[500];
        int go[2]; /* a pipe: one byte for each submission */
        int error;
};

static void *submit_when_told(void *argument) {
        struct sender *sender = argument;
        for (int each = 0; each < 500 && byte_read(sender->go[0]) == 'g'; each++)
                sender->error |= buddyclient_submit_find(
                        sender->client, "nobody", outcome_note, &sender->outcomes[each]);
        return NULL;
}

Test(submit_fd, tells_of_what_another_thread_submits) {
        static struct sender sender;
        struct scene scene;
        stage(&scene);
        sender.client = client_with(&scene, 0, 20000);
        cr_assert_geq(buddyclient_fd(sender.client), 0);
        cr_assert_eq(pipe(sender.go), 0);
        cr_assert_eq(pthread_create(&sender.thread, NULL, submit_when_told, &sender), 0);
        for (int each = 0; each < 500; each++) {
                byte_write(sender.go[1], 'g');
                outcome_await(sender.client, &sender.outcomes[each], -ENOENT);
        }
        pthread_join(sender.thread, NULL);
        cr_assert_eq(sender.error, 0);
        buddyclient_destroy(sender.client);
        scene_close(&scene);
}

/* ---- What a turn must go on looking at ---- */

/* A call that waits reads for all while it waits, and not any more then. */
Test(submit_fd, an_answer_behind_another_call_wakes) {
        struct scene scene;
        struct outcome waiting = {0};
        struct buddyclient_range all;
        uint32_t peer;
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 20000), *holder = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(holder, MIB, &all), 0);
        cr_assert_eq(buddyclient_submit_alloc_wait(client, 1, -1, outcome_note, &waiting), 0);
        cr_assert_eq(client_settle(client, 50), 0);
        await_waiters(holder, 1);
        cr_assert_eq(buddyclient_find(client, "nobody", &peer), -ENOENT);
        cr_assert_eq(client_settle(client, 50), 0);
        cr_assert_eq(buddyclient_find(client, "nobody", &peer), -ENOENT);
        cr_assert_eq(buddyclient_release(holder, &all), 0);
        outcome_await(client, &waiting, 0);
        buddyclient_destroy(client);
        buddyclient_destroy(holder);
        scene_close(&scene);
}

/* Requests that wait for memory do not stand in the way of the one that returns it, however many there are. */
Test(submit_fd, a_thousand_waits_do_not_hold_up_a_release) {
        enum { WAITS = 1500 };
        static struct outcome waits[WAITS];
        struct scene scene;
        struct outcome released = {0};
        struct buddyclient_range all;
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        cr_assert_eq(buddyclient_alloc(client, MIB, &all), 0);
        for (int each = 0; each < WAITS; each++)
                cr_assert_eq(
                        buddyclient_submit_alloc_wait(client, 1, -1, outcome_note, &waits[each]),
                        0);
        cr_assert_eq(buddyclient_submit_release(client, &all, outcome_note, &released), 0);
        outcome_await(client, &released, 0);
        for (int each = 0; each < 256; each++)
                outcome_await(client, &waits[each], 0);
        cr_assert_eq(waits[256].runs, 0);
        buddyclient_destroy(client);
        cr_assert_eq(waits[WAITS - 1].runs, 1);
        scene_close(&scene);
}

/* A forked child has the lost socket as well: closing ours does not take it out of the set. */
Test(submit_fd, a_socket_that_a_child_still_has_wakes_nobody) {
        struct scene scene;
        struct outcome outcome = {0};
        int go[2];
        stage(&scene);
        cr_assert_eq(pipe(go), 0);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        cr_assert_geq(buddyclient_fd(client), 0);
        cr_assert_eq(buddyclient_submit_alloc_wait(client, 1, -1, outcome_note, &outcome), 0);
        outcome_await(client, &outcome, 0);
        struct outcome pending = {0};
        cr_assert_eq(buddyclient_submit_alloc_wait(client, MIB, -1, outcome_note, &pending), 0);
        cr_assert_eq(client_settle(client, 50), 0);
        pid_t child = process_fork();
        if (child == 0) {
                close(go[1]);
                _exit(byte_read(go[0]) < 0 ? 1 : 0);
        }
        crash(&scene);
        unsigned wakes = wakes_within(client, 500);
        cr_assert_leq(wakes, 60, "woken %u times in half a second", wakes);
        byte_write(go[1], 'E');
        process_wait(child);
        cr_assert_eq(buddyclient_release(client, &outcome.ranges[0]), 0);
        outcome_await(client, &pending, 0);
        buddyclient_destroy(client);
        close(go[0]);
        close(go[1]);
        scene_close(&scene);
}

#include "daemon/watchdog.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

TestSuite(watchdog, .timeout = 60);

#define LOOPS 3

/* A loop of its own thread that answers, or hangs when it is told to. */
struct watched {
        struct fixture *fixture;
        pthread_t thread;
        uv_loop_t loop;
        uv_async_t asked, hangs, ends;
        sem_t hanging, go_on;
};

struct fixture {
        uv_loop_t loop;
        struct watchdog watchdog;
        struct watched watched[LOOPS];
        unsigned signs;  /* of life so far */
        unsigned wanted; /* the main loop stops at so many */
        unsigned turns;  /* of the main loop's own timer, which runs in step with the watchdog's */
        uv_timer_t clock;
};

static void on_asked(uv_async_t *asked) {
        struct watched *watched = asked->data;
        watchdog_answer(&watched->fixture->watchdog);
}

static void on_hangs(uv_async_t *hangs) {
        struct watched *watched = hangs->data;
        sem_post(&watched->hanging);
        sem_wait(&watched->go_on);
}

static void on_ends(uv_async_t *ends) {
        struct watched *watched = ends->data;
        uv_close((uv_handle_t *)&watched->asked, NULL);
        uv_close((uv_handle_t *)&watched->hangs, NULL);
        uv_close((uv_handle_t *)&watched->ends, NULL);
}

static void *watched_main(void *argument) {
        struct watched *watched = argument;
        uv_run(&watched->loop, UV_RUN_DEFAULT);
        return NULL;
}

static void ask(void *context) {
        struct fixture *fixture = context;
        for (size_t i = 0; i < LOOPS; i++)
                uv_async_send(&fixture->watched[i].asked);
}

static void alive(void *context) {
        struct fixture *fixture = context;
        if (++fixture->signs == fixture->wanted)
                uv_stop(&fixture->loop);
}

static void fixture_open(struct fixture *fixture) {
        uv_loop_init(&fixture->loop);
        for (size_t i = 0; i < LOOPS; i++) {
                struct watched *watched = &fixture->watched[i];
                watched->fixture = fixture;
                uv_loop_init(&watched->loop);
                uv_async_init(&watched->loop, &watched->asked, on_asked);
                uv_async_init(&watched->loop, &watched->hangs, on_hangs);
                uv_async_init(&watched->loop, &watched->ends, on_ends);
                watched->asked.data = watched->hangs.data = watched->ends.data = watched;
                sem_init(&watched->hanging, 0, 0);
                sem_init(&watched->go_on, 0, 0);
                pthread_create(&watched->thread, NULL, watched_main, watched);
        }
        fixture->watchdog =
                (struct watchdog){.loops = LOOPS, .ask = ask, .alive = alive, .context = fixture};
        cr_assert_eq(watchdog_start(&fixture->watchdog, &fixture->loop, 10), 0);
}

static void fixture_await(struct fixture *fixture, unsigned signs) {
        fixture->wanted = fixture->signs + signs;
        uv_run(&fixture->loop, UV_RUN_DEFAULT);
        cr_assert_eq(fixture->signs, fixture->wanted);
}

static void fixture_close(struct fixture *fixture) {
        for (size_t i = 0; i < LOOPS; i++) {
                struct watched *watched = &fixture->watched[i];
                uv_async_send(&watched->ends);
                pthread_join(watched->thread, NULL);
                cr_assert_eq(uv_loop_close(&watched->loop), 0);
        }
        watchdog_stop(&fixture->watchdog);
        watchdog_stop(&fixture->watchdog);
        uv_run(&fixture->loop, UV_RUN_DEFAULT);
        cr_assert_eq(uv_loop_close(&fixture->loop), 0);
}

static void on_clock(uv_timer_t *clock) {
        struct fixture *fixture = clock->data;
        if (++fixture->turns == 20)
                uv_stop(&fixture->loop);
}

/* Twenty of the watchdog's turns. */
static void fixture_pass_time(struct fixture *fixture) {
        fixture->turns = fixture->wanted = 0;
        uv_timer_init(&fixture->loop, &fixture->clock);
        fixture->clock.data = fixture;
        uv_timer_start(&fixture->clock, on_clock, 5, 5);
        uv_run(&fixture->loop, UV_RUN_DEFAULT);
        uv_close((uv_handle_t *)&fixture->clock, NULL);
}

Test(watchdog, is_fed_while_all_loops_go_round) {
        struct fixture fixture = {0};
        fixture_open(&fixture);
        fixture_await(&fixture, 20);
        fixture_close(&fixture);
}

Test(watchdog, is_not_fed_while_one_hangs) {
        for (size_t each = 0; each < LOOPS; each++) {
                struct fixture fixture = {0};
                fixture_open(&fixture);
                fixture_await(&fixture, 2);
                struct watched *hung = &fixture.watched[each];
                uv_async_send(&hung->hangs);
                sem_wait(&hung->hanging);
                unsigned before = fixture.signs;
                fixture_pass_time(&fixture);
                cr_assert_leq(fixture.signs, before + 1, "%u signs of life of a hung loop",
                        fixture.signs - before);
                sem_post(&hung->go_on);
                fixture_await(&fixture, 5);
                fixture_close(&fixture);
        }
}

Test(watchdog, runs_only_for_the_process_that_is_meant) {
        char pid[16];
        unsetenv("WATCHDOG_USEC");
        unsetenv("WATCHDOG_PID");
        cr_assert_eq(watchdog_interval_ms(), 0);
        setenv("WATCHDOG_USEC", "30000000", 1);
        cr_assert_eq(watchdog_interval_ms(), 30000);
        setenv("WATCHDOG_USEC", "1", 1);
        cr_assert_eq(watchdog_interval_ms(), 1);
        snprintf(pid, sizeof(pid), "%d", (int)getppid());
        setenv("WATCHDOG_PID", pid, 1);
        cr_assert_eq(watchdog_interval_ms(), 0);
        snprintf(pid, sizeof(pid), "%d", (int)getpid());
        setenv("WATCHDOG_PID", pid, 1);
        cr_assert_eq(watchdog_interval_ms(), 1);
}

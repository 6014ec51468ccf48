/* Waiting for memory: who is served when, and what those leave behind who are not. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(waiters, .timeout = 60);

/* A thread that waits for one range and writes its letter to the pipe when it has it. */
struct waiter {
        pthread_t thread;
        struct buddyclient *client;
        uint64_t length;
        int timeout_ms, fd, letter, result;
        struct buddyclient_range range;
};

static void *wait_for_range(void *argument) {
        struct waiter *waiter = argument;
        waiter->result = buddyclient_alloc_wait(
                waiter->client, waiter->length, waiter->timeout_ms, &waiter->range);
        byte_write(waiter->fd, waiter->letter);
        return NULL;
}

static void waiter_start(struct waiter *waiter) {
        cr_assert_eq(pthread_create(&waiter->thread, NULL, wait_for_range, waiter), 0);
}

static int waiter_end(struct waiter *waiter) {
        pthread_join(waiter->thread, NULL);
        return waiter->result;
}

static void fill(struct buddyclient *client, struct buddyclient_range *ranges, size_t count) {
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, count, ranges), 0);
}

static void pipe_open(int ends[2]) {
        cr_assert(pipe(ends) == 0);
}

Test(waiters, memory_that_is_free_needs_no_wait) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_wait(client, 1, 0, &range), 0);
        cr_assert_eq(buddyclient_alloc_wait(client, 1, 1000, &range), 0);
        cr_assert_eq(buddyclient_alloc_wait(client, 1, -1, &range), 0);
        cr_assert_eq(range.length, SCENE_PAGE);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(waiters, a_wait_ends_in_time_and_leaves_nothing) {
        struct scene scene;
        struct buddyclient_range all, range = {1, 2, 3};
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *client = client_new(&scene), *other = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 65536, &all), 0);
        uint64_t begin = now_ms();
        cr_assert_eq(buddyclient_alloc_wait(other, SCENE_PAGE, 300, &range), -ETIMEDOUT);
        uint64_t took = now_ms() - begin;
        cr_assert(took >= 295 && took < 1500, "300 ms took %lu", took);
        cr_assert(range.offset == 1 && range.length == 2 && range.generation == 3);
        cr_assert_str_not_empty(buddyclient_detail(other));
        cr_assert_eq(stats_of(client).waiters, 0);
        int result = buddyclient_alloc_wait(other, SCENE_PAGE, 0, &range);
        cr_assert(result == -ETIMEDOUT || result == -ENOMEM, "%d", result);
        cr_assert_eq(stats_of(client).waiters, 0);

        cr_assert_eq(buddyclient_release(client, &all), 0);
        expect_held(client, 0);
        cr_assert_eq(buddyclient_alloc_wait(other, 65536, 1000, &range), 0,
                "memory went to a waiter that had left");
        buddyclient_destroy(client);
        buddyclient_destroy(other);
        scene_close(&scene);
}

/* The timeout of a request is not the patience of a waiter. */
Test(waiters, a_wait_outlasts_the_request_timeout) {
        struct scene scene;
        struct buddyclient_range all, range;
        struct buddyclient *client = NULL;
        int ends[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *owner = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(owner, 65536, &all), 0);
        cr_assert_eq(buddyclient_new(&client), 0);
        buddyclient_set_socket(client, scene.socket);
        buddyclient_set_pool(client, scene.pool);
        buddyclient_set_timeout_ms(client, IMPATIENT_MS);
        cr_assert_eq(buddyclient_connect(client), 0);
        uint64_t begin = now_ms();
        cr_assert_eq(buddyclient_alloc_wait(client, 1, IMPATIENT_MS + 350, &range), -ETIMEDOUT);
        cr_assert_geq(now_ms() - begin, IMPATIENT_MS + 345);
        pipe_open(ends);
        struct waiter waiter = {
                .client = client, .length = 1, .timeout_ms = -1, .fd = ends[1], .letter = 'w'};
        waiter_start(&waiter);
        await_waiters(owner, 1);
        cr_assert_eq(buddyclient_alloc_wait(owner, 1, IMPATIENT_MS + 250, &range), -ETIMEDOUT);
        cr_assert_eq(stats_of(owner).waiters, 1, "the wait without end has ended");
        cr_assert_eq(buddyclient_release(owner, &all), 0);
        cr_assert_eq(waiter_end(&waiter), 0);
        buddyclient_destroy(client);
        buddyclient_destroy(owner);
        scene_close(&scene);
}

Test(waiters, first_come_first_served) {
        enum { COUNT = 8 };
        struct scene scene;
        struct buddyclient_range pages[16];
        struct waiter waiters[COUNT];
        int ends[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *owner = client_new(&scene);
        fill(owner, pages, 16);
        pipe_open(ends);
        for (int each = 0; each < COUNT; each++) {
                waiters[each] = (struct waiter){.client = client_new(&scene),
                        .length = 1,
                        .timeout_ms = each % 2 ? -1 : 30000,
                        .fd = ends[1],
                        .letter = 'a' + each};
                waiter_start(&waiters[each]);
                await_waiters(owner, (uint64_t)each + 1);
        }
        for (int each = 0; each < COUNT; each++) {
                cr_assert_eq(buddyclient_release(owner, &pages[each]), 0);
                int letter = byte_read(ends[0]);
                cr_assert_eq(letter, 'a' + each, "%c was served as number %d", letter, each);
                cr_assert_eq(waiter_end(&waiters[each]), 0);
                cr_assert_eq(stats_of(owner).waiters, (uint64_t)(COUNT - 1 - each));
        }
        expect_held(owner, 65536);
        for (int each = 0; each < COUNT; each++)
                buddyclient_destroy(waiters[each].client);
        buddyclient_destroy(owner);
        scene_close(&scene);
}

/* Many waiters on one connection are as many waiters. */
Test(waiters, threads_of_one_client_wait_in_order) {
        enum { COUNT = 6 };
        struct scene scene;
        struct buddyclient_range pages[16];
        struct waiter waiters[COUNT];
        int ends[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *owner = client_new(&scene), *shared = client_new(&scene);
        fill(owner, pages, 16);
        pipe_open(ends);
        for (int each = 0; each < COUNT; each++) {
                waiters[each] = (struct waiter){.client = shared,
                        .length = 1,
                        .timeout_ms = -1,
                        .fd = ends[1],
                        .letter = 'a' + each};
                waiter_start(&waiters[each]);
                await_waiters(owner, (uint64_t)each + 1);
        }
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        cr_assert_eq(buddyclient_stats(shared, &stats), 0, "a waiting client answers nothing else");
        for (int each = 0; each < COUNT; each++) {
                cr_assert_eq(buddyclient_release(owner, &pages[each]), 0);
                cr_assert_eq(byte_read(ends[0]), 'a' + each);
                cr_assert_eq(waiter_end(&waiters[each]), 0);
        }
        buddyclient_destroy(shared);
        buddyclient_destroy(owner);
        scene_close(&scene);
}

Test(waiters, one_release_serves_all_whom_it_suffices) {
        enum { COUNT = 10 };
        struct scene scene;
        struct buddyclient_range all;
        struct waiter waiters[COUNT];
        int ends[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *owner = client_new(&scene), *shared = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(owner, 65536, &all), 0);
        pipe_open(ends);
        for (int each = 0; each < COUNT; each++) {
                waiters[each] = (struct waiter){.client = shared,
                        .length = 1,
                        .timeout_ms = -1,
                        .fd = ends[1],
                        .letter = 'x'};
                waiter_start(&waiters[each]);
        }
        await_waiters(owner, COUNT);
        cr_assert_eq(buddyclient_release(owner, &all), 0);
        for (int each = 0; each < COUNT; each++)
                cr_assert_eq(waiter_end(&waiters[each]), 0);
        expect_held(owner, COUNT * SCENE_PAGE);
        buddyclient_destroy(shared);
        buddyclient_destroy(owner);
        scene_close(&scene);
}

/* Every way in which memory comes free wakes a waiter: here a client's death and its goodbye. */
Test(waiters, are_served_by_a_death_and_by_a_goodbye) {
        struct scene scene;
        struct buddyclient_range range;
        int ends[2], ready[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *client = client_new(&scene), *observer = client_new(&scene);
        pipe_open(ends);
        for (int round = 0; round < 6; round++) {
                pipe_open(ready);
                pid_t process = process_fork();
                if (process == 0) {
                        struct buddyclient *own = client_try(&scene);
                        if (!own || buddyclient_alloc(own, 65536, &range) != 0)
                                _exit(1);
                        byte_write(ready[1], 1);
                        struct buddyclient_stats stats = {.struct_size = sizeof stats};
                        while (buddyclient_stats(own, &stats) == 0 && stats.waiters == 0)
                                ;
                        if (round % 2)
                                raise(SIGKILL);
                        buddyclient_destroy(own);
                        _exit(0);
                }
                cr_assert_eq(byte_read(ready[0]), 1);
                struct waiter waiter = {.client = client,
                        .length = 65536,
                        .timeout_ms = 20000,
                        .fd = ends[1],
                        .letter = 'w'};
                waiter_start(&waiter);
                cr_assert_eq(waiter_end(&waiter), 0);
                process_wait(process);
                cr_assert_eq(buddyclient_release(client, &waiter.range), 0);
                close(ready[0]);
                close(ready[1]);
        }
        expect_held(observer, 0);
        buddyclient_destroy(client);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

Test(waiters, one_that_dies_is_skipped) {
        struct scene scene;
        struct buddyclient_range all;
        int ends[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *owner = client_new(&scene), *patient = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(owner, 65536, &all), 0);
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient *own = client_try(&scene);
                struct buddyclient_range range;
                _exit(!own || buddyclient_alloc_wait(own, 65536, -1, &range) == 0);
        }
        await_waiters(owner, 1);
        pipe_open(ends);
        struct waiter waiter = {.client = patient,
                .length = 65536,
                .timeout_ms = 20000,
                .fd = ends[1],
                .letter = 'p'};
        waiter_start(&waiter);
        await_waiters(owner, 2);
        process_kill(process);
        await_waiters(owner, 1);
        cr_assert_eq(buddyclient_release(owner, &all), 0);
        cr_assert_eq(waiter_end(&waiter), 0);
        expect_held(owner, 65536);
        buddyclient_destroy(owner);
        buddyclient_destroy(patient);
        scene_close(&scene);
}

/* It dies with the memory as good as in its hands. */
Test(waiters, one_that_dies_as_it_is_served_leaks_nothing) {
        struct scene scene;
        struct buddyclient_range all, again;
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *owner = client_new(&scene);
        for (int round = 0; round < 20; round++) {
                cr_assert_eq(buddyclient_alloc(owner, 65536, &all), 0);
                pid_t process = process_fork();
                if (process == 0) {
                        struct buddyclient *own = client_try(&scene);
                        _exit(!own || buddyclient_alloc_wait(own, 65536, -1, &again) != 0);
                }
                await_waiters(owner, 1);
                kill(process, SIGKILL);
                cr_assert_eq(buddyclient_release(owner, &all), 0);
                process_wait(process);
                await_held(owner, 0);
        }
        buddyclient_destroy(owner);
        scene_close(&scene);
}

/* A huge wait does not make the small and impatient wait. */
Test(waiters, alloc_takes_what_is_free_now) {
        struct scene scene;
        struct buddyclient_range half, range;
        int ends[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *owner = client_new(&scene), *greedy = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(owner, 32768, &half), 0);
        pipe_open(ends);
        struct waiter waiter = {
                .client = greedy, .length = 65536, .timeout_ms = -1, .fd = ends[1], .letter = 'g'};
        waiter_start(&waiter);
        await_waiters(owner, 1);
        cr_assert_eq(buddyclient_alloc(owner, SCENE_PAGE, &range), 0);
        cr_assert_eq(buddyclient_release(owner, &range), 0);
        cr_assert_eq(buddyclient_alloc_wait(owner, SCENE_PAGE, 0, &range), 0);
        cr_assert_eq(buddyclient_release(owner, &range), 0);
        cr_assert_eq(stats_of(owner).waiters, 1);
        cr_assert_eq(buddyclient_release(owner, &half), 0);
        cr_assert_eq(waiter_end(&waiter), 0);
        buddyclient_destroy(owner);
        buddyclient_destroy(greedy);
        scene_close(&scene);
}

/* Within a uid the first waiter is first, also when a later one could be served before it. */
Test(waiters, nobody_overtakes_within_a_uid) {
        struct scene scene;
        struct buddyclient_range half, range;
        int ends[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *owner = client_new(&scene), *greedy = client_new(&scene),
                           *small = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(owner, 32768, &half), 0);
        pipe_open(ends);
        struct waiter first = {
                .client = greedy, .length = 65536, .timeout_ms = -1, .fd = ends[1], .letter = 'g'};
        waiter_start(&first);
        await_waiters(owner, 1);
        cr_assert_eq(buddyclient_alloc_wait(small, SCENE_PAGE, 300, &range), -ETIMEDOUT);
        struct waiter second = {.client = small,
                .length = SCENE_PAGE,
                .timeout_ms = -1,
                .fd = ends[1],
                .letter = 's'};
        waiter_start(&second);
        await_waiters(owner, 2);
        cr_assert_eq(buddyclient_release(owner, &half), 0);
        cr_assert_eq(byte_read(ends[0]), 'g');
        cr_assert_eq(waiter_end(&first), 0);
        cr_assert_eq(buddyclient_release(greedy, &first.range), 0);
        cr_assert_eq(waiter_end(&second), 0);
        expect_held(owner, SCENE_PAGE);
        buddyclient_destroy(owner);
        buddyclient_destroy(greedy);
        buddyclient_destroy(small);
        scene_close(&scene);
}

/* The one at the head gives up: the next is served with what was free all along, without anybody's release. */
Test(waiters, leaving_the_head_of_the_queue_serves_the_next) {
        struct scene scene;
        struct buddyclient_range half;
        int ends[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *owner = client_new(&scene), *greedy = client_new(&scene),
                           *small = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(owner, 32768, &half), 0);
        pipe_open(ends);
        for (int round = 0; round < 2; round++) {
                pid_t process = 0;
                struct waiter first = {.client = greedy,
                        .length = 65536,
                        .timeout_ms = 2500,
                        .fd = ends[1],
                        .letter = 'g'};
                if (round == 0) {
                        waiter_start(&first);
                } else if ((process = process_fork()) == 0) {
                        struct buddyclient *own = client_try(&scene);
                        _exit(!own || buddyclient_alloc_wait(own, 65536, -1, &half) != 0);
                }
                await_waiters(owner, 1);
                struct waiter second = {.client = small,
                        .length = SCENE_PAGE,
                        .timeout_ms = 20000,
                        .fd = ends[1],
                        .letter = 's'};
                waiter_start(&second);
                await_waiters(owner, 2);
                if (round == 0)
                        cr_assert_eq(waiter_end(&first), -ETIMEDOUT);
                else
                        process_kill(process);
                uint64_t begin = now_ms();
                cr_assert_eq(waiter_end(&second), 0);
                cr_assert_lt(now_ms() - begin, 5000);
                cr_assert_eq(buddyclient_release(small, &second.range), 0);
        }
        buddyclient_destroy(owner);
        buddyclient_destroy(greedy);
        buddyclient_destroy(small);
        scene_close(&scene);
}

/* Who ran out of time in line is told of the line, not of memory that is free. */
Test(waiters, a_timeout_in_line_says_how_many_were_before) {
        struct scene scene;
        struct buddyclient_range half, range;
        int ends[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *owner = client_new(&scene), *greedy = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(owner, 32768, &half), 0);
        pipe_open(ends);
        struct waiter waiters[2];
        for (int each = 0; each < 2; each++) {
                waiters[each] = (struct waiter){.client = greedy,
                        .length = 65536,
                        .timeout_ms = -1,
                        .fd = ends[1],
                        .letter = 'g'};
                waiter_start(&waiters[each]);
                await_waiters(owner, (uint64_t)each + 1);
                cr_assert_eq(buddyclient_alloc_wait(owner, SCENE_PAGE, 20, &range), -ETIMEDOUT);
                char text[120];
                snprintf(text, sizeof text,
                        each ? "2 earlier waits of uid %u are still in line: 32 KiB free"
                             : "1 earlier wait of uid %u is still in line: 32 KiB free",
                        geteuid());
                cr_assert_not_null(
                        strstr(buddyclient_detail(owner), text), "%s", buddyclient_detail(owner));
        }
        cr_assert_eq(buddyclient_release(owner, &half), 0);
        for (int each = 0; each < 2; each++) {
                cr_assert_eq(waiter_end(&waiters[each]), 0);
                cr_assert_eq(buddyclient_release(greedy, &waiters[each].range), 0);
        }
        buddyclient_destroy(owner);
        buddyclient_destroy(greedy);
        scene_close(&scene);
}

/* Timeouts against releases, many times: each page ends in exactly one place. */
Test(waiters, timeouts_that_race_with_releases_leak_nothing) {
        struct scene scene;
        struct buddyclient_range all;
        int ends[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *owner = client_new(&scene), *other = client_new(&scene);
        pipe_open(ends);
        unsigned served = 0;
        for (int round = 0; round < 100; round++) {
                cr_assert_eq(buddyclient_alloc(owner, 65536, &all), 0);
                struct waiter waiter = {.client = other,
                        .length = 65536,
                        .timeout_ms = 5,
                        .fd = ends[1],
                        .letter = 'w'};
                waiter_start(&waiter);
                uint64_t until = now_ms() + 4 + (uint64_t)round % 3;
                while (now_ms() < until)
                        ;
                cr_assert_eq(buddyclient_release(owner, &all), 0);
                byte_read(ends[0]);
                int result = waiter_end(&waiter);
                cr_assert(result == 0 || result == -ETIMEDOUT, "%d", result);
                if (result == 0) {
                        served++;
                        cr_assert_eq(buddyclient_release(other, &waiter.range), 0);
                }
                expect_held(owner, 0);
        }
        cr_log_info("%u of 100 were served", served);
        buddyclient_destroy(owner);
        buddyclient_destroy(other);
        scene_close(&scene);
}

/* The library against a real daemon: BUDDYD is its program. Each test has a daemon of its own. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/buddyclient.h"
#include "daemon.h"

#define PAGE       UINT64_C(4096)
#define POOL_BYTES (UINT64_C(64) << 20)

static struct daemon_process daemon_process;
static struct buddyclient *client;

static void setup(void) {
        cr_assert_eq(daemon_process_start(&daemon_process, BUDDYD, POOL_BYTES), 0);
        client = daemon_process_connect(&daemon_process);
        cr_assert_not_null(client);
}

static void teardown(void) {
        buddyclient_destroy(client);
        cr_assert_eq(daemon_process_stop(&daemon_process), 0);
}

TestSuite(client, .init = setup, .fini = teardown, .timeout = 120);

static uint64_t held_bytes(void) {
        struct buddyclient_stats stats = {.struct_size = sizeof(stats)};
        cr_assert_eq(buddyclient_stats(client, &stats), 0, "%s", buddyclient_detail(client));
        cr_assert_eq(stats.held_bytes + stats.cached_bytes + stats.free_bytes, stats.size_bytes);
        return stats.held_bytes;
}

/* ---- Segment ---- */

Test(client, sees_the_pool) {
        cr_assert_eq(buddyclient_size(client), POOL_BYTES);
        cr_assert_eq(buddyclient_page_size(client), PAGE);
        cr_assert_neq(buddyclient_id(client), 0);
        cr_assert_eq((uintptr_t)buddyclient_base(client) % (2 << 20), 0);
}

Test(client, pointers_are_inside_the_segment_or_null) {
        char *base = buddyclient_base(client);
        const struct buddyclient_range inside = {PAGE, PAGE, 1},
                                       last = {POOL_BYTES - PAGE, PAGE, 1},
                                       across = {POOL_BYTES - PAGE, 2 * PAGE, 1},
                                       outside = {POOL_BYTES, PAGE, 1},
                                       wraps = {UINT64_MAX - 1, PAGE, 1}, empty = {0, 0, 1};
        cr_assert_eq(buddyclient_pointer(client, &inside), base + PAGE);
        cr_assert_eq(buddyclient_pointer(client, &last), base + POOL_BYTES - PAGE);
        cr_assert_null(buddyclient_pointer(client, &across));
        cr_assert_null(buddyclient_pointer(client, &outside));
        cr_assert_null(buddyclient_pointer(client, &wraps));
        cr_assert_null(buddyclient_pointer(client, &empty));
        cr_assert_null(buddyclient_pointer(client, NULL));
}

Test(client, bytes_are_seen_by_another_client) {
        struct buddyclient *other = daemon_process_connect(&daemon_process);
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, 100, &range), 0);
        strcpy(buddyclient_pointer(client, &range), "hello");
        cr_assert_str_eq(buddyclient_pointer(other, &range), "hello");
        buddyclient_destroy(other);
}

/* ---- Ranges ---- */

Test(client, takes_the_smallest_range_that_fits) {
        const uint64_t lengths[] = {1, 4095, 4096, 4097, 65536, 65537, 3 << 20};
        const uint64_t granted[] = {4096, 4096, 4096, 8192, 65536, 131072, 4 << 20};
        for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
                struct buddyclient_range range;
                cr_assert_eq(buddyclient_alloc(client, lengths[i], &range), 0);
                cr_assert_eq(range.length, granted[i]);
                cr_assert_eq(range.offset % range.length, 0);
                cr_assert_neq(range.generation, 0);
                memset(buddyclient_pointer(client, &range), 0xaa, range.length);
                cr_assert_eq(buddyclient_release(client, &range), 0);
        }
        cr_assert_eq(held_bytes(), 0);
}

Test(client, refused_requests_change_nothing) {
        struct buddyclient_range range = {.offset = 1}, held;
        cr_assert_eq(buddyclient_alloc(client, 0, &range), -EINVAL);
        cr_assert_eq(buddyclient_alloc(client, PAGE, NULL), -EINVAL);
        cr_assert_eq(buddyclient_alloc(client, UINT64_MAX, &range), -E2BIG);
        cr_assert_eq(buddyclient_alloc(client, POOL_BYTES + 1, &range), -E2BIG);
        cr_assert_eq(buddyclient_alloc_many(client, PAGE, 0, &range), -EINVAL);
        cr_assert_eq(buddyclient_alloc_many(client, PAGE, 4097, &range), -EINVAL);
        cr_assert_eq(buddyclient_alloc_wait(client, PAGE, -2, &range), -EINVAL);
        cr_assert_eq(buddyclient_release(client, NULL), -EINVAL);
        cr_assert_eq(buddyclient_release_many(client, NULL, 1), -EINVAL);
        cr_assert_eq(buddyclient_release_many(client, NULL, 0), 0);
        cr_assert_eq(range.offset, 1);
        cr_assert_eq(buddyclient_alloc(client, POOL_BYTES / 2 + 1, &held), 0);
        cr_assert_eq(buddyclient_alloc(client, PAGE, &range), -ENOMEM);
        cr_assert_str_neq(buddyclient_detail(client), "");
        cr_assert_eq(range.offset, 1);
        cr_assert_eq(held_bytes(), POOL_BYTES);
}

Test(client, wrong_releases_are_refused_each_in_its_way) {
        struct buddyclient_range range, wrong;
        cr_assert_eq(buddyclient_alloc(client, 4 * PAGE, &wrong), 0);
        cr_assert_eq(buddyclient_release(client, &wrong), 0);
        /* It comes again, if not at once: ranges that are kept go round. */
        do
                cr_assert_eq(buddyclient_alloc(client, 4 * PAGE, &range), 0);
        while (range.offset != wrong.offset && buddyclient_release(client, &range) == 0);
        cr_assert_eq(buddyclient_release(client, &wrong), -ESTALE);
        wrong = range, wrong.generation += UINT64_C(1) << 32;
        cr_assert_eq(buddyclient_release(client, &wrong), -ESTALE);
        wrong = range, wrong.generation += UINT64_C(1) << 56;
        cr_assert_eq(buddyclient_release(client, &wrong), -EINVAL);
        wrong = range, wrong.offset += PAGE;
        cr_assert_eq(buddyclient_release(client, &wrong), -EINVAL);
        wrong = range, wrong.offset += 1;
        cr_assert_eq(buddyclient_release(client, &wrong), -EINVAL);
        wrong = range, wrong.length = 3 * PAGE;
        cr_assert_eq(buddyclient_release(client, &wrong), -EINVAL);
        wrong = range, wrong.length = 0;
        cr_assert_eq(buddyclient_release(client, &wrong), -EINVAL);
        wrong = range, wrong.offset = UINT64_C(1) << 50;
        cr_assert_eq(buddyclient_release(client, &wrong), -EINVAL);
        cr_assert_eq(held_bytes(), 4 * PAGE);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(buddyclient_release(client, &range), -ESTALE);
        cr_assert_str_neq(buddyclient_detail(client), "");
        cr_assert_eq(held_bytes(), 0);
}

Test(client, many_is_all_or_none) {
        static struct buddyclient_range ranges[4096];
        cr_assert_eq(buddyclient_alloc_many(client, 8 * PAGE, 4096, ranges), -ENOMEM);
        cr_assert_eq(held_bytes(), 0);
        cr_assert_eq(buddyclient_alloc_many(client, 4 * PAGE, 4096, ranges), 0);
        cr_assert_eq(held_bytes(), POOL_BYTES);
        struct buddyclient_range right = ranges[4000];
        ranges[4000] = ranges[3999];
        cr_assert_eq(buddyclient_release_many(client, ranges, 4096), -ESTALE);
        ranges[4000] = (struct buddyclient_range){right.offset, PAGE, right.generation};
        cr_assert_eq(buddyclient_release_many(client, ranges, 4096), -EINVAL);
        cr_assert_eq(held_bytes(), POOL_BYTES);
        ranges[4000] = right;
        cr_assert_eq(buddyclient_release_many(client, ranges, 4096), 0);
        cr_assert_eq(held_bytes(), 0);
}

/* More than one request can carry: still all or none. */
Test(client, releases_more_than_one_batch_or_none) {
        enum { COUNT = 3 * 4096 + 5 };
        static struct buddyclient_range ranges[COUNT + 1];
        for (size_t done = 0; done < COUNT; done += 4096) {
                size_t left = COUNT - done;
                cr_assert_eq(buddyclient_alloc_many(
                                     client, PAGE, left < 4096 ? left : 4096, ranges + done),
                        0);
        }
        ranges[COUNT] = ranges[7];
        cr_assert_eq(buddyclient_release_many(client, ranges, COUNT + 1), -ESTALE);
        ranges[COUNT - 1].generation++;
        int rc = buddyclient_release_many(client, ranges, COUNT);
        cr_assert(rc == -EINVAL || rc == -ESTALE, "%d", rc); /* never granted, so not held either */
        ranges[COUNT - 1].generation--;
        ranges[COUNT].length = 1;
        cr_assert_eq(buddyclient_release_many(client, ranges, COUNT + 1), -EINVAL);
        cr_assert_eq(held_bytes(), COUNT * PAGE);
        cr_assert_eq(buddyclient_release_many(client, ranges, COUNT), 0);
        cr_assert_eq(held_bytes(), 0);
}

Test(client, others_ranges_cannot_be_released) {
        struct buddyclient *other = daemon_process_connect(&daemon_process);
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, PAGE, &range), 0);
        cr_assert_eq(buddyclient_release(other, &range), -ESTALE);
        cr_assert_eq(held_bytes(), PAGE);
        buddyclient_destroy(other);
}

/* ---- Waiting ---- */

Test(client, waiting_ends_at_its_time) {
        struct buddyclient_range all, range;
        cr_assert_eq(buddyclient_alloc(client, POOL_BYTES, &all), 0);
        cr_assert_eq(buddyclient_alloc_wait(client, PAGE, 0, &range), -ETIMEDOUT);
        cr_assert_eq(buddyclient_alloc_wait(client, PAGE, 50, &range), -ETIMEDOUT);
        cr_assert_eq(buddyclient_release(client, &all), 0);
        cr_assert_eq(buddyclient_alloc_wait(client, PAGE, 0, &range), 0);
        cr_assert_eq(held_bytes(), PAGE);
}

static void *wait_for_page(void *context) {
        return (void *)(intptr_t)buddyclient_alloc_wait(client, PAGE, -1, context);
}

static void await_waiters(uint64_t count) {
        struct buddyclient_stats stats = {.struct_size = sizeof(stats)};
        for (int tries = 0; tries < 1000; tries++) {
                cr_assert_eq(buddyclient_stats(client, &stats), 0);
                if (stats.waiters == count)
                        return;
                nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        }
        cr_assert_fail("%llu waiters", (unsigned long long)stats.waiters);
}

/* One connection: a thread that waits does not keep the others from their replies. */
Test(client, a_waiting_thread_gets_what_another_releases) {
        struct buddyclient_range all, range;
        pthread_t thread;
        void *result;
        cr_assert_eq(buddyclient_alloc(client, POOL_BYTES, &all), 0);
        cr_assert_eq(pthread_create(&thread, NULL, wait_for_page, &range), 0);
        await_waiters(1);
        cr_assert_eq(buddyclient_release(client, &all), 0);
        cr_assert_eq(pthread_join(thread, &result), 0);
        cr_assert_eq((intptr_t)result, 0);
        cr_assert_eq(held_bytes(), PAGE);
        await_waiters(0);
}

/* ---- Threads ---- */

#define THREADS 8

static void *churn(void *context) {
        unsigned seed = (unsigned)(uintptr_t)context;
        struct buddyclient_range ranges[16] = {0};
        for (int step = 0; step < 2000; step++) {
                struct buddyclient_range *range = &ranges[rand_r(&seed) % 16];
                if (range->length) {
                        /* Nobody else wrote here meanwhile. */
                        if (*(uint64_t *)buddyclient_pointer(client, range) != (uintptr_t)context)
                                return (void *)1;
                        if (buddyclient_release(client, range) < 0)
                                return (void *)2;
                        range->length = 0;
                } else {
                        if (buddyclient_alloc(client, PAGE << rand_r(&seed) % 5, range) < 0)
                                return (void *)3;
                        *(uint64_t *)buddyclient_pointer(client, range) = (uintptr_t)context;
                }
        }
        for (int i = 0; i < 16; i++)
                if (ranges[i].length && buddyclient_release(client, &ranges[i]) < 0)
                        return (void *)4;
        return NULL;
}

Test(client, many_threads_share_one_connection) {
        pthread_t threads[THREADS];
        for (uintptr_t i = 0; i < THREADS; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
        for (int i = 0; i < THREADS; i++) {
                void *result;
                cr_assert_eq(pthread_join(threads[i], &result), 0);
                cr_assert_null(result, "failed at %d", (int)(uintptr_t)result);
        }
        cr_assert_eq(held_bytes(), 0);
}

/* A signal handler that interrupts system calls is nobody's trouble. */
static void on_signal(int number) {
        (void)number;
}

static void *churn_interrupted(void *context) {
        return churn(context);
}

Test(client, interrupted_calls_go_on) {
        struct sigaction action = {.sa_handler = on_signal};
        sigaction(SIGUSR1, &action, NULL);
        pthread_t thread;
        void *result;
        cr_assert_eq(pthread_create(&thread, NULL, churn_interrupted, (void *)1), 0);
        while (pthread_tryjoin_np(thread, &result) == EBUSY)
                pthread_kill(thread, SIGUSR1);
        cr_assert_null(result, "failed at %d", (int)(uintptr_t)result);
        cr_assert_eq(held_bytes(), 0);
}

/* ---- Fork ---- */

static int everything_is_refused(const struct buddyclient_range *range) {
        struct buddyclient_range out;
        struct buddyclient_stats stats = {.struct_size = sizeof(stats)};
        return buddyclient_alloc(client, PAGE, &out) == -ENOTCONN &&
               buddyclient_alloc_wait(client, PAGE, -1, &out) == -ENOTCONN &&
               buddyclient_alloc_many(client, PAGE, 1, &out) == -ENOTCONN &&
               buddyclient_release(client, range) == -ENOTCONN &&
               buddyclient_release_many(client, range, 1) == -ENOTCONN &&
               buddyclient_stats(client, &stats) == -ENOTCONN &&
               buddyclient_set_name(client, "child") == -ENOTCONN &&
               buddyclient_set_timeout_ms(client, 1) == -ENOTCONN &&
               buddyclient_connect(client) == -ENOTCONN;
}

static int in_child(const struct buddyclient_range *range) {
        if (!everything_is_refused(range))
                return 1;
        if (strcmp(buddyclient_pointer(client, range), "parent") != 0)
                return 2;
        buddyclient_destroy(client);
        return 0;
}

Test(client, forked_child_is_refused_and_takes_nothing) {
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, PAGE, &range), 0);
        strcpy(buddyclient_pointer(client, &range), "parent");
        pid_t child = fork();
        if (child == 0)
                _exit(in_child(&range));
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFEXITED(status));
        cr_assert_eq(WEXITSTATUS(status), 0);
        cr_assert_eq(held_bytes(), PAGE);
        cr_assert_eq(buddyclient_release(client, &range), 0);
}

/* Threads that are in the middle of calls do not hinder a child that destroys its copy. */
Test(client, child_forked_under_load_can_destroy_its_copy) {
        pthread_t threads[2];
        for (uintptr_t i = 0; i < 2; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
        for (int i = 0; i < 20; i++) {
                pid_t child = fork();
                if (child == 0) {
                        buddyclient_destroy(client);
                        _exit(0);
                }
                int status;
                cr_assert_eq(waitpid(child, &status, 0), child);
                cr_assert_eq(status, 0);
        }
        for (int i = 0; i < 2; i++) {
                void *result;
                pthread_join(threads[i], &result);
                cr_assert_null(result);
        }
        cr_assert_eq(held_bytes(), 0);
}

/* ---- The end ---- */

Test(client, destroy_has_returned_everything) {
        struct buddyclient *other = daemon_process_connect(&daemon_process);
        struct buddyclient_range ranges[100];
        cr_assert_eq(buddyclient_alloc_many(other, PAGE, 100, ranges), 0);
        cr_assert_eq(held_bytes(), 100 * PAGE);
        buddyclient_destroy(other);
        cr_assert_eq(held_bytes(), 0);
}

Test(client, read_only_is_not_granted_anything) {
        struct buddyclient *reader = daemon_process_client(&daemon_process);
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_set_read_only(reader, true), 0);
        cr_assert_eq(buddyclient_connect(reader), 0, "%s", buddyclient_detail(reader));
        cr_assert_eq(buddyclient_alloc(reader, PAGE, &range), -EACCES);
        cr_assert_eq(buddyclient_alloc(client, PAGE, &range), 0);
        strcpy(buddyclient_pointer(client, &range), "seen");
        cr_assert_str_eq(buddyclient_pointer(reader, &range), "seen");
        buddyclient_destroy(reader);
}

Test(client, unknown_pool_is_named_in_the_refusal) {
        struct buddyclient *stranger = daemon_process_client(&daemon_process);
        cr_assert_eq(buddyclient_set_pool(stranger, "nowhere"), 0);
        cr_assert_eq(buddyclient_connect(stranger), -ENOENT);
        cr_assert_not_null(strstr(buddyclient_detail(stranger), "nowhere"), "%s",
                buddyclient_detail(stranger));
        buddyclient_destroy(stranger);
}

Test(client, learns_that_the_daemon_stopped) {
        struct buddyclient_range range;
        struct buddyclient *other = daemon_process_client(&daemon_process);
        cr_assert_eq(buddyclient_set_timeout_ms(other, 1500), 0);
        cr_assert_eq(buddyclient_connect(other), 0);
        cr_assert_eq(buddyclient_set_timeout_ms(other, 1), -EBUSY);
        cr_assert_eq(daemon_process_stop(&daemon_process), 0);
        cr_assert_eq(buddyclient_alloc(other, PAGE, &range), -ENOTCONN);
        cr_assert_eq(buddyclient_alloc(other, PAGE, &range), -ENOTCONN);
        buddyclient_destroy(other);
        cr_assert_eq(daemon_process_start(&daemon_process, BUDDYD, POOL_BYTES), 0);
}

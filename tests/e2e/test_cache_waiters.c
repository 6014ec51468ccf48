/* Who waits for memory is served by what others release, also where that would go into a cache. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "harness.h"

TestSuite(cache_waiters, .timeout = 120);

#define POOL       "64M"
#define POOL_BYTES (64 * MIB)
#define PAGES      (POOL_BYTES / SCENE_PAGE)

static void stage(struct scene *scene) {
        scene_open(scene);
        scene_start(scene, "--size", POOL, NULL);
}

static struct buddyclient *cached_new(const struct scene *scene) {
        struct buddyclient *client = client_caching(scene);
        cr_assert_not_null(client);
        return client;
}

/* Nothing may be held or cached any more, and everything merged. */
static void unstage(struct scene *scene, struct buddyclient *observer) {
        await_held(observer, 0);
        struct buddyclient_stats stats = stats_of(observer);
        cr_assert_eq(stats.cached_bytes, 0, "%lu bytes cached by nobody", stats.cached_bytes);
        cr_assert_eq(stats.largest_free_bytes, POOL_BYTES, "not merged");
        buddyclient_destroy(observer);
        scene_close(scene);
}

struct waiter {
        pthread_t thread;
        struct buddyclient *client;
        uint64_t length;
        int result;
        struct buddyclient_range range;
};

static void *wait_for_range(void *argument) {
        struct waiter *waiter = argument;
        waiter->result =
                buddyclient_alloc_wait(waiter->client, waiter->length, PATIENCE_MS, &waiter->range);
        return NULL;
}

static void waiter_start(struct waiter *waiter, struct buddyclient *client, uint64_t length) {
        *waiter = (struct waiter){.client = client, .length = length};
        cr_assert_eq(pthread_create(&waiter->thread, NULL, wait_for_range, waiter), 0);
}

static void waiter_served(struct waiter *waiter) {
        pthread_join(waiter->thread, NULL);
        cr_assert_eq(waiter->result, 0, "%d", waiter->result);
}

/* Takes the pool in ranges of this length, with a filled cache where possible. */
static size_t take_pool(
        struct buddyclient *client, uint64_t length, struct buddyclient_range *ranges) {
        size_t count = 0;
        while (buddyclient_alloc(client, length, &ranges[count]) == 0)
                count++;
        cr_assert_eq(count, POOL_BYTES / length);
        return count;
}

Test(cache_waiters, a_waiter_is_served_by_what_is_released_into_a_cache) {
        struct scene scene;
        struct buddyclient_range ranges[1025];
        struct waiter waiter;
        stage(&scene);
        struct buddyclient *owner = cached_new(&scene), *other = cached_new(&scene),
                           *observer = client_new(&scene);
        size_t count = take_pool(owner, 65536, ranges);
        for (int round = 0; round < 8; round++) {
                waiter_start(&waiter, other, 65536);
                await_waiters(observer, 1);
                count--;
                cr_assert_eq(buddyclient_release(owner, &ranges[count]), 0);
                waiter_served(&waiter);
                cr_assert_eq(waiter.range.offset, ranges[count].offset);
                await_waiters(observer, 0);
        }
        cr_assert_eq(buddyclient_release_many(owner, ranges, count), 0);
        buddyclient_destroy(owner);
        buddyclient_destroy(other);
        unstage(&scene, observer);
}

/* Larger than anything that is released: it takes all of it, whatever the cache would like to keep. */
Test(cache_waiters, a_waiter_for_much_is_served_by_many_releases) {
        struct scene scene;
        static struct buddyclient_range ranges[PAGES + 1];
        struct waiter waiter;
        stage(&scene);
        struct buddyclient *owner = cached_new(&scene), *other = cached_new(&scene),
                           *observer = client_new(&scene);
        size_t count = take_pool(owner, SCENE_PAGE, ranges);
        waiter_start(&waiter, other, POOL_BYTES);
        await_waiters(observer, 1);
        for (size_t each = 0; each < count; each++)
                cr_assert_eq(buddyclient_release(owner, &ranges[each]), 0);
        waiter_served(&waiter);
        cr_assert_eq(waiter.range.length, POOL_BYTES);
        buddyclient_destroy(owner);
        buddyclient_destroy(other);
        unstage(&scene, observer);
}

/* Releases race with the begin of the wait, round after round: none may be overlooked. */
static void *release_soon(void *argument) {
        void **arguments = argument;
        return (void *)(intptr_t)buddyclient_release(arguments[0], arguments[1]);
}

Test(cache_waiters, no_release_is_overlooked_by_a_wait_that_begins) {
        struct scene scene;
        struct buddyclient_range ranges[1025], got;
        stage(&scene);
        struct buddyclient *owner = cached_new(&scene), *other = cached_new(&scene);
        take_pool(owner, 65536, ranges);
        for (int round = 0; round < 1000; round++) {
                pthread_t thread;
                void *arguments[] = {owner, &ranges[0]}, *result;
                cr_assert_eq(pthread_create(&thread, NULL, release_soon, arguments), 0);
                int waited = buddyclient_alloc_wait(other, 65536, 10000, &got);
                pthread_join(thread, &result);
                cr_assert_eq((intptr_t)result, 0);
                cr_assert_eq(waited, 0, "round %d: %d", round, waited);
                cr_assert_eq(buddyclient_release(other, &got), 0);
                cr_assert_eq(buddyclient_alloc_wait(owner, 65536, 10000, &ranges[0]), 0);
        }
        buddyclient_destroy(owner);
        buddyclient_destroy(other);
        unstage(&scene, client_new(&scene));
}

/* A daemon that may not look at its clients' memory by itself gets it when they come back: who waits by then is served from it. */
Test(cache_waiters, what_comes_back_after_a_restart_serves_who_waits) {
        struct scene scene;
        struct waiter waiter;
        struct buddyclient_range ranges[64];
        if (geteuid() != 0)
                cr_skip("only root can run a daemon as somebody else");
        scene_open(&scene);
        scene.uid = 65534;
        cr_assert_eq(chown(scene.folder, scene.uid, scene.uid), 0);
        scene_start(&scene, "--size", POOL, "--socket-mode", "0666", NULL);
        struct buddyclient *owner = cached_new(&scene);
        for (int each = 0; each < 64; each++)
                cr_assert_eq(buddyclient_alloc(owner, 1, &ranges[each]), 0);
        for (int each = 0; each < 64; each++)
                cr_assert_eq(buddyclient_release(owner, &ranges[each]), 0);
        scene_kill(&scene);
        scene_start(&scene, "--size", POOL, "--socket-mode", "0666", NULL);
        struct buddyclient *other = client_new(&scene), *observer = client_new(&scene);
        waiter = (struct waiter){.client = other, .length = POOL_BYTES};
        cr_assert_eq(pthread_create(&waiter.thread, NULL, wait_for_range, &waiter), 0);
        await_waiters(observer, 1);
        cr_assert_eq(stats_of(owner).size_bytes, POOL_BYTES); /* it is back */
        waiter_served(&waiter);
        buddyclient_destroy(owner);
        buddyclient_destroy(other);
        unstage(&scene, observer);
}

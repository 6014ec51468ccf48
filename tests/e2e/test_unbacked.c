/* Pools that are reserved on first use, on a /dev/shm that is too small for them: refusals tell the truth, at once, and
 * nobody waits for what no release can bring. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "harness.h"

TestSuite(unbacked, .timeout = 60);

static const char unbacked[] = " is free, but the system has no memory for it: /dev/shm is full";

static void lazy_start(struct scene *scene) {
        scene_open(scene);
        if (!stage_private(32 * MIB))
                cr_skip_test("needs mount namespaces");
        scene_start(scene, "--size", "64M", "--commit", "lazy", NULL);
}

/* Takes pages until a refusal, which must be a true one. */
static size_t take_all(struct buddyclient *client, struct buddyclient_range *ranges, size_t max) {
        size_t count = 0;
        int result = 0;
        while (count < max && (result = buddyclient_alloc(client, 2 * MIB, &ranges[count])) == 0)
                count++;
        cr_assert_eq(result, -ENOMEM, "%d after %zu ranges", result, count);
        cr_assert_not_null(
                strstr(buddyclient_detail(client), unbacked), "%s", buddyclient_detail(client));
        return count;
}

Test(unbacked, every_way_to_alloc_is_refused_with_the_cause) {
        struct scene scene;
        struct buddyclient_range ranges[32], range, many[2];
        lazy_start(&scene);
        struct buddyclient *client = client_new(&scene);
        size_t count = take_all(client, ranges, 32);
        cr_assert_gt(count, 0);
        uint64_t begin = now_ms();
        for (int timeout_ms = -1; timeout_ms <= 20000; timeout_ms += 20001) {
                cr_assert_eq(buddyclient_alloc_wait(client, 2 * MIB, timeout_ms, &range), -ENOMEM);
                cr_assert_not_null(strstr(buddyclient_detail(client), unbacked));
        }
        cr_assert_eq(buddyclient_alloc_wait(client, 2 * MIB, 0, &range), -ENOMEM);
        cr_assert_lt(now_ms() - begin, 5000, "waited for what cannot come");
        cr_assert_eq(buddyclient_alloc_many(client, 2 * MIB, 2, many), -ENOMEM);
        cr_assert_not_null(strstr(buddyclient_detail(client), "2 blocks of 2 MiB are free, but"));
        const char *line = ctl_refused(&scene, 1, "alloc", "2M", NULL);
        cr_assert_not_null(strstr(line, unbacked), "%s", line);
        cr_assert_eq(stats_of(client).no_space_total, 0, "counted as if no block were free");
        expect_held(client, count * 2 * MIB);
        cr_assert_eq(buddyclient_alloc(client, 128 * MIB, &range), -E2BIG);
        cr_assert_eq(buddyclient_alloc(client, 64 * MIB, &range), -ENOMEM);
        cr_assert_not_null(strstr(buddyclient_detail(client), "no free block of 64 MiB"));
        cr_assert_eq(stats_of(client).no_space_total, 1);
        cr_assert_eq(buddyclient_release_many(client, ranges, count), 0);
        cr_assert_eq(buddyclient_alloc(client, 2 * MIB, &range), 0, "what was backed stays so");
        buddyclient_destroy(client);
        scene_close(&scene);
}

struct waiting {
        pthread_t thread;
        struct buddyclient *client;
        uint64_t length;
        int result;
        char detail[256];
};

static void *wait_for_range(void *argument) {
        struct waiting *waiting = argument;
        struct buddyclient_range range;
        waiting->result = buddyclient_alloc_wait(waiting->client, waiting->length, -1, &range);
        strncpy(waiting->detail, buddyclient_detail(waiting->client), sizeof waiting->detail - 1);
        return NULL;
}

static void waiting_start(struct waiting *waiting, struct buddyclient *client, uint64_t length) {
        *waiting = (struct waiting){.client = client, .length = length};
        cr_assert_eq(pthread_create(&waiting->thread, NULL, wait_for_range, waiting), 0);
}

/* The turn of one comes, and there is no memory: it is told so, and the next in line is served. */
Test(unbacked, a_waiter_whose_turn_comes_is_refused_and_the_next_served) {
        struct scene scene;
        struct buddyclient_range page;
        struct waiting huge, small;
        lazy_start(&scene);
        struct buddyclient *owner = client_new(&scene), *other = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(owner, SCENE_PAGE, &page), 0);
        waiting_start(&huge, other, 64 * MIB);
        await_waiters(owner, 1);
        waiting_start(&small, other, SCENE_PAGE);
        await_waiters(owner, 2);
        cr_assert_eq(buddyclient_release(owner, &page), 0);
        pthread_join(huge.thread, NULL);
        pthread_join(small.thread, NULL);
        cr_assert_eq(huge.result, -ENOMEM);
        cr_assert_not_null(strstr(huge.detail, unbacked), "%s", huge.detail);
        cr_assert_eq(small.result, 0, "%s", small.detail);
        await_waiters(owner, 0);
        expect_held(owner, SCENE_PAGE);
        buddyclient_destroy(owner);
        buddyclient_destroy(other);
        scene_close(&scene);
}

/* drain: a pool that runs empty. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(drain, .timeout = 60);

static bool is_refused(struct buddyclient *client, int result) {
        return result == -ENOMEM && strstr(buddyclient_detail(client), "draining");
}

static void stage(struct scene *scene) {
        scene_open(scene);
        scene_start(scene, "--size", "64M", NULL);
}

Test(drain, nothing_is_granted_and_all_else_goes_on) {
        struct scene scene;
        struct buddyclient_range ranges[3], many[4];
        stage(&scene);
        struct buddyclient *client = client_new(&scene), *peer = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 3, ranges), 0);
        const struct json *said = ctl_json(&scene, "drain", "--json", NULL);
        cr_assert(json_member(said, "draining")->truth && !json_member(said, "empty")->truth);
        cr_assert_eq(json_member(said, "held_bytes")->integer, 3 * (int64_t)SCENE_PAGE);
        cr_assert_eq(json_member(said, "holders")->integer, 1);
        cr_assert(json_member(ctl_json(&scene, "stats", "--json", NULL), "draining")->truth);
        cr_assert(is_refused(client, buddyclient_alloc(client, 1, &many[0])));
        cr_assert(is_refused(client, buddyclient_alloc_many(client, 1, 4, many)));
        cr_assert(is_refused(client, buddyclient_alloc_wait(client, 1, 0, &many[0])));
        cr_assert(is_refused(client, buddyclient_alloc_wait(client, 1, -1, &many[0])));
        cr_assert(strstr(ctl_refused(&scene, 1, "alloc", "4K", NULL), "draining"));

        cr_assert_eq(buddyclient_attach(peer, &ranges[0]), 0);
        cr_assert_eq(buddyclient_give(client, &ranges[1], buddyclient_id(peer)), 0);
        cr_assert_eq(buddyclient_publish(client, "key", &ranges[2]), 0);
        cr_assert_eq(buddyclient_lookup(peer, "key", &many[0]), 0);
        cr_assert_eq(buddyclient_release(peer, &ranges[0]), 0);
        cr_assert_eq(buddyclient_release(peer, &ranges[1]), 0);
        cr_assert_eq(buddyclient_release(peer, &many[0]), 0);
        cr_assert_eq(buddyclient_release(client, &ranges[0]), 0);
        cr_assert_eq(buddyclient_release(client, &ranges[2]), 0);
        const struct run *run = ctl(&scene, "drain", NULL);
        cr_assert(run->status == 0 && strstr(run->out, "4 KiB held under keys"), "%s", run->out);
        cr_assert(strstr(ctl_refused(&scene, 1, "drain", "--wait=0.05", NULL), "not empty"));
        cr_assert_eq(buddyclient_unpublish(client, "key"), 0);
        cr_assert(strstr(ctl(&scene, "drain", "--wait=5", NULL)->out, "empty"));
        cr_assert_eq(scene_figure(&scene, "no_space_total"), 0, "it was not for want of space");

        cr_assert_not(
                json_member(ctl_json(&scene, "drain", "--off", "--json", NULL), "draining")->truth);
        cr_assert_eq(buddyclient_alloc(client, 1, &many[0]), 0);
        expect_sound(&scene);
        buddyclient_destroy(client);
        buddyclient_destroy(peer);
        scene_close(&scene);
}

Test(drain, caches_are_emptied_and_stay_empty) {
        struct scene scene;
        struct buddyclient_range ranges[64];
        stage(&scene);
        struct buddyclient *client = client_caching(&scene), *observer = client_new(&scene);
        for (int round = 0; round < 8; round++) {
                for (int each = 0; each < 64; each++)
                        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &ranges[each]), 0);
                for (int each = 0; each < (round < 7 ? 64 : 32); each++)
                        cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
        }
        cr_assert_gt(stats_of(observer).cached_bytes, 0);
        cr_assert_eq(ctl(&scene, "drain", NULL)->status, 0);
        cr_assert_eq(stats_of(observer).cached_bytes, 0);
        struct buddyclient_range range;
        cr_assert(is_refused(client, buddyclient_alloc(client, SCENE_PAGE, &range)));
        for (int each = 32; each < 64; each++) {
                cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
                cr_assert(is_refused(client, buddyclient_alloc(client, SCENE_PAGE, &range)));
        }
        struct buddyclient_stats stats = stats_of(observer);
        cr_assert_eq(stats.held_bytes + stats.cached_bytes, 0);
        /* One that comes now puts nothing into its cache either. */
        struct buddyclient *late = client_caching(&scene);
        cr_assert(is_refused(late, buddyclient_alloc(late, SCENE_PAGE, &range)));
        cr_assert_eq(ctl(&scene, "drain", "--off", NULL)->status, 0);
        for (int round = 0; round < 8; round++) {
                for (int each = 0; each < 64; each++)
                        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &ranges[each]), 0);
                for (int each = 0; each < 64; each++)
                        cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
        }
        cr_assert_gt(stats_of(observer).cached_bytes, 0, "cached again");
        buddyclient_destroy(late);
        buddyclient_destroy(client);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

Test(drain, those_who_wait_are_refused) {
        struct scene scene;
        struct buddyclient_range all;
        pid_t waiters[4];
        stage(&scene);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 64 * MIB, &all), 0);
        for (int each = 0; each < 4; each++) {
                waiters[each] = process_fork();
                if (waiters[each] == 0) {
                        struct buddyclient *own = client_try(&scene);
                        struct buddyclient_range range;
                        _exit(!own || !is_refused(own, buddyclient_alloc_wait(own, SCENE_PAGE,
                                                               each % 2 ? -1 : 60000, &range)));
                }
                await_waiters(client, (uint64_t)each + 1);
        }
        cr_assert_eq(ctl(&scene, "drain", NULL)->status, 0);
        for (int each = 0; each < 4; each++)
                cr_assert_eq(process_wait(waiters[each]), 0);
        await_waiters(client, 0);
        expect_held(client, 64 * MIB);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(drain, wait_ends_with_the_last_hold) {
        struct scene scene;
        struct buddyclient_range range;
        int ends[2];
        stage(&scene);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, MIB, &range), 0);
        cr_assert(pipe(ends) == 0);
        pid_t operator= process_fork();
        if (operator== 0) {
                dup2(ends[1], STDOUT_FILENO);
                execl(program_buddyctl(), "buddyctl", "--socket", scene.socket, "--pool",
                        scene.pool, "drain", "--wait", NULL);
                _exit(127);
        }
        scene_await_line(&scene, "is draining");
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(process_wait(operator), 0);
        expect_held(client, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(drain, ends_with_the_daemon) {
        struct scene scene;
        struct buddyclient_range range;
        stage(&scene);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(ctl(&scene, "drain", NULL)->status, 0);
        cr_assert(is_refused(client, buddyclient_alloc(client, 1, &range)));
        scene_kill(&scene);
        scene_start(&scene, "--size", "64M", NULL);
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(drain, wrong_usage_is_refused) {
        struct scene scene;
        stage(&scene);
        ctl_refused(&scene, 2, "drain", "--off", "--wait", NULL);
        ctl_refused(&scene, 2, "drain", "--wait=soon", NULL);
        ctl_refused(&scene, 2, "drain", "--wait=-1", NULL);
        ctl_refused(&scene, 2, "drain", "now", NULL);
        ctl_refused(&scene, 2, "drain", "--off=yes", NULL);
        ctl_refused(&scene, 2, "stats", "--off", NULL);
        cr_assert_not(json_member(ctl_json(&scene, "stats", "--json", NULL), "draining")->truth);
        /* Twice is as once. */
        for (int each = 0; each < 2; each++)
                cr_assert_eq(ctl(&scene, "drain", NULL)->status, 0);
        for (int each = 0; each < 2; each++)
                cr_assert_eq(ctl(&scene, "drain", "--off", NULL)->status, 0);
        cr_assert_eq(ctl(&scene, "alloc", "4K", NULL)->status, 0);
        cr_assert_eq(ctl(&scene, "free", "0", NULL)->status, 0);
        scene_close(&scene);
}

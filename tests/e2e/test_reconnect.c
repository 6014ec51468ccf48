/* Daemons that die, or are replaced, under running clients: ranges, pointers, ids, names and keys stay, and every call
 * that was under way returns its result once. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

TestSuite(reconnect, .timeout = 120);

#define SIZE  "4M"
#define PAGES 1024

static void stage(struct scene *scene) {
        scene_open(scene);
        scene_start(scene, "--size", SIZE, NULL);
}

static void crash(struct scene *scene) {
        scene_kill(scene);
        scene_start(scene, "--size", SIZE, NULL);
}

static void moment_pass(void) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* Nothing may be held any more. */
static void unstage(struct scene *scene, struct buddyclient *client) {
        expect_held(client, 0);
        cr_assert_eq(stats_of(client).largest_free_bytes, 4 * MIB, "not merged");
        buddyclient_destroy(client);
        scene_close(scene);
}

static struct buddyclient *client_of(const struct scene *scene, const char *name, int timeout_ms) {
        struct buddyclient *client = NULL;
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, scene->socket), 0);
        cr_assert_eq(buddyclient_set_pool(client, scene->pool), 0);
        cr_assert_eq(buddyclient_set_name(client, name), 0);
        cr_assert_eq(buddyclient_set_timeout_ms(client, timeout_ms), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(client, 0), 0);
        cr_assert_eq(buddyclient_connect(client), 0);
        return client;
}

static void stamp(struct buddyclient *client, const struct buddyclient_range *range, int value) {
        memset(buddyclient_pointer(client, range), value, range->length);
}

static bool stamped(struct buddyclient *client, const struct buddyclient_range *range, int value) {
        const unsigned char *bytes = buddyclient_pointer(client, range);
        for (uint64_t at = 0; at < range->length; at++)
                if (bytes[at] != value)
                        return false;
        return true;
}

static void take_stamped(
        struct buddyclient *client, struct buddyclient_range *ranges, size_t count) {
        for (size_t each = 0; each < count; each++) {
                cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE << each % 3, &ranges[each]), 0);
                stamp(client, &ranges[each], (int)each + 1);
        }
}

static void return_stamped(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count) {
        for (size_t each = 0; each < count; each++) {
                cr_assert(stamped(client, &ranges[each], (int)each + 1), "range %zu", each);
                cr_assert_eq(buddyclient_release(client, &ranges[each]), 0, "range %zu", each);
                cr_assert_eq(buddyclient_release(client, &ranges[each]), -ESTALE);
        }
}

/* ---- What stays ---- */

Test(reconnect, everything_is_kept) {
        struct scene scene;
        struct buddyclient_range ranges[30], shared, found;
        uint32_t peer = 0;
        stage(&scene);
        struct buddyclient *client = client_of(&scene, "keeper", 5000);
        struct buddyclient *other = client_of(&scene, "other", 5000);
        take_stamped(client, ranges, 30);
        cr_assert_eq(buddyclient_alloc(client, 1, &shared), 0);
        cr_assert_eq(buddyclient_attach(other, &shared), 0);
        cr_assert_eq(buddyclient_attach(other, &shared), 0);
        cr_assert_eq(buddyclient_publish(client, "shared", &shared), 0);
        uint32_t id = buddyclient_id(client), other_id = buddyclient_id(other);
        void *base = buddyclient_base(client);
        uint64_t held = stats_of(client).held_bytes;
        for (int round = 1; round <= 5; round++) {
                crash(&scene);
                cr_assert_eq(stats_of(client).held_bytes, held);
                cr_assert_eq(stats_of(other).restarts, round);
                cr_assert_eq(buddyclient_base(client), base);
                cr_assert_eq(buddyclient_id(client), id);
                cr_assert_eq(buddyclient_find(client, "other", &peer), 0);
                cr_assert_eq(peer, other_id);
                cr_assert_eq(buddyclient_find(other, "keeper", &peer), 0);
                cr_assert_eq(peer, id);
                cr_assert_eq(buddyclient_lookup(other, "shared", &found), 0);
                cr_assert_eq(buddyclient_release(other, &found), 0);
                cr_assert_eq(stats_of(client).clients, 2);
                expect_sound(&scene);
        }
        return_stamped(client, ranges, 30);
        cr_assert_eq(buddyclient_release(client, &shared), 0);
        cr_assert_eq(buddyclient_unpublish(client, "shared"), 0);
        cr_assert_eq(buddyclient_release(other, &shared), 0);
        expect_held(client, SCENE_PAGE);
        cr_assert_eq(buddyclient_release(other, &shared), 0);
        cr_assert_eq(buddyclient_release(other, &shared), -ESTALE);
        buddyclient_destroy(other);
        unstage(&scene, client);
}

Test(reconnect, an_upgrade_in_place_is_not_noticed) {
        struct scene scene;
        struct buddyclient_range ranges[30], more;
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, "--keep", NULL);
        struct buddyclient *client = client_of(&scene, "keeper", 5000);
        take_stamped(client, ranges, 30);
        uint32_t id = buddyclient_id(client);
        for (int round = 0; round < 3; round++) {
                cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
                scene_start(&scene, "--size", SIZE, "--keep", NULL);
                cr_assert_eq(buddyclient_alloc(client, 1, &more), 0);
                cr_assert_eq(buddyclient_release(client, &more), 0);
                cr_assert_eq(buddyclient_id(client), id);
        }
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        scene_start(&scene, "--size", SIZE, NULL);
        return_stamped(client, ranges, 30);
        unstage(&scene, client);
}

Test(reconnect, descriptors_do_not_pile_up) {
        struct scene scene;
        struct buddyclient_range range, more;
        stage(&scene);
        struct buddyclient *client = client_of(&scene, "keeper", 5000);
        struct scene self = {.daemon = getpid()};
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        size_t before = scene_daemon_fds(&self), theirs = scene_daemon_fds(&scene);
        for (int round = 0; round < 100; round++) {
                crash(&scene);
                cr_assert_eq(buddyclient_alloc(client, 1, &more), 0);
                cr_assert_eq(buddyclient_release(client, &more), 0);
        }
        cr_assert_eq(scene_daemon_fds(&self), before);
        cr_assert_leq(scene_daemon_fds(&scene), theirs + 1);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        unstage(&scene, client);
}

/* ---- Calls under way ---- */

/* A thread with one call to make while the daemon is away. */
struct caller {
        pthread_t thread;
        struct buddyclient *client, *peer;
        struct buddyclient_range range, found;
        int what, timeout_ms, result;
        uint64_t took_ms;
        atomic_bool *ready;
};

static int call(struct caller *caller) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        uint32_t peer;
        switch (caller->what) {
        case 0:
                return buddyclient_alloc(caller->client, 1, &caller->found);
        case 1:
                return buddyclient_alloc_wait(
                        caller->client, 1, caller->timeout_ms, &caller->found);
        case 2:
                return buddyclient_release(caller->client, &caller->range);
        case 3:
                return buddyclient_attach(caller->client, &caller->range);
        case 4:
                return buddyclient_give(
                        caller->client, &caller->range, buddyclient_id(caller->peer));
        case 5:
                return buddyclient_publish(caller->client, "five", &caller->range);
        case 6:
                return buddyclient_find(caller->client, "peer", &peer);
        case 7:
                return buddyclient_release_many(caller->client, &caller->range, 1);
        default:
                return buddyclient_stats(caller->client, &stats);
        }
}

static void *caller_run(void *argument) {
        struct caller *caller = argument;
        uint64_t begin = now_ms();
        caller->result = call(caller);
        caller->took_ms = now_ms() - begin;
        return NULL;
}

Test(reconnect, calls_made_meanwhile_are_served_by_the_next_daemon) {
        struct scene scene;
        struct caller callers[9];
        struct buddyclient_range found;
        stage(&scene);
        struct buddyclient *client = client_of(&scene, "client", 5000);
        struct buddyclient *peer = client_of(&scene, "peer", 5000);
        for (int each = 0; each < 9; each++) {
                callers[each] = (struct caller){
                        .client = client, .peer = peer, .what = each, .timeout_ms = 5000};
                cr_assert_eq(buddyclient_alloc(client, 1, &callers[each].range), 0);
                stamp(client, &callers[each].range, each + 1);
        }
        scene_kill(&scene);
        for (int each = 0; each < 9; each++)
                pthread_create(&callers[each].thread, NULL, caller_run, &callers[each]);
        for (int pause = 0; pause < 50; pause++)
                moment_pass();
        scene_start(&scene, "--size", SIZE, NULL);
        for (int each = 0; each < 9; each++) {
                pthread_join(callers[each].thread, NULL);
                cr_assert_eq(callers[each].result, 0, "call %d: %d", each, callers[each].result);
        }
        /* Two of nine were returned, two more granted. */
        expect_held(client, 9 * SCENE_PAGE);
        expect_sound(&scene);
        cr_assert_eq(buddyclient_release(client, &callers[2].range), -ESTALE);
        cr_assert_eq(buddyclient_release(client, &callers[7].range), -ESTALE);
        cr_assert_eq(buddyclient_release(client, &callers[4].range), -ESTALE);
        cr_assert_eq(buddyclient_release(peer, &callers[4].range), 0);
        cr_assert_eq(buddyclient_release(client, &callers[3].range), 0);
        cr_assert_eq(buddyclient_lookup(peer, "five", &found), 0);
        cr_assert_eq(buddyclient_release(peer, &found), 0);
        cr_assert_eq(buddyclient_unpublish(peer, "five"), 0);
        int rest[] = {0, 1, 3, 5, 6, 8};
        for (int each = 0; each < 6; each++) {
                struct caller *caller = &callers[rest[each]];
                cr_assert(stamped(client, &caller->range, rest[each] + 1));
                cr_assert_eq(buddyclient_release(client, &caller->range), 0);
        }
        cr_assert_eq(buddyclient_release(client, &callers[0].found), 0);
        cr_assert_eq(buddyclient_release(client, &callers[1].found), 0);
        buddyclient_destroy(peer);
        unstage(&scene, client);
}

Test(reconnect, waiting_threads_go_on_waiting) {
        struct scene scene;
        struct caller callers[8];
        static struct buddyclient_range all[PAGES];
        stage(&scene);
        struct buddyclient *owner = client_of(&scene, "owner", 5000);
        struct buddyclient *client = client_of(&scene, "waiter", 5000);
        cr_assert_eq(buddyclient_alloc_many(owner, 1, PAGES, all), 0);
        for (int each = 0; each < 8; each++) {
                callers[each] = (struct caller){.client = client, .what = 1, .timeout_ms = -1};
                pthread_create(&callers[each].thread, NULL, caller_run, &callers[each]);
        }
        await_waiters(owner, 8);
        for (int round = 0; round < 3; round++) {
                crash(&scene);
                await_waiters(owner, 8);
                expect_held(owner, 4 * MIB);
        }
        scene_kill(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        cr_assert_eq(buddyclient_release_many(owner, all, 8), 0);
        for (int each = 0; each < 8; each++) {
                pthread_join(callers[each].thread, NULL);
                cr_assert_eq(callers[each].result, 0, "waiter %d: %d", each, callers[each].result);
                for (int before = 0; before < each; before++)
                        cr_assert_neq(callers[each].found.offset, callers[before].found.offset,
                                "granted twice");
        }
        expect_held(owner, 4 * MIB);
        for (int each = 0; each < 8; each++)
                cr_assert_eq(buddyclient_release(client, &callers[each].found), 0);
        cr_assert_eq(buddyclient_release_many(owner, all + 8, PAGES - 8), 0);
        buddyclient_destroy(client);
        unstage(&scene, owner);
}

Test(reconnect, a_wait_keeps_its_time) {
        struct scene scene;
        struct buddyclient_range all;
        stage(&scene);
        struct buddyclient *client = client_of(&scene, "waiter", 5000);
        cr_assert_eq(buddyclient_alloc(client, 4 * MIB, &all), 0);
        struct caller caller = {.client = client, .what = 1, .timeout_ms = 1500};
        pthread_create(&caller.thread, NULL, caller_run, &caller);
        await_waiters(client, 1);
        for (int round = 0; round < 3; round++) {
                for (int pause = 0; pause < 200; pause++)
                        moment_pass();
                crash(&scene);
        }
        pthread_join(caller.thread, NULL);
        cr_assert_eq(caller.result, -ETIMEDOUT, "%d", caller.result);
        cr_assert(caller.took_ms >= 1450 && caller.took_ms < 2600, "%lu ms", caller.took_ms);
        expect_held(client, 4 * MIB);
        cr_assert_eq(stats_of(client).waiters, 0);
        cr_assert_eq(buddyclient_release(client, &all), 0);
        unstage(&scene, client);
}

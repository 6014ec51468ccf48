/* How submissions end with their client: destroyed, forked, kicked, or its pool thrown away, with hundreds under way. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "outcome.h"

TestSuite(submit_end, .timeout = 120);

#define SIZE  "4M"
#define CROWD 600

static struct outcome crowd[CROWD];

static void stage(struct scene *scene) {
        scene_open(scene);
        scene_start(scene, "--size", SIZE, NULL);
}

/* 200 allocs, 200 waits (for more than there is) and 200 lookups of nothing. */
static void submit_crowd(struct buddyclient *client) {
        memset(crowd, 0, sizeof crowd);
        for (int each = 0; each < CROWD; each += 3) {
                cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &crowd[each]), 0);
                cr_assert_eq(buddyclient_submit_alloc_wait(
                                     client, 4 * MIB, -1, outcome_note, &crowd[each + 1]),
                        0);
                cr_assert_eq(
                        buddyclient_submit_lookup(client, "none", outcome_note, &crowd[each + 2]),
                        0);
        }
}

static void expect_each_told(const char *when) {
        for (int each = 0; each < CROWD; each++) {
                const struct outcome *outcome = &crowd[each];
                int other = each % 3 == 0 ? 0 : each % 3 == 1 ? -ENOTCONN : -ENOENT;
                cr_assert_eq(outcome->runs, 1, "%s: %d: %u times", when, each, outcome->runs);
                cr_assert(outcome->result == -ENOTCONN || outcome->result == other, "%s: %d: %d %s",
                        when, each, outcome->result, outcome->detail);
        }
}

/* ---- Destroy ---- */

enum when { UNSENT, SENT, HALF, STANDING, AWAY };

static void destroy_with_hundreds_under_way(
        struct scene *scene, struct buddyclient *client, enum when when, const char *name) {
        submit_crowd(client);
        if (when == SENT || when == HALF)
                cr_assert_geq(buddyclient_dispatch(client), 0);
        if (when == HALF)
                client_serve(client, &crowd[CROWD / 2].runs, 1);
        if (when == STANDING)
                scene_freeze(scene);
        if (when == AWAY)
                scene_kill(scene);
        if (when >= STANDING)
                buddyclient_dispatch(client);
        uint64_t begin = now_ms();
        buddyclient_destroy(client);
        uint64_t took = now_ms() - begin;
        cr_assert_leq(took, 5000, "%s: destroy took %lu ms", name, took);
        expect_each_told(name);
}

static void destroyed(enum when when, const char *name) {
        struct scene scene, self = {.daemon = getpid()};
        stage(&scene);
        struct buddyclient *observer = client_new(&scene);
        size_t before = scene_daemon_fds(&self);
        struct buddyclient *client = client_with(&scene, 0, IMPATIENT_MS);
        destroy_with_hundreds_under_way(&scene, client, when, name);
        cr_assert_eq(scene_daemon_fds(&self), before, "%s: descriptors are left", name);
        if (when == STANDING)
                scene_thaw(&scene);
        if (when == AWAY)
                scene_start(&scene, "--size", SIZE, NULL);
        if (when < STANDING) { /* else it is free when the process has ended */
                expect_held(observer, 0);
                cr_assert_eq(stats_of(observer).largest_free_bytes, 4 * MIB);
                cr_assert_eq(stats_of(observer).waiters, 0);
        }
        buddyclient_destroy(observer);
        scene_close(&scene);
}

Test(submit_end, destroyed_before_anything_is_sent) {
        destroyed(UNSENT, "unsent");
}

Test(submit_end, destroyed_when_all_is_sent) {
        destroyed(SENT, "sent");
}

Test(submit_end, destroyed_when_some_is_told) {
        destroyed(HALF, "half");
}

Test(submit_end, destroyed_while_the_daemon_stands) {
        destroyed(STANDING, "standing");
}

Test(submit_end, destroyed_while_the_daemon_is_away) {
        destroyed(AWAY, "away");
}

/* The daemon was there all the while, and the goodbye is in its socket behind the requests: a client that closes loses all. */
Test(submit_end, what_a_daemon_that_stood_grants_behind_a_goodbye_is_returned) {
        struct scene scene;
        stage(&scene);
        struct buddyclient *observer = client_new(&scene);
        struct buddyclient *client = client_with(&scene, 0, IMPATIENT_MS);
        destroy_with_hundreds_under_way(&scene, client, STANDING, "standing");
        scene_thaw(&scene);
        for (uint64_t end = now_ms() + PATIENCE_MS; stats_of(observer).clients > 1;)
                cr_assert_lt(
                        now_ms(), end); /* before it has granted anything, nothing is held either */
        await_held(observer, 0);
        cr_assert_eq(stats_of(observer).largest_free_bytes, 4 * MIB);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

/* A callback that is run by destroy may submit; that is refused or told, once, and comes to an end. */
struct stubborn {
        unsigned runs, accepted, dispatched;
        int last_refusal, last_call;
};

static void submit_again(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct stubborn *stubborn = data;
        (void)completion;
        stubborn->runs++;
        int rc = buddyclient_submit_find(client, "nobody", submit_again, stubborn);
        stubborn->accepted += rc == 0;
        stubborn->last_refusal = rc;
        stubborn->dispatched += buddyclient_dispatch(client) >= 0;
        struct buddyclient_range range;
        stubborn->last_call = buddyclient_alloc(client, 1, &range);
}

Test(submit_end, a_callback_that_submits_does_not_hold_up_destroy) {
        struct scene scene;
        struct stubborn stubborn = {0};
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 2000);
        for (int each = 0; each < 50; each++)
                stubborn.accepted +=
                        buddyclient_submit_find(client, "nobody", submit_again, &stubborn) == 0;
        cr_assert_eq(stubborn.accepted, 50);
        cr_assert_geq(buddyclient_dispatch(client), 0);
        uint64_t begin = now_ms();
        buddyclient_destroy(client);
        cr_assert_leq(now_ms() - begin, 5000);
        cr_assert_eq(
                stubborn.runs, stubborn.accepted, "%u of %u", stubborn.runs, stubborn.accepted);
        cr_assert_eq(stubborn.last_refusal, -ENOTCONN, "%d", stubborn.last_refusal);
        cr_assert_eq(stubborn.last_call, -ENOTCONN, "%d", stubborn.last_call);
        cr_assert_eq(stubborn.dispatched, 0, "dispatch inside of a callback");
        scene_close(&scene);
}

/* Grants that were had from the cache and never told go back as well. */
Test(submit_end, what_was_never_told_is_not_lost) {
        struct scene scene;
        static struct outcome takes[64];
        stage(&scene);
        struct buddyclient *observer = client_new(&scene);
        struct buddyclient_range ranges[8];
        struct buddyclient *client = client_with(&scene, 64 * 1024, 5000);
        for (int round = 0; round < 20; round++) {
                for (int each = 0; each < 8; each++)
                        cr_assert_eq(buddyclient_alloc(client, 1, &ranges[each]), 0);
                for (int each = 0; each < 8; each++)
                        cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
        }
        for (int each = 0; each < 64; each++)
                cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &takes[each]), 0);
        buddyclient_destroy(client);
        for (int each = 0; each < 64; each++) {
                cr_assert_eq(takes[each].runs, 1);
                cr_assert(takes[each].result == 0 || takes[each].result == -ENOTCONN);
        }
        expect_held(observer, 0);
        cr_assert_eq(stats_of(observer).largest_free_bytes, 4 * MIB);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

/* ---- Fork ---- */

/* In the child: 0, or which promise is broken. */
static int child_verdict(struct buddyclient *client) {
        struct outcome own = {0};
        struct buddyclient_range range = {0, SCENE_PAGE, 1};
        if (buddyclient_fd(client) != -ENOTCONN)
                return 1;
        if (buddyclient_submit_alloc(client, 1, outcome_note, &own) != -ENOTCONN)
                return 2;
        if (buddyclient_submit_release(client, &range, outcome_note, &own) != -ENOTCONN)
                return 3;
        if (buddyclient_submit_find(client, "x", outcome_note, &own) != -ENOTCONN)
                return 4;
        if (buddyclient_dispatch(client) != -ENOTCONN)
                return 5;
        if (buddyclient_submit_publish(client, "k", &range, outcome_note, &own) != -ENOTCONN ||
                buddyclient_submit_unpublish(client, "k", outcome_note, &own) != -ENOTCONN ||
                buddyclient_submit_lookup(client, "k", outcome_note, &own) != -ENOTCONN ||
                buddyclient_submit_attach(client, &range, outcome_note, &own) != -ENOTCONN ||
                buddyclient_submit_give(client, &range, 1, outcome_note, &own) != -ENOTCONN ||
                buddyclient_submit_alloc_wait(client, 1, 0, outcome_note, &own) != -ENOTCONN ||
                buddyclient_submit_release_many(client, &range, 1, NULL, NULL) != -ENOTCONN)
                return 8;
        buddyclient_destroy(client);
        for (int each = 0; each < CROWD; each++)
                if (crowd[each].runs != 0)
                        return 6;
        return own.runs != 0 ? 7 : 0;
}

static void forked(bool sent, uint64_t cache_bytes) {
        struct scene scene;
        stage(&scene);
        struct buddyclient *client = client_with(&scene, cache_bytes, 20000);
        int fd = buddyclient_fd(client);
        struct buddyclient_range all, none;
        struct buddyclient *owner = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(owner, MIB, &all), 0); /* no 4 MiB are free */
        submit_crowd(client);
        if (sent)
                cr_assert_geq(buddyclient_dispatch(client), 0);
        unsigned told = 0;
        for (int each = 0; each < CROWD; each++)
                told += crowd[each].runs;
        pid_t child = process_fork();
        if (child == 0) {
                memset(crowd, 0, sizeof crowd);
                _exit(child_verdict(client));
        }
        cr_assert_eq(process_wait(child), 0, "in the child");
        cr_assert_eq(buddyclient_fd(client), fd);
        for (int each = 0; each < CROWD; each++)
                if (each % 3 != 1)
                        outcome_await(client, &crowd[each], each % 3 == 0 ? 0 : -ENOENT);
        await_held(owner,
                MIB + CROWD / 3 * SCENE_PAGE); /* spares that found no room are on their way */
        cr_assert_eq(buddyclient_alloc(client, 4 * MIB, &none), -ENOMEM);
        buddyclient_destroy(client);
        expect_each_told("after the fork");
        expect_held(owner, MIB);
        buddyclient_destroy(owner);
        scene_close(&scene);
}

Test(submit_end, forked_before_anything_is_sent) {
        forked(false, 0);
}

Test(submit_end, forked_when_all_is_sent) {
        forked(true, 0);
}

Test(submit_end, forked_with_a_cache) {
        forked(true, 65536);
}

/* ---- The session is gone ---- */

static void kick(const struct scene *scene, uint32_t id) {
        char text[16];
        snprintf(text, sizeof text, "%u", id);
        const struct run *run = ctl(scene, "kick", text, NULL);
        cr_assert_eq(run->status, 0, "%s", run->err);
}

/* Serves until dispatch says that it is over. That the last callback has run is no event of its own. */
static void serve_to_the_end(struct buddyclient *client) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        int rc = 0;
        while (rc >= 0) {
                client_readable(client, 50);
                rc = buddyclient_dispatch(client);
                cr_assert_lt(now_ms(), deadline, "dispatch never says that the session is gone");
        }
        cr_assert_eq(rc, -ENOTCONN);
}

static void expect_over(struct buddyclient *client) {
        struct outcome late = {0};
        for (int each = 0; each < 3; each++)
                cr_assert_eq(buddyclient_dispatch(client), -ENOTCONN);
        cr_assert_str_not_empty(buddyclient_detail(client));
        int rc = buddyclient_submit_find(client, "x", outcome_note, &late);
        if (rc == 0) {
                cr_assert(client_readable(client, 5000));
                cr_assert_eq(buddyclient_dispatch(client), 1);
                cr_assert_eq(late.result, -ENOTCONN);
        } else {
                cr_assert_eq(rc, -ENOTCONN, "%d", rc);
                cr_assert_str_not_empty(buddyclient_detail(client));
        }
        cr_assert_eq(buddyclient_dispatch(client), -ENOTCONN);
        cr_assert_not(client_readable(client, 100), "readable for ever: an event loop would spin");
}

static void kicked(bool sent) {
        struct scene scene;
        stage(&scene);
        struct buddyclient *observer = client_new(&scene);
        struct buddyclient *client = client_with(&scene, 0, 5000);
        submit_crowd(client);
        if (sent) {
                cr_assert_geq(buddyclient_dispatch(client), 0);
                client_serve(client, &crowd[CROWD - 1].runs, 1);
        }
        kick(&scene, buddyclient_id(client));
        serve_to_the_end(client);
        expect_each_told("kicked");
        cr_assert_eq(buddyclient_fd(client) >= 0 || buddyclient_fd(client) == -ENOTCONN, 1);
        expect_over(client);
        await_held(observer, 0);
        buddyclient_destroy(client);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

Test(submit_end, kicked_before_anything_is_sent) {
        kicked(false);
}

Test(submit_end, kicked_while_hundreds_wait) {
        kicked(true);
}

Test(submit_end, a_pool_that_is_thrown_away) {
        struct scene scene;
        struct buddyclient_range held;
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        cr_assert_eq(buddyclient_alloc(client, 1, &held), 0);
        submit_crowd(client);
        cr_assert_geq(buddyclient_dispatch(client), 0);
        scene_kill(&scene);
        scene_start(&scene, "--size", SIZE, "--reset", NULL);
        serve_to_the_end(client);
        expect_each_told("thrown away");
        expect_over(client);
        memset(buddyclient_pointer(client, &held), 1, held.length);
        buddyclient_destroy(client);
        struct buddyclient *observer = client_new(&scene);
        expect_held(observer, 0);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

/* ---- Callbacks that go on while the client ends ---- */

struct cleaner {
        struct buddyclient_range range;
        struct outcome release;
        int accepted;
};

/* As programs clean up: what failed takes something else back. */
static void release_another(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct cleaner *cleaner = data;
        cr_assert_eq(completion->result, -ENOTCONN);
        cleaner->accepted = buddyclient_submit_release(
                client, &cleaner->range, outcome_note, &cleaner->release);
}

/* The daemon stands, so the cache is still open: what is served from it has its callback, too, or is refused. */
Test(submit_end, what_a_callback_of_destroy_submits_is_told_or_refused) {
        struct scene scene;
        struct cleaner cleaner = {.accepted = 1};
        stage(&scene);
        struct buddyclient *client = client_with(&scene, MIB, IMPATIENT_MS);
        cr_assert_eq(buddyclient_alloc(client, 1, &cleaner.range), 0);
        scene_freeze(&scene);
        cr_assert_eq(
                buddyclient_submit_alloc_wait(client, 4 * MIB, -1, release_another, &cleaner), 0);
        cr_assert_geq(buddyclient_dispatch(client), 0);
        buddyclient_destroy(client);
        cr_assert_leq(cleaner.accepted, 0, "its callback was not run");
        cr_assert_eq(cleaner.release.runs, cleaner.accepted == 0, "accepted with %d, told %u times",
                cleaner.accepted, cleaner.release.runs);
        scene_thaw(&scene);
        scene_close(&scene);
}

/* ---- Calls from callbacks of destroy ---- */

struct caller {
        struct buddyclient_range held[2], stale;
        unsigned runs;
};

static void expect_refused(struct buddyclient *client, int result, const char *call) {
        cr_assert_eq(result, -ENOTCONN, "%s: %d", call, result);
        cr_assert_str_not_empty(buddyclient_detail(client), "%s", call);
}

static void call_all(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct caller *caller = data;
        struct buddyclient_range out[2];
        cr_assert_eq(completion->result, -ENOTCONN);
        expect_refused(client, buddyclient_alloc(client, 1, out), "alloc");
        expect_refused(client, buddyclient_alloc_many(client, 1, 2, out), "alloc_many");
        expect_refused(client, buddyclient_alloc_wait(client, 1, 0, out), "alloc_wait");
        expect_refused(client, buddyclient_release(client, &caller->held[0]), "release");
        expect_refused(client, buddyclient_release(client, &caller->held[0]), "release again");
        expect_refused(client, buddyclient_release(client, &caller->stale), "a stale release");
        expect_refused(client, buddyclient_release_many(client, caller->held, 2), "release_many");
        expect_refused(client, buddyclient_attach(client, &caller->held[1]), "attach");
        expect_refused(client, buddyclient_publish(client, "key", &caller->held[1]), "publish");
        expect_refused(client, buddyclient_unpublish(client, "key"), "unpublish");
        expect_refused(client, buddyclient_lookup(client, "key", out), "lookup");
        uint32_t peer = buddyclient_id(client);
        expect_refused(client, buddyclient_give(client, &caller->held[1], peer), "give");
        expect_refused(client, buddyclient_find(client, "peer", &peer), "find");
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        expect_refused(client, buddyclient_stats(client, &stats), "stats");
        expect_refused(client, buddyclient_fd(client), "fd");
        expect_refused(client, buddyclient_dispatch(client), "dispatch");
        struct outcome own = {0};
        int result = buddyclient_submit_alloc(client, 1, outcome_note, &own);
        expect_refused(client, result, "submit_alloc");
        result = buddyclient_submit_release(client, &caller->held[1], outcome_note, &own);
        expect_refused(client, result, "submit_release");
        cr_assert_eq(own.runs, 0);
        caller->runs++;
}

/* Also what would be served by the cache, which nobody has closed: the daemon stands. */
Test(submit_end, every_call_in_a_callback_of_destroy_is_refused) {
        struct scene scene;
        struct caller caller = {.runs = 0};
        struct buddyclient_range cached[20];
        stage(&scene);
        struct buddyclient *client = client_with(&scene, MIB, IMPATIENT_MS);
        for (int each = 0; each < 20; each++)
                cr_assert_eq(buddyclient_alloc(client, 1, &cached[each]), 0);
        caller.held[0] = cached[0];
        caller.held[1] = cached[1];
        caller.stale = cached[2];
        for (int each = 2; each < 20; each++)
                cr_assert_eq(buddyclient_release(client, &cached[each]), 0);
        scene_freeze(&scene);
        cr_assert_eq(buddyclient_submit_alloc_wait(client, 4 * MIB, -1, call_all, &caller), 0);
        cr_assert_geq(buddyclient_dispatch(client), 0);
        buddyclient_destroy(client);
        cr_assert_eq(caller.runs, 1);
        scene_thaw(&scene);
        scene_close(&scene);
}

/* Submissions never wait: not for a daemon that stands, not for one that is gone, not for room in the socket. What must end, ends in
 * its time, and what comes late is made up for. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "outcome.h"
#include "tests/client/stretch.h"

TestSuite(submit_stall, .timeout = 240);

#define SIZE "16M"
#define CALL_MS                                                                                    \
        (E2E_SANITIZED ? 500u : 100u) /* that no call may take: far below any timeout here */
#define CROWD    10000
#define TIMEOUT  IMPATIENT_MS
#define TOLERANT (TIMEOUT + 2200)

static struct outcome crowd[CROWD];
static uint64_t longest;

static void expect_quick(const struct stretch *stretch, const char *what) {
        uint64_t took = stretch_ms(stretch);
        if (took > longest)
                longest = took;
        cr_assert_leq(took, CALL_MS, "%s took %lu ms", what, took);
}

#define TIMED(result, call)                                                                        \
        do {                                                                                       \
                struct stretch timed = stretch_begin();                                            \
                int rc_timed = (call);                                                             \
                expect_quick(&timed, #call);                                                       \
                cr_assert_eq(rc_timed, (result), "%s: %d", #call, rc_timed);                       \
        } while (0)

static void dispatch_timed(struct buddyclient *client) {
        struct stretch timed = stretch_begin();
        int rc = buddyclient_dispatch(client);
        expect_quick(&timed, "dispatch");
        cr_assert_geq(rc, 0);
}

static void stage(struct scene *scene) {
        scene_open(scene);
        scene_start(scene, "--size", SIZE, NULL);
}

static void expect_each_once(size_t count, int result) {
        for (size_t each = 0; each < count; each++) {
                cr_assert_eq(crowd[each].runs, 1, "%zu: %u times", each, crowd[each].runs);
                cr_assert_eq(crowd[each].result, result, "%zu: %d %s", each, crowd[each].result,
                        crowd[each].detail);
        }
}

static void serve(struct buddyclient *client, size_t count) {
        for (size_t each = 0; each < count; each++)
                client_serve(client, &crowd[each].runs, 1);
        cr_assert_eq(client_settle(client, 20), 0);
}

/* One of each kind, while nothing answers. */
static void submit_each_kind(struct buddyclient *client, struct buddyclient_range *held) {
        uint32_t self = buddyclient_id(client);
        struct outcome *o = crowd;
        TIMED(0, buddyclient_submit_alloc(client, 1, outcome_note, o++));
        TIMED(0, buddyclient_submit_alloc_wait(client, 1, -1, outcome_note, o++));
        TIMED(0, buddyclient_submit_alloc_many(client, 1, 9, outcome_note, o++));
        TIMED(0, buddyclient_submit_publish(client, "k", &held[4], outcome_note, o++));
        TIMED(0, buddyclient_submit_lookup(client, "k", outcome_note, o++));
        TIMED(0, buddyclient_submit_unpublish(client, "k", outcome_note, o++));
        TIMED(0, buddyclient_submit_attach(client, &held[4], outcome_note, o++));
        TIMED(0, buddyclient_submit_give(client, &held[0], self, outcome_note, o++));
        TIMED(0, buddyclient_submit_give_many(client, &held[1], 1, self, outcome_note, o++));
        TIMED(0, buddyclient_submit_release(client, &held[2], outcome_note, o++));
        TIMED(0, buddyclient_submit_release_many(client, &held[3], 1, outcome_note, o++));
        TIMED(0, buddyclient_submit_find(client, "me, myself", outcome_note, o++));
        for (int each = 0; each < 5; each++)
                dispatch_timed(client);
}
#define KINDS 12

static struct buddyclient *client_named(const struct scene *scene) {
        struct buddyclient *client = NULL;
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, scene->socket), 0);
        cr_assert_eq(buddyclient_set_pool(client, scene->pool), 0);
        cr_assert_eq(buddyclient_set_name(client, "me, myself"), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(client, 0), 0);
        cr_assert_eq(buddyclient_set_timeout_ms(client, 20000), 0);
        cr_assert_eq(buddyclient_connect(client), 0);
        return client;
}

/* 5 were held, 2 have gone, 1 + 1 + 9 have come. */
static void expect_each_kind_done(struct buddyclient *client) {
        serve(client, KINDS);
        expect_each_once(KINDS, 0);
        expect_held(client, (5 - 2 + 11) * SCENE_PAGE);
        cr_assert_eq(crowd[11].peer, buddyclient_id(client));
}

Test(submit_stall, no_kind_waits_for_a_daemon_that_stands) {
        struct scene scene;
        struct buddyclient_range held[5];
        stage(&scene);
        struct buddyclient *client = client_named(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, 1, 5, held), 0);
        scene_freeze(&scene);
        submit_each_kind(client, held);
        scene_thaw(&scene);
        expect_each_kind_done(client);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(submit_stall, no_kind_waits_for_a_daemon_that_is_gone) {
        struct scene scene;
        struct buddyclient_range held[5];
        stage(&scene);
        struct buddyclient *client = client_named(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, 1, 5, held), 0);
        scene_kill(&scene);
        submit_each_kind(client, held);
        scene_start(&scene, "--size", SIZE, NULL);
        expect_each_kind_done(client);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* The next daemon accepts, and says nothing: a connection that is half made. */
Test(submit_stall, nobody_waits_for_a_daemon_that_comes_back_standing) {
        struct scene scene;
        struct buddyclient_range held[5];
        stage(&scene);
        struct buddyclient *client = client_named(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, 1, 5, held), 0);
        scene_kill(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        scene_freeze(&scene);
        submit_each_kind(client, held);
        uint64_t end = now_ms() + 300;
        while (now_ms() < end)
                if (client_readable(client, 20))
                        dispatch_timed(client);
        scene_thaw(&scene);
        expect_each_kind_done(client);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* More than any socket takes. */
Test(submit_stall, full_buffers_stop_nobody) {
        struct scene scene;
        struct buddyclient_range range;
        char key[240];
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, 60000);
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        scene_freeze(&scene);
        for (int each = 0; each < CROWD; each++) {
                snprintf(key, sizeof key, "%0239d", each % 10);
                TIMED(0, buddyclient_submit_publish(
                                 client, key, &range, outcome_note, &crowd[each]));
                if (each % 10 == 0)
                        dispatch_timed(client);
        }
        unsigned wakes = 0;
        for (uint64_t end = now_ms() + 500; now_ms() < end;)
                if (client_readable(client, 20)) {
                        dispatch_timed(client);
                        wakes++;
                }
        cr_assert_leq(wakes, 60, "woken %u times for a full socket", wakes);
        scene_thaw(&scene);
        serve(client, CROWD);
        expect_each_once(CROWD, 0);
        for (int each = 0; each < 10; each++) {
                snprintf(key, sizeof key, "%0239d", each);
                cr_assert_eq(buddyclient_unpublish(client, key), 0);
        }
        expect_held(client, SCENE_PAGE);
        buddyclient_destroy(client);
        scene_close(&scene);
}

#define BATCH   4096
#define BATCHES 16
static struct buddyclient_range batches[BATCHES][BATCH];

/* Requests that are themselves large: each 48 KiB. */
Test(submit_stall, large_batches_stop_nobody) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "256M", "--commit", "lazy", NULL);
        struct buddyclient *client = client_with(&scene, 0, 60000);
        for (int each = 0; each < BATCHES; each++)
                cr_assert_eq(buddyclient_alloc_many(client, 1, BATCH, batches[each]), 0);
        scene_freeze(&scene);
        for (int each = 0; each < BATCHES; each++) {
                TIMED(0, buddyclient_submit_give_many(client, batches[each], BATCH,
                                 buddyclient_id(client), outcome_note, &crowd[each]));
                dispatch_timed(client);
        }
        scene_thaw(&scene);
        serve(client, BATCHES);
        expect_each_once(BATCHES, 0);
        expect_held(client, 256 * MIB);
        buddyclient_destroy(client);
        struct buddyclient *observer = client_new(&scene);
        expect_held(observer, 0);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

static unsigned batches_granted;

static void keep_batch(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        (void)client;
        if (completion->result == 0 && completion->count == BATCH)
                memcpy(data, completion->ranges, BATCH * sizeof *completion->ranges);
        batches_granted++;
}

Test(submit_stall, large_answers_and_releases_stop_nobody) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "256M", "--commit", "lazy", NULL);
        struct buddyclient *client = client_with(&scene, 0, 60000);
        for (int each = 0; each < BATCHES; each++)
                TIMED(0,
                        buddyclient_submit_alloc_many(client, 1, BATCH, keep_batch, batches[each]));
        client_serve(client, &batches_granted, BATCHES);
        expect_held(client, 256 * MIB);
        scene_freeze(&scene);
        for (int each = 0; each < BATCHES; each++) {
                TIMED(0, buddyclient_submit_release_many(
                                 client, batches[each], BATCH, outcome_note, &crowd[each]));
                dispatch_timed(client);
        }
        scene_thaw(&scene);
        serve(client, BATCHES);
        expect_each_once(BATCHES, 0);
        expect_held(client, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* ---- Time that runs out ---- */

static void expect_in_time(const struct outcome *outcome, uint64_t begin, const char *what) {
        uint64_t took = outcome->since_ms - begin;
        cr_assert(took >= TIMEOUT - 5 && took < TOLERANT, "%s: told after %lu ms of %d", what, took,
                TIMEOUT);
        cr_assert_str_not_empty(outcome->detail);
}

/* A grant that comes when nobody wants it any more goes back by itself, and a release that was given up is made up for. */
Test(submit_stall, a_daemon_that_stands_ends_in_not_connected) {
        struct scene scene;
        struct buddyclient_range back;
        struct outcome alloc = {0}, many = {0}, release = {0}, find = {0};
        stage(&scene);
        struct buddyclient *observer = client_new(&scene);
        struct buddyclient *client = client_with(&scene, 0, TIMEOUT);
        cr_assert_eq(buddyclient_alloc(client, 1, &back), 0);
        scene_freeze(&scene);
        uint64_t begin = now_ms();
        TIMED(0, buddyclient_submit_alloc(client, 1, outcome_note, &alloc));
        TIMED(0, buddyclient_submit_alloc_many(client, 1, 100, outcome_note, &many));
        TIMED(0, buddyclient_submit_release(client, &back, outcome_note, &release));
        TIMED(0, buddyclient_submit_find(client, "nobody", outcome_note, &find));
        outcome_await(client, &find, -ENOTCONN);
        outcome_await(client, &alloc, -ENOTCONN);
        outcome_await(client, &many, -ENOTCONN);
        outcome_await(client, &release, -ENOTCONN);
        expect_in_time(&alloc, begin, "alloc");
        expect_in_time(&release, begin, "release");
        expect_in_time(&find, begin, "find");
        cr_assert_eq(alloc.count + many.count, 0);
        cr_assert_not(client_readable(client, 100));
        scene_thaw(&scene);
        struct outcome next = {0};
        cr_assert_eq(buddyclient_submit_find(client, "nobody", outcome_note, &next), 0);
        outcome_await(client, &next, -ENOENT);
        await_held(observer, 0);
        cr_assert_eq(client_settle(client, 50), 0);
        cr_assert_eq(alloc.runs + many.runs + release.runs + find.runs, 4);
        cr_assert_eq(buddyclient_release(client, &back), -ESTALE);
        buddyclient_destroy(client);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

/* By itself: also if the program does nothing more than to watch the descriptor. */
Test(submit_stall, what_is_granted_late_goes_back_without_another_request) {
        struct scene scene;
        struct outcome alloc = {0};
        stage(&scene);
        struct buddyclient *observer = client_new(&scene);
        struct buddyclient *client = client_with(&scene, 0, TIMEOUT);
        scene_freeze(&scene);
        cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &alloc), 0);
        outcome_await(client, &alloc, -ENOTCONN);
        scene_thaw(&scene);
        uint64_t deadline = now_ms() + 5000;
        bool was_held = false;
        for (uint64_t held = 1; now_ms() < deadline && (held > 0 || !was_held);) {
                held = stats_of(observer).held_bytes;
                was_held = was_held || held > 0 || stats_of(observer).frees_total > 0;
                if (client_readable(client, 5))
                        cr_assert_geq(buddyclient_dispatch(client), 0);
        }
        expect_held(observer, 0);
        cr_assert_eq(stats_of(observer).frees_total, stats_of(observer).allocs_total);
        buddyclient_destroy(client);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

Test(submit_stall, a_daemon_that_is_gone_ends_in_not_connected) {
        struct scene scene;
        struct outcome early = {0}, later = {0}, next = {0};
        struct buddyclient_range held;
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, TIMEOUT);
        cr_assert_eq(buddyclient_alloc(client, 1, &held), 0);
        scene_kill(&scene);
        uint64_t begin = now_ms();
        TIMED(0, buddyclient_submit_alloc(client, 1, outcome_note, &early));
        outcome_await(client, &early, -ENOTCONN);
        expect_in_time(&early, begin, "the first");
        client_settle(client, 100);
        begin = now_ms();
        int rc = buddyclient_submit_alloc(client, 1, outcome_note, &later);
        if (rc == 0)
                outcome_await(
                        client, &later, -ENOTCONN); /* tries again, for its time or what is left */
        else
                cr_assert_eq(rc, -ENOTCONN);
        cr_assert_leq(now_ms() - begin, TOLERANT);
        client_settle(client, 100);
        scene_start(&scene, "--size", SIZE, NULL);
        cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &next), 0);
        outcome_await(client, &next, 0);
        expect_held(client, 2 * SCENE_PAGE);
        cr_assert_eq(buddyclient_release(client, &held), 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* The daemon keeps a waiter's time; the client's own comes on top of it. */
Test(submit_stall, a_wait_ends_only_after_both_times) {
        struct scene scene;
        struct buddyclient_range all;
        struct outcome waiter = {0}, patient = {0};
        stage(&scene);
        struct buddyclient *owner = client_new(&scene);
        struct buddyclient *client = client_with(&scene, 0, TIMEOUT);
        cr_assert_eq(buddyclient_alloc(owner, 16 * MIB, &all), 0);
        uint64_t begin = now_ms();
        cr_assert_eq(
                buddyclient_submit_alloc_wait(client, 1, TIMEOUT + 100, outcome_note, &waiter), 0);
        cr_assert_eq(
                buddyclient_submit_alloc_wait(client, 1, TIMEOUT + 600, outcome_note, &patient), 0);
        client_settle(client, 50);
        await_waiters(owner, 2);
        outcome_await(client, &patient, -ETIMEDOUT); /* beyond the client's own time */
        cr_assert_geq(patient.since_ms - begin, TIMEOUT + 595);
        cr_assert_eq(waiter.result, -ETIMEDOUT);
        waiter = (struct outcome){0};
        begin = now_ms();
        cr_assert_eq(buddyclient_submit_alloc_wait(client, 1, 1500, outcome_note, &waiter), 0);
        client_settle(client, 50);
        await_waiters(owner, 1);
        scene_freeze(&scene);
        outcome_await(client, &waiter, -ENOTCONN);
        uint64_t took = waiter.since_ms - begin;
        cr_assert(took >= 1500 + TIMEOUT - 5 && took < 1500 + TOLERANT, "%lu ms", took);
        scene_thaw(&scene);
        await_waiters(owner, 0);
        cr_assert_eq(buddyclient_release(owner, &all), 0);
        await_held(owner, 0);
        buddyclient_destroy(client);
        buddyclient_destroy(owner);
        scene_close(&scene);
}

/* Without a limit nothing is given up. */
Test(submit_stall, without_a_timeout_it_lasts) {
        struct scene scene;
        struct outcome alloc = {0}, away = {0};
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, -1);
        scene_freeze(&scene);
        cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &alloc), 0);
        cr_assert_eq(client_settle(client, 1000), 0);
        scene_thaw(&scene);
        outcome_await(client, &alloc, 0);
        scene_kill(&scene);
        cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &away), 0);
        for (uint64_t end = now_ms() + 1000; now_ms() < end;)
                if (client_readable(client, 50))
                        dispatch_timed(client);
        cr_assert_eq(away.runs, 0);
        scene_start(&scene, "--size", SIZE, NULL);
        outcome_await(client, &away, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* Thousands are given up, most of which the socket never took; what was granted of them goes back. */
static void crowd_given_up(bool crash) {
        struct scene scene;
        struct outcome next = {0};
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 0, TIMEOUT);
        memset(crowd, 0, sizeof crowd);
        scene_freeze(&scene);
        for (int each = 0; each < CROWD; each++)
                cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &crowd[each]), 0);
        serve(client, CROWD);
        expect_each_once(CROWD, -ENOTCONN);
        scene_thaw(&scene);
        if (crash) {
                scene_kill(&scene);
                scene_start(&scene, "--size", SIZE, NULL);
        }
        uint64_t deadline = now_ms() + PATIENCE_MS;
        for (int rc = -1; rc != 0 || next.result != 0;) {
                cr_assert_lt(now_ms(), deadline, "%d %d %s", rc, next.result, next.detail);
                next = (struct outcome){.result = -1};
                rc = buddyclient_submit_alloc(client, 1, outcome_note, &next);
                if (rc == 0)
                        client_serve(client, &next.runs, 1);
        }
        while (stats_of(client).held_bytes != SCENE_PAGE) {
                cr_assert_lt(
                        now_ms(), deadline, "%lu bytes held for good", stats_of(client).held_bytes);
                cr_assert_geq(buddyclient_dispatch(client), 0);
        }
        expect_each_once(CROWD, -ENOTCONN);
        cr_assert_eq(buddyclient_release(client, &next.ranges[0]), 0);
        expect_held(client, 0);
        cr_assert_eq(stats_of(client).largest_free_bytes, 16 * MIB);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(submit_stall, a_crowd_that_is_given_up_leaves_nothing) {
        crowd_given_up(false);
}

Test(submit_stall, a_crowd_that_is_given_up_leaves_nothing_over_a_crash) {
        crowd_given_up(true);
}

/* From a cache nothing is asked of the daemon: it may stand. */
Test(submit_stall, the_cache_needs_no_daemon) {
        struct scene scene;
        struct buddyclient_range ranges[8];
        struct outcome take = {0}, back = {0};
        stage(&scene);
        struct buddyclient *client = client_with(&scene, 128 * 1024, 20000);
        for (int round = 0; round < 50; round++) {
                for (int each = 0; each < 8; each++)
                        cr_assert_eq(buddyclient_alloc(client, 1, &ranges[each]), 0);
                for (int each = 0; each < 8; each++)
                        cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
        }
        scene_freeze(&scene);
        TIMED(0, buddyclient_submit_alloc(client, 1, outcome_note, &take));
        cr_assert(client_readable(client, 1000));
        dispatch_timed(client);
        cr_assert_eq(take.runs, 1, "what is in the cache is told by the next dispatch");
        cr_assert_eq(take.result, 0);
        TIMED(0, buddyclient_submit_release(client, &take.ranges[0], outcome_note, &back));
        cr_assert(client_readable(client, 1000));
        dispatch_timed(client);
        cr_assert_eq(back.runs, 1);
        cr_assert_eq(back.result, 0);
        scene_thaw(&scene);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* Submissions, kind by kind: what the callback is told, who is refused and how, what is copied, and which arguments are bad. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "submit_stage.h"

TestSuite(submit, .timeout = 60);

/* ---- Grants ---- */

Test(submit, alloc) {
        struct stage stage;
        struct outcome outcome = {0};
        stage_open(&stage);
        cr_assert_eq(buddyclient_submit_alloc(stage.client, 5000, outcome_note, &outcome), 0);
        cr_assert_eq(outcome.runs, 0, "a callback outside of dispatch");
        outcome_await(stage.client, &outcome, 0);
        cr_assert_eq(outcome.count, 1);
        cr_assert_eq(outcome.peer, 0);
        cr_assert_eq(outcome.ranges[0].length, 2 * SCENE_PAGE);
        memset(buddyclient_pointer(stage.client, &outcome.ranges[0]), 1, 2 * SCENE_PAGE);
        expect_held(stage.peer, 2 * SCENE_PAGE);
        cr_assert_eq(buddyclient_release(stage.client, &outcome.ranges[0]), 0);
        cr_assert_eq(buddyclient_release(stage.client, &outcome.ranges[0]), -ESTALE);
        stage_close(&stage);
}

Test(submit, alloc_refusals) {
        struct stage stage;
        stage_open(&stage);
        struct buddyclient_range held = stage_grant(&stage, STAGE_BYTES);
        struct outcome outcomes[5] = {0};
        outcome_refused(stage.client, &outcomes[0],
                buddyclient_submit_alloc(stage.client, 1, outcome_note, &outcomes[0]), -ENOMEM);
        outcome_refused(stage.client, &outcomes[1],
                buddyclient_submit_alloc(stage.client, STAGE_BYTES + 1, outcome_note, &outcomes[1]),
                -E2BIG);
        outcome_refused(stage.client, &outcomes[2],
                buddyclient_submit_alloc(stage.client, UINT64_MAX, outcome_note, &outcomes[2]),
                -E2BIG);
        cr_assert_eq(
                buddyclient_submit_alloc(stage.client, 0, outcome_note, &outcomes[3]), -EINVAL);
        cr_assert_str_not_empty(buddyclient_detail(stage.client));
        cr_assert_eq(buddyclient_submit_alloc(stage.client, 1, NULL, NULL), -EINVAL);
        client_settle(stage.client, 50);
        cr_assert_eq(outcomes[3].runs, 0);
        stage_expect_untouched(&stage, &held);
}

/* With the same words as the call that waits, and only inside the callback that they belong to. */
Test(submit, the_reason_is_told_in_the_callback) {
        struct stage stage;
        struct buddyclient_range range;
        struct outcome no_space = {0}, no_key = {0}, fine = {0};
        char said[160];
        stage_open(&stage);
        struct buddyclient_range held = stage_grant(&stage, STAGE_BYTES / 2);
        cr_assert_eq(buddyclient_alloc(stage.client, STAGE_BYTES, &range), -ENOMEM);
        snprintf(said, sizeof said, "%s", buddyclient_detail(stage.client));
        cr_assert_eq(
                buddyclient_submit_alloc(stage.client, STAGE_BYTES, outcome_note, &no_space), 0);
        cr_assert_eq(buddyclient_submit_alloc(stage.client, 1, outcome_note, &fine), 0);
        cr_assert_eq(
                buddyclient_submit_lookup(stage.client, "not there", outcome_note, &no_key), 0);
        outcome_await(stage.client, &no_space, -ENOMEM);
        outcome_await(stage.client, &fine, 0);
        outcome_await(stage.client, &no_key, -ENOENT);
        cr_assert_str_eq(no_space.detail, said);
        cr_assert(has_digit(no_space.detail), "%s", no_space.detail);
        cr_assert_str_not_empty(no_key.detail);
        cr_assert_str_neq(no_key.detail, no_space.detail);
        stage_return(&stage, &fine.ranges[0]);
        stage_expect_untouched(&stage, &held);
}

Test(submit, alloc_many) {
        struct stage stage;
        struct outcome outcome = {0}, none = {0};
        stage_open(&stage);
        cr_assert_eq(
                buddyclient_submit_alloc_many(stage.client, SCENE_PAGE, 16, outcome_note, &outcome),
                0);
        outcome_await(stage.client, &outcome, 0);
        cr_assert_eq(outcome.count, 16);
        for (int each = 0; each < 16; each++)
                for (int before = 0; before < each; before++)
                        cr_assert_neq(outcome.ranges[each].offset, outcome.ranges[before].offset);
        expect_held(stage.peer, 16 * SCENE_PAGE);
        outcome_refused(stage.client, &none,
                buddyclient_submit_alloc_many(stage.client, SCENE_PAGE, 241, outcome_note, &none),
                -ENOMEM);
        expect_held(stage.peer, 16 * SCENE_PAGE);
        none = (struct outcome){0};
        cr_assert_eq(
                buddyclient_submit_alloc_many(stage.client, 1, 0, outcome_note, &none), -EINVAL);
        cr_assert_eq(
                buddyclient_submit_alloc_many(stage.client, 1, 4097, outcome_note, &none), -EINVAL);
        cr_assert_eq(
                buddyclient_submit_alloc_many(stage.client, 0, 1, outcome_note, &none), -EINVAL);
        cr_assert_eq(buddyclient_submit_alloc_many(stage.client, 1, 1, NULL, NULL), -EINVAL);
        client_settle(stage.client, 50);
        cr_assert_eq(none.runs, 0);
        cr_assert_eq(buddyclient_release_many(stage.client, outcome.ranges, 16), 0);
        stage_close(&stage);
}

static size_t many_seen;
static struct buddyclient_range many[4096];

static void keep_many(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        (void)client;
        (void)data;
        many_seen = completion->count;
        memcpy(many, completion->ranges, completion->count * sizeof *many);
}

Test(submit, as_many_as_a_request_takes) {
        struct scene scene;
        struct outcome outcome = {0};
        scene_open(&scene);
        scene_start(&scene, "--size", "16M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_submit_alloc_many(client, 1, 4096, keep_many, NULL), 0);
        while (many_seen == 0) {
                cr_assert(client_readable(client, PATIENCE_MS));
                cr_assert_geq(buddyclient_dispatch(client), 0);
        }
        cr_assert_eq(many_seen, 4096);
        expect_held(client, 16 * MIB);
        cr_assert_eq(buddyclient_submit_release_many(client, many, 4097, outcome_note, &outcome),
                -EINVAL);
        cr_assert_eq(
                buddyclient_submit_release_many(client, many, 4096, outcome_note, &outcome), 0);
        outcome_await(client, &outcome, 0);
        expect_held(client, 0);
        cr_assert_eq(stats_of(client).largest_free_bytes, 16 * MIB);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* ---- Releases ---- */

Test(submit, release) {
        struct stage stage;
        struct outcome outcome = {0}, again = {0};
        stage_open(&stage);
        struct buddyclient_range held = stage_grant(&stage, 1), copy = held;
        cr_assert_eq(buddyclient_submit_release(stage.client, &copy, outcome_note, &outcome), 0);
        memset(&copy, 0xff, sizeof copy);
        outcome_await(stage.client, &outcome, 0);
        cr_assert_eq(outcome.count, 0);
        expect_held(stage.peer, 0);
        outcome_refused(stage.client, &again,
                buddyclient_submit_release(stage.client, &held, outcome_note, &again), -ESTALE);
        stage_close(&stage);
}

/* Whoever returns it twice is told so once, in whatever order the daemon hears of it. */
Test(submit, what_is_submitted_twice_is_returned_once) {
        struct stage stage;
        struct outcome outcomes[3] = {0};
        stage_open(&stage);
        struct buddyclient_range held = stage_grant(&stage, 1);
        int done = 0, rcs[3], rc;
        rcs[0] = buddyclient_submit_release(stage.client, &held, outcome_note, &outcomes[0]);
        rcs[1] = buddyclient_submit_release(stage.client, &held, outcome_note, &outcomes[1]);
        cr_assert_eq(rcs[0], 0);
        rc = buddyclient_release(stage.client, &held);
        rcs[2] = buddyclient_submit_give(
                stage.client, &held, buddyclient_id(stage.peer), outcome_note, &outcomes[2]);
        cr_assert(rc == 0 || rc == -ESTALE, "%d", rc);
        done += rc == 0;
        for (int each = 0; each < 3; each++) {
                if (rcs[each] == 0)
                        client_serve(stage.client, &outcomes[each].runs, 1);
                int result = rcs[each] == 0 ? outcomes[each].result : rcs[each];
                cr_assert(result == 0 || result == -ESTALE, "%d: %d", each, result);
                done += result == 0;
        }
        cr_assert_eq(done, 1, "%d of them were done", done);
        stage_close(&stage);
}

Test(submit, release_refusals) {
        struct stage stage;
        struct outcome outcomes[7] = {0};
        stage_open(&stage);
        struct buddyclient_range held = stage_grant(&stage, 4 * SCENE_PAGE), foreign;
        cr_assert_eq(buddyclient_alloc(stage.peer, 1, &foreign), 0);
        struct buddyclient_range old = held, interior = held, shorter = held;
        old.generation++;
        interior.offset += SCENE_PAGE;
        interior.length = SCENE_PAGE;
        shorter.length /= 2;
        struct buddyclient_range outside = {2 * STAGE_BYTES, SCENE_PAGE, 1}, askew = {1, 2, 3};
        const struct {
                const struct buddyclient_range *range;
                int error, or ;
        } cases[] = {{&foreign, -ESTALE, -ESTALE}, {&old, -EINVAL, -ESTALE},
                {&interior, -EINVAL, -ESTALE}, {&shorter, -EINVAL, -ESTALE},
                {&outside, -EINVAL, -EINVAL}, {&askew, -EINVAL, -EINVAL}};
        for (int each = 0; each < 6; each++) {
                int said = buddyclient_release(stage.client, cases[each].range);
                cr_assert(
                        said == cases[each].error || said == cases[each].or, "%d: %d", each, said);
                int rc = buddyclient_submit_release(
                        stage.client, cases[each].range, outcome_note, &outcomes[each]);
                outcome_refused(stage.client, &outcomes[each], rc, said);
        }
        cr_assert_eq(buddyclient_submit_release(stage.client, NULL, outcome_note, &outcomes[6]),
                -EINVAL);
        cr_assert_eq(buddyclient_release(stage.peer, &foreign), 0);
        stage_expect_untouched(&stage, &held);
}

Test(submit, release_many_is_all_or_none) {
        struct stage stage;
        struct outcome outcome = {0}, refused = {0}, bad = {0};
        struct buddyclient_range ranges[8], *copy = malloc(sizeof ranges);
        stage_open(&stage);
        cr_assert_eq(buddyclient_alloc_many(stage.client, 1, 8, ranges), 0);
        struct buddyclient_range twice[] = {ranges[0], ranges[1], ranges[0]};
        outcome_refused(stage.client, &refused,
                buddyclient_submit_release_many(stage.client, twice, 3, outcome_note, &refused),
                -ESTALE);
        expect_held(stage.peer, 8 * SCENE_PAGE);
        cr_assert_eq(buddyclient_submit_release_many(stage.client, ranges, 0, outcome_note, &bad),
                -EINVAL);
        cr_assert_eq(buddyclient_submit_release_many(stage.client, NULL, 1, outcome_note, &bad),
                -EINVAL);
        memcpy(copy, ranges, sizeof ranges);
        cr_assert_eq(
                buddyclient_submit_release_many(stage.client, copy, 8, outcome_note, &outcome), 0);
        memset(copy, 0xff, sizeof ranges);
        free(copy);
        outcome_await(stage.client, &outcome, 0);
        client_settle(stage.client, 50);
        cr_assert_eq(bad.runs, 0);
        stage_close(&stage);
}

Test(submit, where_nothing_is_to_be_had_no_callback_is_needed) {
        struct stage stage;
        struct buddyclient_range found;
        struct outcome last = {0};
        stage_open(&stage);
        struct buddyclient_range a = stage_grant(&stage, 1), b = stage_grant(&stage, 1);
        struct buddyclient_range c = stage_grant(&stage, 1);
        cr_assert_eq(buddyclient_submit_release(stage.client, &a, NULL, NULL), 0);
        cr_assert_eq(buddyclient_submit_release_many(stage.client, &b, 1, NULL, NULL), 0);
        cr_assert_eq(buddyclient_submit_publish(stage.client, "kept", &c, NULL, NULL), 0);
        cr_assert_eq(buddyclient_submit_publish(stage.client, "gone", &c, NULL, NULL), 0);
        cr_assert_eq(buddyclient_submit_unpublish(stage.client, "gone", NULL, NULL), 0);
        cr_assert_eq(buddyclient_submit_unpublish(stage.client, "never", NULL, NULL), 0);
        cr_assert_eq(buddyclient_submit_lookup(stage.client, "kept", outcome_note, &last), 0);
        outcome_await(stage.client, &last, 0);
        expect_held(stage.peer, SCENE_PAGE);
        cr_assert_eq(buddyclient_lookup(stage.peer, "gone", &found), -ENOENT);
        cr_assert_eq(buddyclient_unpublish(stage.peer, "kept"), 0);
        stage_return(&stage, &c);
        stage_return(&stage, &c);
        stage_close(&stage);
}

/* Where something is to be had, it would be lost. */
Test(submit, what_is_had_needs_a_callback) {
        struct stage stage;
        stage_open(&stage);
        cr_assert_eq(buddyclient_submit_alloc(stage.client, 1, NULL, NULL), -EINVAL);
        cr_assert_eq(buddyclient_submit_alloc_wait(stage.client, 1, 0, NULL, NULL), -EINVAL);
        cr_assert_eq(buddyclient_submit_alloc_many(stage.client, 1, 1, NULL, NULL), -EINVAL);
        cr_assert_eq(buddyclient_submit_lookup(stage.client, "key", NULL, NULL), -EINVAL);
        cr_assert_eq(buddyclient_submit_find(stage.client, "name", NULL, NULL), -EINVAL);
        cr_assert_str_not_empty(buddyclient_detail(stage.client));
        stage_close(&stage);
}

/* ---- Who may not ---- */

Test(submit, a_read_only_client_attaches_looks_up_and_releases) {
        struct stage stage;
        struct buddyclient *reader = NULL;
        struct outcome outcomes[8] = {0};
        stage_open(&stage);
        struct buddyclient_range held = stage_grant(&stage, 1);
        cr_assert_eq(buddyclient_publish(stage.client, "k", &held), 0);
        cr_assert_eq(buddyclient_new(&reader), 0);
        cr_assert_eq(buddyclient_set_socket(reader, stage.scene.socket), 0);
        cr_assert_eq(buddyclient_set_pool(reader, stage.scene.pool), 0);
        cr_assert_eq(buddyclient_set_read_only(reader, true), 0);
        cr_assert_eq(buddyclient_connect(reader), 0);
        outcome_refused(reader, &outcomes[0],
                buddyclient_submit_alloc(reader, 1, outcome_note, &outcomes[0]), -EACCES);
        outcome_refused(reader, &outcomes[1],
                buddyclient_submit_alloc_wait(reader, 1, 1000, outcome_note, &outcomes[1]),
                -EACCES);
        outcome_refused(reader, &outcomes[2],
                buddyclient_submit_unpublish(reader, "k", outcome_note, &outcomes[2]), -EACCES);
        cr_assert_eq(buddyclient_submit_lookup(reader, "k", outcome_note, &outcomes[3]), 0);
        cr_assert_eq(buddyclient_submit_attach(reader, &held, outcome_note, &outcomes[4]), 0);
        outcome_await(reader, &outcomes[3], 0);
        outcome_await(reader, &outcomes[4], 0);
        outcome_refused(reader, &outcomes[5],
                buddyclient_submit_give(
                        reader, &held, buddyclient_id(stage.peer), outcome_note, &outcomes[5]),
                -EACCES);
        outcome_refused(reader, &outcomes[6],
                buddyclient_submit_publish(reader, "l", &held, outcome_note, &outcomes[6]),
                -EACCES);
        struct outcome back[2] = {0};
        for (int each = 0; each < 2; each++) {
                cr_assert_eq(
                        buddyclient_submit_release(reader, &held, outcome_note, &back[each]), 0);
                outcome_await(reader, &back[each], 0);
        }
        buddyclient_destroy(reader);
        cr_assert_eq(buddyclient_unpublish(stage.client, "k"), 0);
        stage_expect_untouched(&stage, &held);
}

Test(submit, before_connect) {
        struct buddyclient *client = NULL;
        struct buddyclient_range range = {0, SCENE_PAGE, 1};
        struct outcome outcome = {0};
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_fd(client), -ENOTCONN);
        cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &outcome), -ENOTCONN);
        cr_assert_eq(buddyclient_submit_release(client, &range, outcome_note, &outcome), -ENOTCONN);
        cr_assert_eq(buddyclient_submit_find(client, "x", outcome_note, &outcome), -ENOTCONN);
        cr_assert_lt(buddyclient_dispatch(client), 1);
        buddyclient_destroy(client);
        cr_assert_eq(outcome.runs, 0);
}

/* ---- Waiting ---- */

Test(submit, alloc_wait) {
        struct stage stage;
        struct outcome now = {0}, timed_out = {0}, none = {0}, later = {0}, bad = {0};
        stage_open(&stage);
        cr_assert_eq(
                buddyclient_submit_alloc_wait(stage.client, STAGE_BYTES, -1, outcome_note, &now),
                0);
        outcome_await(stage.client, &now, 0);
        cr_assert_eq(now.count, 1);
        uint64_t begin = now_ms();
        cr_assert_eq(
                buddyclient_submit_alloc_wait(stage.client, 1, 300, outcome_note, &timed_out), 0);
        outcome_await(stage.client, &timed_out, -ETIMEDOUT);
        uint64_t took = timed_out.since_ms - begin;
        cr_assert(took >= 295 && took < 2000, "300 ms took %lu", took);
        cr_assert_str_not_empty(timed_out.detail);
        cr_assert_eq(stats_of(stage.peer).waiters, 0);
        cr_assert_eq(buddyclient_submit_alloc_wait(stage.client, 1, 0, outcome_note, &none), 0);
        client_serve(stage.client, &none.runs, 1);
        cr_assert(none.result == -ETIMEDOUT || none.result == -ENOMEM, "%d", none.result);
        cr_assert_eq(
                buddyclient_submit_alloc_wait(stage.client, 1, -2, outcome_note, &bad), -EINVAL);
        cr_assert_eq(
                buddyclient_submit_alloc_wait(stage.client, 0, 1, outcome_note, &bad), -EINVAL);
        cr_assert_eq(buddyclient_submit_alloc_wait(stage.client, 1, -1, outcome_note, &later), 0);
        buddyclient_dispatch(stage.client);
        await_waiters(stage.peer, 1);
        cr_assert_eq(buddyclient_release(stage.client, &now.ranges[0]), 0);
        outcome_await(stage.client, &later, 0);
        stage_return(&stage, &later.ranges[0]);
        stage_close(&stage);
}

/* The daemon finds two that wait at once, of which the second was on its way for longer. */
Test(submit, waiters_are_in_line_in_the_order_in_which_they_are_sent) {
        struct stage stage;
        struct outcome first = {0}, second = {0};
        stage_open(&stage);
        struct buddyclient_range all = stage_grant(&stage, STAGE_BYTES);
        scene_freeze(&stage.scene);
        cr_assert_eq(buddyclient_submit_alloc_wait(stage.client, 1, -1, outcome_note, &first), 0);
        cr_assert_eq(buddyclient_dispatch(stage.client), 0);
        cr_assert_eq(buddyclient_submit_alloc_wait(stage.client, 1, -1, outcome_note, &second), 0);
        poll(NULL, 0, 50);
        cr_assert_eq(buddyclient_dispatch(stage.client), 0);
        scene_thaw(&stage.scene);
        await_waiters(stage.peer, 2);
        stage_return(&stage, &all);
        outcome_await(stage.client, &first, 0);
        outcome_await(stage.client, &second, 0);
        cr_assert_lt(first.turn, second.turn);
        stage_return(&stage, &first.ranges[0]);
        stage_return(&stage, &second.ranges[0]);
        stage_close(&stage);
}

/* One thread, many waiters; each release of another client serves the first in the line. */
Test(submit, waiters_of_one_thread_are_served_in_turn) {
        enum { WAITERS = 200 };
        static struct outcome outcomes[WAITERS];
        static struct buddyclient_range all[256];
        struct stage stage;
        struct outcome find = {0};
        stage_open(&stage);
        cr_assert_eq(buddyclient_alloc_many(stage.peer, 1, 256, all), 0);
        for (int each = 0; each < WAITERS; each++)
                cr_assert_eq(buddyclient_submit_alloc_wait(
                                     stage.client, 1, -1, outcome_note, &outcomes[each]),
                        0);
        /* What is done sooner is told sooner. */
        cr_assert_eq(buddyclient_submit_find(stage.client, "nobody", outcome_note, &find), 0);
        outcome_await(stage.client, &find, -ENOENT);
        await_waiters(stage.peer, WAITERS);
        for (int each = 0; each < WAITERS; each++) {
                cr_assert_eq(outcomes[each].runs, 0);
                cr_assert_eq(buddyclient_release(stage.peer, &all[each]), 0);
                outcome_await(stage.client, &outcomes[each], 0);
                cr_assert_eq(outcomes[each].ranges[0].offset, all[each].offset);
        }
        cr_assert_eq(stats_of(stage.peer).waiters, 0);
        cr_assert_eq(buddyclient_release_many(stage.peer, all + WAITERS, 256 - WAITERS), 0);
        struct outcome back[WAITERS] = {0};
        for (int each = 0; each < WAITERS; each++)
                cr_assert_eq(buddyclient_submit_release(stage.client, &outcomes[each].ranges[0],
                                     outcome_note, &back[each]),
                        0);
        for (int each = 0; each < WAITERS; each++)
                outcome_await(stage.client, &back[each], 0);
        stage_close(&stage);
}

/* Asked for in the order of submission: each needs what the one before gave back. */
Test(submit, requests_are_made_in_order) {
        static struct outcome outcomes[100];
        struct stage stage;
        stage_open(&stage);
        struct buddyclient_range held = stage_grant(&stage, STAGE_BYTES);
        cr_assert_eq(buddyclient_submit_release(stage.client, &held, NULL, NULL), 0);
        for (int each = 0; each < 100; each++) {
                cr_assert_eq(buddyclient_submit_alloc(
                                     stage.client, STAGE_BYTES, outcome_note, &outcomes[each]),
                        0);
                outcome_await(stage.client, &outcomes[each], 0);
                cr_assert_eq(buddyclient_submit_release(
                                     stage.client, &outcomes[each].ranges[0], NULL, NULL),
                        0);
        }
        client_settle(stage.client, 50);
        await_held(stage.peer, 0);
        stage_close(&stage);
}

/* ---- With a cache ---- */

/* All or none, also of what would go into slots. */
Test(submit, release_many_with_a_cache) {
        struct scene scene;
        struct buddyclient_range held[8], stale;
        struct outcome refused = {0}, twice = {0}, done = {0};
        scene_open(&scene);
        scene_start(&scene, "--size", "16M", NULL);
        struct buddyclient *client = client_caching(&scene);
        cr_assert_eq(buddyclient_alloc(client, 1, &stale), 0);
        for (int each = 0; each < 8; each++)
                cr_assert_eq(buddyclient_alloc(client, 1, &held[each]), 0);
        cr_assert_eq(buddyclient_release(client, &stale), 0);
        struct buddyclient_range bad[] = {held[0], held[1], stale, held[2]};
        struct buddyclient_range doubled[] = {held[3], held[4], held[3]};
        outcome_refused(client, &refused,
                buddyclient_submit_release_many(client, bad, 4, outcome_note, &refused), -ESTALE);
        outcome_refused(client, &twice,
                buddyclient_submit_release_many(client, doubled, 3, outcome_note, &twice), -ESTALE);
        await_held(client, 8 * SCENE_PAGE);
        cr_assert_eq(buddyclient_submit_release_many(client, held, 8, outcome_note, &done), 0);
        outcome_await(client, &done, 0);
        for (int each = 0; each < 8; each++)
                cr_assert_eq(buddyclient_release(client, &held[each]), -ESTALE);
        await_held(client, 0);
        expect_sound(&scene);
        buddyclient_destroy(client);
        scene_close(&scene);
}

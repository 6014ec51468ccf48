/* Submissions that share: holds attached, given, put under keys and looked up, and peers found by their names. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "submit_stage.h"

TestSuite(submit_sharing, .timeout = 60);

static bool same(const struct buddyclient_range *one, const struct buddyclient_range *other) {
        return one->offset == other->offset && one->length == other->length &&
               one->generation == other->generation;
}

/* ---- Attaching and giving ---- */

Test(submit_sharing, attach) {
        struct stage stage;
        struct outcome outcome = {0}, stale = {0}, bad = {0};
        struct buddyclient_range theirs;
        stage_open(&stage);
        cr_assert_eq(buddyclient_alloc(stage.peer, 1, &theirs), 0);
        struct buddyclient_range copy = theirs, askew = {1, 2, 3};
        cr_assert_eq(buddyclient_submit_attach(stage.client, &copy, outcome_note, &outcome), 0);
        memset(&copy, 0xff, sizeof copy);
        outcome_await(stage.client, &outcome, 0);
        cr_assert_eq(outcome.count, 1);
        cr_assert(same(&outcome.ranges[0], &theirs));
        cr_assert_eq(buddyclient_release(stage.peer, &theirs), 0);
        expect_held(stage.peer, SCENE_PAGE);
        stage_return(&stage, &outcome.ranges[0]);
        expect_held(stage.peer, 0);
        outcome_refused(stage.client, &stale,
                buddyclient_submit_attach(stage.client, &theirs, outcome_note, &stale), -ESTALE);
        outcome_refused(stage.client, &bad,
                buddyclient_submit_attach(stage.client, &askew, outcome_note, &bad), -EINVAL);
        cr_assert_eq(buddyclient_submit_attach(stage.client, NULL, outcome_note, &bad), -EINVAL);
        stage_close(&stage);
}

Test(submit_sharing, give) {
        struct stage stage;
        struct outcome outcome = {0}, again = {0};
        stage_open(&stage);
        struct buddyclient_range held = stage_grant(&stage, 1), copy = held;
        uint32_t peer = buddyclient_id(stage.peer);
        cr_assert_eq(buddyclient_submit_give(stage.client, &copy, peer, outcome_note, &outcome), 0);
        memset(&copy, 0xff, sizeof copy);
        outcome_await(stage.client, &outcome, 0);
        cr_assert_eq(outcome.count, 1);
        cr_assert_eq(outcome.ranges[0].offset, held.offset);
        cr_assert_eq(outcome.ranges[0].length, held.length);
        outcome_refused(stage.client, &again,
                buddyclient_submit_give(stage.client, &held, peer, outcome_note, &again), -ESTALE);
        cr_assert_eq(buddyclient_release(stage.peer, &outcome.ranges[0]), 0);
        stage_close(&stage);
}

/* A refusal changes nothing: the hold is the giver's again. */
Test(submit_sharing, a_gift_that_is_refused_comes_back) {
        struct stage stage;
        struct outcome one = {0}, some = {0}, bad = {0};
        struct buddyclient_range ranges[3];
        stage_open(&stage);
        struct buddyclient_range held = stage_grant(&stage, 1);
        cr_assert_eq(buddyclient_alloc_many(stage.client, 1, 3, ranges), 0);
        outcome_refused(stage.client, &one,
                buddyclient_submit_give(stage.client, &held, 999999, outcome_note, &one), -ENOENT);
        outcome_refused(stage.client, &some,
                buddyclient_submit_give_many(stage.client, ranges, 3, 999999, outcome_note, &some),
                -ENOENT);
        cr_assert_eq(buddyclient_submit_give_many(stage.client, ranges, 0,
                             buddyclient_id(stage.peer), outcome_note, &bad),
                -EINVAL);
        cr_assert_eq(buddyclient_submit_give_many(stage.client, ranges, 4097,
                             buddyclient_id(stage.peer), outcome_note, &bad),
                -EINVAL);
        cr_assert_eq(buddyclient_submit_give_many(
                             stage.client, NULL, 1, buddyclient_id(stage.peer), outcome_note, &bad),
                -EINVAL);
        cr_assert_eq(buddyclient_submit_give(
                             stage.client, NULL, buddyclient_id(stage.peer), outcome_note, &bad),
                -EINVAL);
        cr_assert_eq(buddyclient_release_many(stage.client, ranges, 3), 0);
        stage_expect_untouched(&stage, &held);
}

/* As often as it is held. */
Test(submit_sharing, give_many) {
        struct stage stage;
        struct outcome outcome = {0}, refused = {0};
        struct buddyclient_range ranges[4], *copy = malloc(sizeof ranges);
        stage_open(&stage);
        cr_assert_eq(buddyclient_alloc_many(stage.client, 1, 3, ranges), 0);
        ranges[3] = ranges[0];
        uint32_t peer = buddyclient_id(stage.peer);
        outcome_refused(stage.client, &refused,
                buddyclient_submit_give_many(stage.client, ranges, 4, peer, outcome_note, &refused),
                -ESTALE);
        cr_assert_eq(buddyclient_attach(stage.client, &ranges[0]), 0);
        memcpy(copy, ranges, sizeof ranges);
        cr_assert_eq(
                buddyclient_submit_give_many(stage.client, copy, 4, peer, outcome_note, &outcome),
                0);
        memset(copy, 0xff, sizeof ranges);
        free(copy);
        outcome_await(stage.client, &outcome, 0);
        cr_assert_eq(outcome.count, 4);
        for (int each = 0; each < 4; each++) {
                cr_assert_eq(outcome.ranges[each].offset, ranges[each].offset);
                cr_assert_eq(buddyclient_release(stage.client, &ranges[each]), -ESTALE);
                cr_assert_eq(buddyclient_release(stage.peer, &outcome.ranges[each]), 0);
        }
        stage_close(&stage);
}

/* ---- Keys and names ---- */

Test(submit_sharing, keys) {
        struct stage stage;
        struct outcome publish = {0}, lookup = {0}, unpublish = {0}, none = {0}, gone = {0};
        char *key = strdup("a key");
        stage_open(&stage);
        struct buddyclient_range held = stage_grant(&stage, 1), copy = held;
        cr_assert_eq(
                buddyclient_submit_publish(stage.client, key, &copy, outcome_note, &publish), 0);
        memset(&copy, 0xff, sizeof copy);
        cr_assert_eq(buddyclient_submit_lookup(stage.client, key, outcome_note, &lookup), 0);
        cr_assert_eq(buddyclient_submit_unpublish(stage.client, key, outcome_note, &unpublish), 0);
        cr_assert_eq(buddyclient_submit_lookup(stage.client, key, outcome_note, &none), 0);
        cr_assert_eq(buddyclient_submit_unpublish(stage.client, key, outcome_note, &gone), 0);
        memset(key, 'x', strlen(key));
        free(key);
        outcome_await(stage.client, &gone, -ENOENT);
        outcome_await(stage.client, &publish, 0);
        outcome_await(stage.client, &lookup, 0);
        outcome_await(stage.client, &unpublish, 0);
        outcome_await(stage.client, &none, -ENOENT);
        cr_assert_eq(publish.count, 0);
        cr_assert_eq(unpublish.count, 0);
        cr_assert_eq(lookup.count, 1);
        cr_assert(same(&lookup.ranges[0], &held));
        cr_assert(publish.turn < lookup.turn && lookup.turn < unpublish.turn &&
                  unpublish.turn < none.turn && none.turn < gone.turn);
        stage_return(&stage, &held);
        stage_return(&stage, &held);
        stage_close(&stage);
}

Test(submit_sharing, bad_keys) {
        static char long_key[256], full_key[240];
        struct stage stage;
        struct outcome bad = {0}, full = {0};
        memset(long_key, 'k', 240);
        memset(full_key, 'k', 239);
        stage_open(&stage);
        struct buddyclient_range held = stage_grant(&stage, 1);
        const char *const keys[] = {NULL, "", long_key, "\xff\xfe", "\xc3"};
        for (int each = 0; each < 5; each++) {
                const char *key = keys[each];
                cr_assert_eq(
                        buddyclient_submit_publish(stage.client, key, &held, outcome_note, &bad),
                        -EINVAL, "%d", each);
                cr_assert_str_not_empty(buddyclient_detail(stage.client));
                cr_assert_eq(buddyclient_submit_lookup(stage.client, key, outcome_note, &bad),
                        -EINVAL, "%d", each);
                cr_assert_eq(buddyclient_submit_unpublish(stage.client, key, outcome_note, &bad),
                        -EINVAL, "%d", each);
        }
        cr_assert_eq(
                buddyclient_submit_publish(stage.client, "k", NULL, outcome_note, &bad), -EINVAL);
        cr_assert_eq(
                buddyclient_submit_publish(stage.client, full_key, &held, outcome_note, &full), 0);
        outcome_await(stage.client, &full, 0);
        cr_assert_eq(buddyclient_unpublish(stage.peer, full_key), 0);
        client_settle(stage.client, 50);
        cr_assert_eq(bad.runs, 0);
        stage_expect_untouched(&stage, &held);
}

Test(submit_sharing, publish_of_what_is_not_held_is_refused) {
        struct stage stage;
        struct outcome outcome = {0}, stale = {0};
        struct buddyclient_range theirs;
        stage_open(&stage);
        struct buddyclient_range held = stage_grant(&stage, 1);
        cr_assert_eq(buddyclient_alloc(stage.peer, 1, &theirs), 0);
        outcome_refused(stage.client, &outcome,
                buddyclient_submit_publish(stage.client, "k", &theirs, outcome_note, &outcome),
                -ESTALE);
        cr_assert_eq(buddyclient_release(stage.peer, &theirs), 0);
        cr_assert_eq(buddyclient_submit_release(stage.client, &held, NULL, NULL), 0);
        outcome_refused(stage.client, &stale,
                buddyclient_submit_publish(stage.client, "k", &held, outcome_note, &stale),
                -ESTALE);
        cr_assert_eq(buddyclient_unpublish(stage.peer, "k"), -ENOENT);
        stage_close(&stage);
}

Test(submit_sharing, find) {
        static char long_name[65];
        struct stage stage;
        struct outcome outcome = {0}, none = {0}, bad = {0};
        struct buddyclient *named = NULL;
        char *name = strdup("somebody");
        memset(long_name, 'n', 64);
        stage_open(&stage);
        cr_assert_eq(buddyclient_new(&named), 0);
        cr_assert_eq(buddyclient_set_socket(named, stage.scene.socket), 0);
        cr_assert_eq(buddyclient_set_pool(named, stage.scene.pool), 0);
        cr_assert_eq(buddyclient_set_name(named, "somebody"), 0);
        cr_assert_eq(buddyclient_connect(named), 0);
        cr_assert_eq(buddyclient_submit_find(stage.client, name, outcome_note, &outcome), 0);
        memset(name, 'x', strlen(name));
        free(name);
        cr_assert_eq(buddyclient_submit_find(stage.client, "nobody", outcome_note, &none), 0);
        outcome_await(stage.client, &outcome, 0);
        cr_assert_eq(outcome.peer, buddyclient_id(named));
        cr_assert_eq(outcome.count, 0);
        outcome_refused(stage.client, &none, 0, -ENOENT);
        cr_assert_eq(buddyclient_submit_find(stage.client, NULL, outcome_note, &bad), -EINVAL);
        cr_assert_eq(buddyclient_submit_find(stage.client, "", outcome_note, &bad), -EINVAL);
        cr_assert_eq(buddyclient_submit_find(stage.client, long_name, outcome_note, &bad), -EINVAL);
        client_settle(stage.client, 50);
        cr_assert_eq(bad.runs, 0);
        buddyclient_destroy(named);
        stage_close(&stage);
}

/* ---- With a cache ---- */

/* Those who cache name blocks in another way. */
Test(submit_sharing, gifts_between_clients_with_caches) {
        struct scene scene;
        struct buddyclient_range held[8];
        struct outcome gift = {0}, back = {0}, attach = {0}, end[2] = {0};
        scene_open(&scene);
        scene_start(&scene, "--size", "16M", NULL);
        struct buddyclient *giver = client_caching(&scene), *taker = client_caching(&scene);
        for (int round = 0; round < 20; round++) {
                for (int each = 0; each < 8; each++)
                        cr_assert_eq(buddyclient_alloc(giver, 1, &held[each]), 0);
                for (int each = 1; each < 8; each++)
                        cr_assert_eq(buddyclient_release(giver, &held[each]), 0);
                gift = back = attach = end[0] = end[1] = (struct outcome){0};
                cr_assert_eq(buddyclient_submit_give(
                                     giver, &held[0], buddyclient_id(taker), outcome_note, &gift),
                        0);
                outcome_await(giver, &gift, 0);
                cr_assert_eq(
                        buddyclient_submit_attach(giver, &gift.ranges[0], outcome_note, &attach),
                        0);
                outcome_await(giver, &attach, 0);
                cr_assert_eq(buddyclient_submit_give(taker, &gift.ranges[0], buddyclient_id(giver),
                                     outcome_note, &back),
                        0);
                outcome_await(taker, &back, 0);
                cr_assert_eq(
                        buddyclient_submit_release(giver, &back.ranges[0], outcome_note, &end[0]),
                        0);
                cr_assert_eq(
                        buddyclient_submit_release(giver, &attach.ranges[0], outcome_note, &end[1]),
                        0);
                outcome_await(giver, &end[0], 0);
                outcome_await(giver, &end[1], 0);
                cr_assert_eq(buddyclient_release(giver, &back.ranges[0]), -ESTALE);
        }
        await_held(taker, 0);
        expect_sound(&scene);
        buddyclient_destroy(giver);
        buddyclient_destroy(taker);
        scene_close(&scene);
}

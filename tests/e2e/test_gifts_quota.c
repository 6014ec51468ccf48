/* Gifts in the cache of a receiver who sleeps, or who is bounded: they are at hand for whoever needs the memory, and are in nobody's way
 * of more of them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "gift_puppet.h"
#include "gift_stage.h"

TestSuite(gifts_quota, .timeout = 120);

enum { ALICE = 12345 };

/* Marked, given, and told of. */
static int give_to(struct buddyclient *giver, struct gift_puppet *puppet, uint64_t length) {
        struct buddyclient_range gift;
        int result = buddyclient_alloc(giver, length, &gift);
        cr_assert_eq(result, 0, "alloc: %d %s", result, buddyclient_detail(giver));
        mark_write(giver, &gift, mark_of(&gift));
        struct buddyclient_range before = gift;
        result = buddyclient_give(giver, &gift, puppet->id);
        if (result != 0)
                gift_returned(giver, &before);
        else
                puppet_told(puppet, &gift);
        return result;
}

static void give_some(struct buddyclient *giver, struct gift_puppet *puppet, size_t count) {
        for (size_t each = 0; each < count; each++)
                cr_assert_eq(give_to(giver, puppet, SCENE_PAGE << each % 5), 0, "%s",
                        buddyclient_detail(giver));
}

/* ---- Sleepers ---- */

/* What it keeps stays its own, what it has returned does not, also over a restart of the daemon. */
static void sleeper(bool over_a_kill) {
        struct gift_stage stage;
        struct gift_puppet puppet;
        struct buddyclient_range all;
        gift_stage_open(&stage);
        puppet_start(&puppet, &stage.scene, 0);
        for (int round = 0; round < 3; round++) {
                for (int each = 0; each < 4; each++) {
                        give_some(stage.giver, &puppet, 40);
                        cr_assert_eq(puppet_release(&puppet), 0);
                        expect_held(stage.observer, 0);
                }
                puppet_stop(&puppet);
                if (over_a_kill)
                        gift_stage_restart(&stage);
                expect_rest_free(&stage, 0);
                cr_assert_eq(buddyclient_alloc(stage.observer, GIFT_POOL_BYTES, &all), 0, "%s",
                        buddyclient_detail(stage.observer));
                expect_sound(&stage.scene);
                puppet_go_on(&puppet);
                cr_assert_eq(puppet_take(&puppet, SCENE_PAGE), -ENOMEM);
                gift_returned(stage.observer, &all);
                cr_assert_eq(puppet_take(&puppet, SCENE_PAGE), 0);
                cr_assert_eq(puppet_release(&puppet), 0);
        }
        puppet_end(&puppet);
        gift_stage_close(&stage);
}

Test(gifts_quota, gifts_in_a_sleepers_cache_are_at_hand) {
        sleeper(false);
}

Test(gifts_quota, gifts_in_a_sleepers_cache_are_at_hand_after_a_restart) {
        sleeper(true);
}

static void sleeper_that_keeps(bool over_a_kill) {
        struct gift_stage stage;
        struct gift_puppet puppet;
        gift_stage_open(&stage);
        puppet_start(&puppet, &stage.scene, 0);
        for (int round = 0; round < 3; round++) {
                give_some(stage.giver, &puppet, 40);
                cr_assert_eq(puppet_release(&puppet), 0);
                for (int each = 0; each < 10; each++)
                        cr_assert_eq(give_to(stage.giver, &puppet, 2 * SCENE_PAGE), 0);
                for (int each = 0; each < 10; each++)
                        cr_assert_eq(puppet_take(&puppet, 2 * SCENE_PAGE), 0);
                puppet_stop(&puppet);
                if (over_a_kill)
                        gift_stage_restart(&stage);
                expect_rest_free(&stage, 40 * SCENE_PAGE);
                puppet_go_on(&puppet);
                cr_assert_eq(puppet_look(&puppet), 0, "what a sleeper held was granted");
                cr_assert_eq(puppet_release(&puppet), 0);
                expect_held(stage.observer, 0);
        }
        puppet_end(&puppet);
        gift_stage_close(&stage);
}

Test(gifts_quota, gifts_that_a_sleeper_has_not_released_stay_its_own) {
        sleeper_that_keeps(false);
}

Test(gifts_quota, gifts_that_a_sleeper_has_not_released_stay_its_own_over_a_restart) {
        sleeper_that_keeps(true);
}

/* ---- Limits ---- */

/* Rounds of as many gifts of a page as the limit lets in at once, each of which is released before the next round. */
static void bounded(const char *limit, uid_t uid, size_t at_once) {
        struct scene scene;
        struct gift_puppet puppet;
        if (uid != 0 && geteuid() != 0)
                cr_skip_test("needs to become another user");
        scene_open(&scene);
        scene_start_limited(&scene, "", limit);
        struct buddyclient *giver = client_new(&scene);
        puppet_start(&puppet, &scene, uid);
        for (int warm = 0; warm < 8; warm++)
                cr_assert_eq(puppet_take(&puppet, SCENE_PAGE), 0);
        cr_assert_eq(puppet_release(&puppet), 0);
        for (int round = 0; round < 40; round++) {
                for (size_t each = 0; each < at_once; each++)
                        cr_assert_eq(give_to(giver, &puppet, SCENE_PAGE), 0,
                                "%s: round %d, gift %zu: %s", limit, round, each,
                                buddyclient_detail(giver));
                cr_assert_eq(give_to(giver, &puppet, SCENE_PAGE), -EDQUOT, "%s", limit);
                expect_held(giver, at_once * SCENE_PAGE);
                cr_assert_eq(puppet_look(&puppet), 0);
                cr_assert_eq(puppet_release(&puppet), 0);
                expect_held(giver, 0);
        }
        puppet_end(&puppet);
        await_held(giver, 0);
        cr_assert_eq(stats_of(giver).cached_bytes, 0);
        buddyclient_destroy(giver);
        scene_close(&scene);
}

Test(gifts_quota, gifts_of_another_uid_come_on_within_user_bytes) {
        bounded("user-bytes = 64K\n", ALICE, 8);
}

Test(gifts_quota, gifts_of_another_uid_come_on_within_user_ranges) {
        bounded("user-ranges = 16\n", ALICE, 8);
}

Test(gifts_quota, gifts_of_another_uid_come_on_within_client_bytes) {
        bounded("client-bytes = 64K\n", ALICE, 8);
}

Test(gifts_quota, gifts_of_another_uid_come_on_within_client_ranges) {
        bounded("client-ranges = 16\n", ALICE, 8);
}

/* Its own ranges do not suffer from gifts that it has released: it may take as much as if there were none. */
Test(gifts_quota, released_gifts_leave_their_receiver_its_limit) {
        struct scene scene;
        struct gift_puppet puppet;
        if (geteuid() != 0)
                cr_skip_test("needs to become another user");
        scene_open(&scene);
        scene_start_limited(&scene, "", "user-bytes = 64K\n");
        struct buddyclient *giver = client_new(&scene);
        puppet_start(&puppet, &scene, ALICE);
        for (int round = 0; round < 20; round++) {
                for (int each = 0; each < 8; each++)
                        cr_assert_eq(give_to(giver, &puppet, SCENE_PAGE), 0);
                cr_assert_eq(puppet_release(&puppet), 0);
                if (round % 2) {
                        cr_assert_eq(puppet_take(&puppet, 64 * 1024), 0, "round %d", round);
                } else {
                        for (int each = 0; each < 16; each++)
                                cr_assert_eq(puppet_take(&puppet, SCENE_PAGE), 0, "round %d, %d",
                                        round, each);
                }
                cr_assert_eq(puppet_take(&puppet, SCENE_PAGE), -EDQUOT);
                expect_held(giver, 64 * 1024);
                cr_assert_eq(puppet_release(&puppet), 0);
        }
        puppet_end(&puppet);
        buddyclient_destroy(giver);
        scene_close(&scene);
}

/* Nobody has set a limit: a receiver of another uid is given all there is, again and again, and others can have it behind that. */
Test(gifts_quota, gifts_of_another_uid_come_on_without_limits) {
        struct scene scene;
        struct gift_puppet puppet;
        struct buddyclient_range all;
        if (geteuid() != 0)
                cr_skip_test("needs to become another user");
        scene_open(&scene);
        scene_start_limited(&scene, "", "");
        struct buddyclient *giver = client_caching(&scene);
        puppet_start(&puppet, &scene, ALICE);
        for (int round = 0; round < 20; round++) {
                for (int each = 0; each < 32; each++)
                        cr_assert_eq(give_to(giver, &puppet, 64 * 1024), 0, "round %d: %s", round,
                                buddyclient_detail(giver));
                cr_assert_eq(puppet_release(&puppet), 0);
                cr_assert_eq(buddyclient_alloc(giver, 4 * MIB, &all), 0, "%s",
                        buddyclient_detail(giver));
                gift_returned(giver, &all);
        }
        puppet_end(&puppet);
        buddyclient_destroy(giver);
        scene_close(&scene);
}

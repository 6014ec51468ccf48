/* What a client's memory says of a gift, where it is late, left over or forged: the right name works and outdated ones are refused
 * all the same, and nobody but who forged it loses anything. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "client/cache_slot.h"
#include "client/client.h"
#include "gift_stage.h"
#include "outcome.h"

TestSuite(gifts_words, .timeout = 120);

static _Atomic uint64_t *word_of(
        struct buddyclient *client, const struct buddyclient_range *range) {
        return cache_word_of(&client->cache, range);
}

static void expect_name_over(struct gift_stage *stage, struct buddyclient *client,
        const struct buddyclient_range *range) {
        cr_expect_eq(buddyclient_attach(stage->observer, range), -ESTALE, "attach");
        cr_expect_eq(buddyclient_release(client, range), -ESTALE, "release");
}

/* ---- Replies that nobody has read ---- */

/* Behind this the daemon has done what was submitted, and the client has not heard of it. */
static void send_and_leave(struct buddyclient *client, const struct outcome *outcome) {
        struct pollfd socket = {buddyclient_fd(client), POLLIN, 0};
        cr_assert_geq(buddyclient_dispatch(client), 0);
        cr_assert_eq(outcome->runs, 0, "the reply is read already");
        cr_assert_eq(poll(&socket, 1, PATIENCE_MS), 1, "no reply comes");
}

static void give_and_leave(struct buddyclient *client, const struct buddyclient_range *range,
        struct buddyclient *peer, struct outcome *outcome) {
        cr_assert_eq(
                buddyclient_submit_give(client, range, buddyclient_id(peer), outcome_note, outcome),
                0);
        send_and_leave(client, outcome);
}

/* The receiver gave it away and gets it back by a later name; a give that is refused has it go by requests. */
Test(gifts_words, a_late_reply_leaves_the_name_of_what_came_back) {
        struct gift_stage stage;
        struct outcome outcome = {0};
        gift_stage_open(&stage);
        struct buddyclient_range old = gift_new(&stage, SCENE_PAGE);
        give_and_leave(stage.receiver, &old, stage.third, &outcome);
        struct buddyclient_range now = gift_again(stage.third, &old);
        gift_handed(stage.third, &now, stage.receiver);
        struct buddyclient_range named = now;
        cr_assert_eq(buddyclient_give(stage.receiver, &named, 77777), -ENOENT);
        outcome_await(stage.receiver, &outcome, 0);
        expect_name_over(&stage, stage.receiver, &old);
        gift_returned(stage.receiver, &now);
        gift_stage_close(&stage);
}

/* The receiver's table still has the range that was its own. */
Test(gifts_words, what_came_back_can_be_given_before_the_late_reply_is_read) {
        struct gift_stage stage;
        struct outcome outcome = {0};
        gift_stage_open(&stage);
        struct buddyclient_range old = gift_taken(stage.receiver, SCENE_PAGE);
        give_and_leave(stage.receiver, &old, stage.third, &outcome);
        struct buddyclient_range now = gift_again(stage.third, &old);
        gift_handed(stage.third, &now, stage.receiver);
        gift_handed(stage.receiver, &now, stage.third);
        gift_returned(stage.third, &now);
        outcome_await(stage.receiver, &outcome, 0);
        gift_stage_close(&stage);
}

/* The receiver's table still has a further hold by an earlier name. */
Test(gifts_words, what_comes_can_be_returned_before_the_end_of_an_attach_is_read) {
        struct gift_stage stage;
        struct outcome outcome = {0};
        gift_stage_open(&stage);
        struct buddyclient_range old = gift_taken(stage.giver, SCENE_PAGE);
        cr_assert_eq(buddyclient_attach(stage.receiver, &old), 0);
        cr_assert_eq(buddyclient_submit_release(stage.receiver, &old, outcome_note, &outcome), 0);
        send_and_leave(stage.receiver, &outcome);
        gift_handed(stage.giver, &old, stage.third);
        struct buddyclient_range now = gift_again(stage.third, &old);
        gift_handed(stage.third, &now, stage.receiver);
        cr_assert_eq(buddyclient_attach(stage.observer, &now), 0); /* so it goes by a request */
        gift_returned(stage.receiver, &now);
        gift_returned(stage.observer, &now);
        outcome_await(stage.receiver, &outcome, 0);
        gift_stage_close(&stage);
}

/* ---- Asked before the gift was there ---- */

/* A daemon with one worker, which runs what was asked while it stood in the order in which it was asked; the receiver has a cache. */
static void early_stage_open(struct gift_stage *stage) {
        *stage = (struct gift_stage){0};
        scene_open(&stage->scene);
        scene_start(&stage->scene, "--size", GIFT_POOL, "--workers", "1", NULL);
        struct buddyclient **clients[] = {
                &stage->giver, &stage->receiver, &stage->third, &stage->observer};
        for (size_t each = 0; each < 4; each++)
                *clients[each] = client_caching_bytes(&stage->scene, each < 3 ? GIFT_CACHE : 0);
        struct buddyclient_range range = gift_taken(stage->receiver, SCENE_PAGE);
        gift_returned(stage->receiver, &range);
}

static void submit_gift(
        struct gift_stage *stage, const struct buddyclient_range *range, struct outcome *outcome) {
        uint32_t peer = buddyclient_id(stage->receiver);
        cr_assert_eq(buddyclient_submit_give(stage->giver, range, peer, outcome_note, outcome), 0);
        cr_assert_geq(buddyclient_dispatch(stage->giver), 0);
}

/* The name is the giver's of before: what the receiver asks with it is not about the gift. */
static void an_outdated_call_leaves_a_gift_alone(bool give) {
        struct gift_stage stage;
        struct outcome gift = {0}, early = {0};
        early_stage_open(&stage);
        struct buddyclient_range old = gift_taken(stage.giver, SCENE_PAGE);
        struct buddyclient_range now = gift_again(stage.giver, &old);
        scene_freeze(&stage.scene);
        submit_gift(&stage, &now, &gift);
        cr_assert_eq(give ? buddyclient_submit_give(stage.receiver, &old,
                                    buddyclient_id(stage.third), outcome_note, &early)
                          : buddyclient_submit_release(stage.receiver, &old, outcome_note, &early),
                0);
        cr_assert_geq(buddyclient_dispatch(stage.receiver), 0);
        scene_thaw(&stage.scene);
        outcome_await(stage.giver, &gift, 0);
        outcome_await(stage.receiver, &early, -ESTALE);
        cr_assert(mark_holds(stage.receiver, &now, mark_of(&now)));
        expect_name_over(&stage, stage.receiver, &old);
        gift_returned(stage.receiver, &now);
        gift_stage_close(&stage);
}

Test(gifts_words, a_release_that_was_asked_before_a_gift_is_not_of_the_gift) {
        an_outdated_call_leaves_a_gift_alone(false);
}

Test(gifts_words, a_give_that_was_asked_before_a_gift_is_not_of_the_gift) {
        an_outdated_call_leaves_a_gift_alone(true);
}

/* It is of the hold that the receiver had. */
Test(gifts_words, a_release_that_was_asked_before_a_gift_is_of_the_hold_before) {
        struct gift_stage stage;
        struct outcome gift = {0}, early = {0};
        early_stage_open(&stage);
        struct buddyclient_range range = gift_taken(stage.giver, SCENE_PAGE);
        range = gift_again(stage.giver, &range);
        cr_assert_eq(buddyclient_attach(stage.receiver, &range), 0);
        scene_freeze(&stage.scene);
        submit_gift(&stage, &range, &gift);
        cr_assert_eq(buddyclient_submit_release(stage.receiver, &range, outcome_note, &early), 0);
        cr_assert_geq(buddyclient_dispatch(stage.receiver), 0);
        scene_thaw(&stage.scene);
        outcome_await(stage.giver, &gift, 0);
        outcome_await(stage.receiver, &early, 0);
        expect_held(stage.observer, SCENE_PAGE);
        gift_returned(stage.receiver, &range);
        expect_name_over(&stage, stage.receiver, &range);
        gift_stage_close(&stage);
}

/* ---- Two holds of one client ---- */

/* The one goes, and the other has its name still, also behind a restart. */
static void one_of_two_goes(bool gift, bool restart) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct buddyclient_range old =
                gift ? gift_new(&stage, SCENE_PAGE) : gift_taken(stage.receiver, SCENE_PAGE);
        struct buddyclient_range now = gift_again(stage.receiver, &old);
        cr_assert_eq(buddyclient_attach(stage.receiver, &now), 0);
        gift_returned(stage.receiver, &now);
        if (restart)
                gift_stage_restart(&stage);
        expect_name_over(&stage, stage.receiver, &old);
        gift_returned(stage.receiver, &now);
        gift_stage_close(&stage);
}

Test(gifts_words, a_range_of_which_one_of_two_holds_goes_keeps_its_name) {
        one_of_two_goes(false, false);
        one_of_two_goes(false, true);
}

Test(gifts_words, a_gift_of_which_one_of_two_holds_goes_keeps_its_name) {
        one_of_two_goes(true, false);
        one_of_two_goes(true, true);
}

/* The owner's hold goes, and a further one that was given stays, of which no table knows. */
Test(gifts_words, a_given_further_hold_keeps_the_name_when_the_owners_goes) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct buddyclient_range old = gift_taken(stage.receiver, SCENE_PAGE);
        struct buddyclient_range now = gift_again(stage.receiver, &old);
        cr_assert_eq(buddyclient_attach(stage.third, &now), 0);
        gift_handed(stage.third, &now, stage.receiver);
        gift_returned(stage.receiver, &now);
        expect_name_over(&stage, stage.receiver, &old);
        gift_returned(stage.receiver, &now);
        gift_stage_close(&stage);
}

/* ---- Left over ---- */

/* As a daemon leaves it that is killed behind the announcement of a gift; later the block comes from one that has no word to announce. */
Test(gifts_words, what_a_kill_left_is_no_announcement) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct buddyclient_range old = gift_taken(stage.giver, SCENE_PAGE);
        atomic_store(word_of(stage.receiver, &old),
                cache_word_pack(old.generation, 0) | CACHE_IN_USE | CACHE_SHARED | CACHE_GIFT);
        gift_handed(stage.giver, &old, stage.third);
        struct buddyclient_range now = gift_again(stage.third, &old);
        gift_handed(stage.third, &now, stage.observer);
        gift_handed(stage.observer, &now, stage.receiver);
        cr_expect_eq(buddyclient_attach(stage.third, &old), -ESTALE);
        gift_returned(stage.receiver, &now);
        expect_name_over(&stage, stage.receiver, &old);
        gift_stage_close(&stage);
}

/* As a daemon leaves it that is killed between the ledger and the end of the giver's word; the giver attaches to it later, or looks it
 * up. */
static void left_by_a_kill(bool lookup) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct buddyclient_range old = gift_taken(stage.giver, SCENE_PAGE), found;
        struct buddyclient_range now = old;
        gift_handed(stage.giver, &now, stage.receiver);
        now = gift_again(stage.receiver, &now);
        atomic_store(word_of(stage.giver, &old),
                cache_word_pack(old.generation, 0) | CACHE_IN_USE | CACHE_SHARED);
        cr_assert_eq(buddyclient_publish(stage.receiver, "key", &now), 0);
        if (lookup)
                cr_assert_eq(buddyclient_lookup(stage.giver, "key", &found), 0);
        else
                cr_assert_eq(buddyclient_attach(stage.giver, &now), 0);
        gift_returned(stage.giver, &now);
        cr_assert_eq(buddyclient_unpublish(stage.receiver, "key"), 0);
        gift_returned(stage.receiver, &now);
        gift_stage_close(&stage);
}

Test(gifts_words, what_a_kill_left_does_not_name_an_attach) {
        left_by_a_kill(false);
}

Test(gifts_words, what_a_kill_left_does_not_name_a_lookup) {
        left_by_a_kill(true);
}

/* A kill between a give and the end of the giver's word leaves the word. The next daemon may not look into the client; before that one comes
 * back, the range does. */
Test(gifts_words, what_came_while_the_memory_was_away_has_its_own_name) {
        struct gift_stage stage = {0};
        if (geteuid() != 0)
                cr_skip_test("needs a daemon of another user");
        scene_open(&stage.scene);
        stage.scene.uid = 12345;
        cr_assert_eq(chown(stage.scene.folder, 12345, 12345), 0);
        scene_start(&stage.scene, "--size", GIFT_POOL, "--socket-mode", "0666", NULL);
        stage.receiver = client_caching_bytes(&stage.scene, GIFT_CACHE);
        stage.third = client_caching_bytes(&stage.scene, GIFT_CACHE);
        struct buddyclient_range old = gift_taken(stage.receiver, SCENE_PAGE), now;
        old = gift_again(stage.receiver, &old);
        uint64_t left = cache_word_pack(old.generation, 0) | CACHE_IN_USE | CACHE_SHARED;
        gift_handed(stage.receiver, &old, stage.third);
        now = gift_again(stage.third, &old);
        cr_assert_eq(atomic_load(word_of(stage.receiver, &old)), 0);
        atomic_store(word_of(stage.receiver, &old), left);

        scene_kill(&stage.scene);
        scene_start(&stage.scene, "--size", GIFT_POOL, "--socket-mode", "0666", NULL);
        gift_handed(stage.third, &now, stage.receiver);
        expect_held(stage.receiver, SCENE_PAGE); /* it is back now */
        cr_assert_eq(buddyclient_attach(stage.third, &old), -ESTALE);
        gift_returned(stage.receiver, &now);
        cr_assert_eq(buddyclient_release(stage.receiver, &old), -ESTALE);
        expect_held(stage.third, 0);
        buddyclient_destroy(stage.receiver);
        buddyclient_destroy(stage.third);
        scene_close(&stage.scene);
}

/* ---- Forged ---- */

/* For blocks this long there are no slots: the receiver would write behind them. */
Test(gifts_words, a_giver_cannot_name_a_block_that_no_cache_keeps) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct buddyclient_range range = gift_taken(stage.giver, 2 * MIB), forged = range;
        forged.generation |= UINT64_C(1) << CACHE_USE_SHIFT;
        atomic_store(word_of(stage.giver, &range),
                cache_word_pack(forged.generation, 9) | CACHE_IN_USE | CACHE_SHARED);
        cr_assert_eq(buddyclient_give(stage.giver, &range, buddyclient_id(stage.receiver)), 0);
        cr_assert_eq(atomic_load(word_of(stage.receiver, &range)), 0);
        gift_returned(stage.receiver, &range);
        atomic_store(word_of(stage.giver, &range), 0);
        gift_stage_close(&stage);
}

/* The last uses that a word can count: from then on the range goes by requests. */
Test(gifts_words, gifts_keep_their_names_apart_up_to_the_last_use) {
        for (uint64_t use = CACHE_USE_MAX - 3; use <= CACHE_USE_MAX; use++) {
                struct gift_stage stage;
                gift_stage_open(&stage);
                struct buddyclient_range range = gift_taken(stage.giver, SCENE_PAGE), next;
                range.generation = (uint32_t)range.generation | use << CACHE_USE_SHIFT;
                atomic_store(word_of(stage.giver, &range),
                        cache_word_pack(range.generation, 0) | CACHE_IN_USE | CACHE_COUNTED);
                gift_handed(stage.giver, &range, stage.receiver);
                for (int round = 0; round < 6; round++) {
                        gift_returned(stage.receiver, &range);
                        expect_name_over(&stage, stage.receiver, &range);
                        next = gift_taken(stage.receiver, SCENE_PAGE);
                        cr_assert(
                                next.offset != range.offset || next.generation != range.generation);
                        expect_name_over(&stage, stage.receiver, &range);
                        range = next;
                }
                gift_returned(stage.receiver, &range);
                gift_stage_close(&stage);
        }
}

/* Others know a range by what the ledger has room for of its use. The giver's cache has one slot. */
Test(gifts_words, names_that_others_know_are_told_apart_however_old) {
        enum { USES = (1 << 17) - 1 }; /* two uses so far apart would look alike there */
        struct gift_stage stage;
        gift_stage_open_with(&stage, SCENE_PAGE, GIFT_CACHE);
        struct buddyclient_range range = gift_taken(stage.giver, SCENE_PAGE);
        range = gift_again(stage.giver, &range);
        const struct buddyclient_range first = range;
        for (unsigned uses = 0; uses < USES; uses++) {
                cr_assert_eq(buddyclient_release(stage.giver, &range), 0);
                cr_assert_eq(buddyclient_alloc(stage.giver, SCENE_PAGE, &range), 0);
                cr_assert_eq(range.offset, first.offset);
        }
        cr_assert_eq(buddyclient_attach(stage.third, &range), 0);
        cr_assert_eq(buddyclient_attach(stage.observer, &first), -ESTALE);
        gift_returned(stage.third, &range);
        gift_returned(stage.giver, &range);
        gift_stage_close(&stage);
}

/* ---- Too long ---- */

/* They cost the receiver none of the slots that it has. */
Test(gifts_words, gifts_beyond_the_budget_leave_the_slots_alone) {
        enum { PAGES = 8 };
        struct gift_stage stage;
        gift_stage_open_with(&stage, MIB, 64 * 1024);
        struct buddyclient_range pages[PAGES];
        for (int i = 0; i < PAGES; i++)
                pages[i] = gift_taken(stage.receiver, SCENE_PAGE);
        for (int i = 0; i < PAGES; i++)
                gift_returned(stage.receiver, &pages[i]);
        uint64_t cached = stats_of(stage.observer).cached_bytes;
        cr_assert_gt(cached, 0);
        for (int i = 0; i < 12; i++) {
                struct buddyclient_range gift = gift_taken(stage.giver, 512 * 1024);
                gift_handed(stage.giver, &gift, stage.receiver);
                gift_returned(stage.receiver, &gift);
        }
        buddyclient_destroy(stage.giver); /* and what it keeps */
        cr_assert_eq(stats_of(stage.observer).cached_bytes, cached);
        stage.giver = client_caching(&stage.scene);
        gift_stage_close(&stage);
}

Test(gifts_words, a_gift_beyond_the_budget_has_one_name) {
        struct gift_stage stage;
        gift_stage_open_with(&stage, MIB, 64 * 1024);
        struct buddyclient_range old = gift_taken(stage.giver, 512 * 1024);
        struct buddyclient_range now = gift_again(stage.giver, &old);
        gift_handed(stage.giver, &now, stage.receiver);
        expect_name_over(&stage, stage.receiver, &old);
        gift_returned(stage.receiver, &now);
        gift_stage_close(&stage);
}

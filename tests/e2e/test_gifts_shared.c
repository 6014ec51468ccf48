/* Gifts that others hold as well, by an attach, a key or a second gift, before, while and after they are handed over: who holds one
 * keeps it, whatever its receiver's cache does. And batches with gifts among them, all or none. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "gift_stage.h"

TestSuite(gifts_shared, .timeout = 120);

/* Returned by its receiver, it stays a holder's: nobody gets the block, the bytes stay, the name is good. Then it ends. */
static void expect_kept_by(struct gift_stage *stage, struct buddyclient *holder,
        const struct buddyclient_range *range, uint64_t mark) {
        expect_rest_free(stage, range->length);
        struct buddyclient_range own[16];
        for (size_t each = 0; each < 16; each++) {
                own[each] = gift_taken(stage->receiver, range->length);
                cr_assert_neq(own[each].offset, range->offset, "in use by two");
        }
        cr_assert(mark_holds(holder, range, mark), "a held range has changed");
        cr_assert_eq(buddyclient_attach(stage->observer, range), 0);
        gift_returned(stage->observer, range);
        for (size_t each = 0; each < 16; each++)
                gift_returned(stage->receiver, &own[each]);
        gift_returned(holder, range);
        expect_outdated(stage, range);
        expect_held(stage->observer, 0);
}

/* When the other one becomes a holder. */
enum moment { BEFORE_THE_GIFT, AFTER_THE_GIFT, IN_A_LATER_LIFE };

static void attached(enum moment when, uint64_t length) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (int round = 0; round < 5; round++) {
                struct buddyclient_range range = gift_taken(stage.giver, length);
                uint64_t mark = mark_of(&range);
                if (when == BEFORE_THE_GIFT)
                        cr_assert_eq(buddyclient_attach(stage.third, &range), 0);
                gift_handed(stage.giver, &range, stage.receiver);
                if (when == IN_A_LATER_LIFE) {
                        range = gift_again(stage.receiver, &range);
                        mark = mark_of(&range);
                }
                if (when != BEFORE_THE_GIFT)
                        cr_assert_eq(buddyclient_attach(stage.third, &range), 0);
                gift_returned(stage.receiver, &range);
                cr_assert_eq(buddyclient_release(stage.receiver, &range), -ESTALE);
                cr_assert_eq(buddyclient_release(stage.giver, &range), -ESTALE);
                expect_kept_by(&stage, stage.third, &range, mark);
        }
        gift_stage_close(&stage);
}

Test(gifts_shared, what_was_attached_before_it_was_given_is_kept) {
        attached(BEFORE_THE_GIFT, SCENE_PAGE);
        attached(BEFORE_THE_GIFT, 64 * 1024);
}

Test(gifts_shared, what_is_attached_while_its_receiver_has_it_is_kept) {
        attached(AFTER_THE_GIFT, SCENE_PAGE);
        attached(AFTER_THE_GIFT, 64 * 1024);
}

Test(gifts_shared, what_is_attached_in_a_later_life_of_a_gift_is_kept) {
        attached(IN_A_LATER_LIFE, SCENE_PAGE);
        attached(IN_A_LATER_LIFE, 64 * 1024);
}

/* The name that the giver had is good while the receiver has it, for anybody, and for nobody once it is in its cache or in use again. */
Test(gifts_shared, a_name_is_attached_to_in_its_life_only) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct buddyclient *clients[] = {stage.giver, stage.third, stage.observer, stage.receiver};
        for (uint64_t length = SCENE_PAGE; length <= 2 * MIB; length *= 8) {
                struct buddyclient_range gift = gift_new(&stage, length);
                for (size_t each = 0; each < 4; each++) {
                        cr_assert_eq(buddyclient_attach(clients[each], &gift), 0);
                        gift_returned(clients[each], &gift);
                }
                gift_returned(stage.receiver, &gift);
                expect_outdated(&stage, &gift);
                gift = gift_new(&stage, length);
                gift_returned(stage.receiver, &gift); /* never shared */
                for (size_t each = 0; each < 4; each++)
                        cr_assert_eq(buddyclient_attach(clients[each], &gift), -ESTALE);
                gift = gift_new(&stage, length);
                struct buddyclient_range next = gift_again(stage.receiver, &gift);
                for (size_t each = 0; each < 4; each++) {
                        cr_assert_eq(buddyclient_attach(clients[each], &gift), -ESTALE);
                        cr_assert_eq(buddyclient_attach(clients[each], &next), 0);
                        gift_returned(clients[each], &next);
                }
                gift_returned(stage.receiver, &next);
                expect_outdated(&stage, &next);
        }
        gift_stage_close(&stage);
}

/* A holder that was there and has left again does no harm to what follows. */
Test(gifts_shared, what_was_shared_for_a_while_can_be_given_and_released) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (int round = 0; round < 200; round++) {
                struct buddyclient_range range = gift_taken(stage.giver, SCENE_PAGE);
                cr_assert_eq(buddyclient_attach(stage.third, &range), 0);
                if (round % 2)
                        gift_returned(stage.third, &range);
                gift_handed(stage.giver, &range, stage.receiver);
                if (round % 2 == 0)
                        gift_returned(stage.third, &range);
                gift_returned(stage.receiver, &range);
                cr_assert_eq(buddyclient_release(stage.receiver, &range), -ESTALE);
                cr_assert_eq(buddyclient_attach(stage.third, &range), -ESTALE);
        }
        gift_stage_close(&stage);
}

/* ---- Several holds ---- */

/* Of two holds of the giver's one is given, or both, or the receiver has one already. */
static void doubly_held(int how) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (int round = 0; round < 20; round++) {
                struct buddyclient_range range = gift_taken(stage.giver, SCENE_PAGE), name = range;
                uint64_t mark = mark_of(&range);
                struct buddyclient *second = how == 0 ? stage.giver : stage.receiver;
                cr_assert_eq(
                        buddyclient_attach(how == 2 ? stage.receiver : stage.giver, &range), 0);
                gift_handed(stage.giver, &range, stage.receiver);
                if (how == 1)
                        gift_handed(stage.giver, &name, stage.receiver);
                gift_returned(stage.receiver, &range);
                if (how == 0)
                        cr_assert_eq(buddyclient_release(stage.receiver, &range), -ESTALE);
                else
                        cr_assert_eq(buddyclient_release(stage.giver, &range), -ESTALE);
                expect_kept_by(&stage, second, &range, mark);
        }
        gift_stage_close(&stage);
}

Test(gifts_shared, a_giver_that_keeps_a_hold_keeps_the_range) {
        doubly_held(0);
}

Test(gifts_shared, what_is_given_twice_is_released_twice) {
        doubly_held(1);
}

Test(gifts_shared, what_the_receiver_has_attached_to_before_is_released_twice) {
        doubly_held(2);
}

/* ---- Keys ---- */

Test(gifts_shared, what_the_receiver_publishes_outlives_its_release) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (int round = 0; round < 6; round++) {
                struct buddyclient_range found, gift = gift_new(&stage, SCENE_PAGE << round);
                if (round % 2)
                        gift = gift_again(stage.receiver, &gift);
                uint64_t mark = mark_of(&gift);
                cr_assert_eq(buddyclient_publish(stage.receiver, "gift", &gift), 0);
                gift_returned(stage.receiver, &gift);
                cr_assert_eq(buddyclient_release(stage.receiver, &gift), -ESTALE);
                expect_rest_free(&stage, gift.length);
                cr_assert_eq(buddyclient_lookup(stage.third, "gift", &found), 0);
                cr_assert_eq(memcmp(&found, &gift, sizeof found), 0);
                cr_assert(mark_holds(stage.third, &found, mark), "other content");
                cr_assert_eq(buddyclient_unpublish(stage.receiver, "gift"), 0);
                cr_assert_eq(buddyclient_lookup(stage.receiver, "gift", &found), -ENOENT);
                expect_kept_by(&stage, stage.third, &gift, mark);
        }
        gift_stage_close(&stage);
}

Test(gifts_shared, what_the_giver_published_outlives_the_receivers_release) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (int round = 0; round < 6; round++) {
                struct buddyclient_range found,
                        range = gift_taken(stage.giver, SCENE_PAGE << round);
                uint64_t mark = mark_of(&range);
                cr_assert_eq(buddyclient_publish(stage.giver, "range", &range), 0);
                gift_handed(stage.giver, &range, stage.receiver);
                gift_returned(stage.receiver, &range);
                expect_rest_free(&stage, range.length);
                cr_assert_eq(buddyclient_lookup(stage.receiver, "range", &found), 0);
                cr_assert_eq(found.offset, range.offset);
                cr_assert_eq(buddyclient_unpublish(stage.giver, "range"), 0);
                cr_assert(mark_holds(stage.receiver, &found, mark), "other content");
                expect_kept_by(&stage, stage.receiver, &found, mark);
        }
        gift_stage_close(&stage);
}

/* ---- Batches ---- */

enum { BATCH = 64 };

static uint64_t batch_take(
        struct buddyclient *client, struct buddyclient_range *ranges, size_t count, size_t stride) {
        uint64_t bytes = 0;
        for (size_t each = 0; each < count; each++) {
                ranges[each * stride] = gift_taken(client, SCENE_PAGE << each % 5);
                bytes += ranges[each * stride].length;
        }
        return bytes;
}

static void batch_give(struct gift_stage *stage, struct buddyclient_range *ranges, size_t count) {
        int result =
                buddyclient_give_many(stage->giver, ranges, count, buddyclient_id(stage->receiver));
        cr_assert_eq(result, 0, "%d %s", result, buddyclient_detail(stage->giver));
}

Test(gifts_shared, batches_of_gifts_go_to_and_fro) {
        struct gift_stage stage;
        struct buddyclient_range ranges[BATCH];
        gift_stage_open(&stage);
        for (int round = 0; round < 60; round++) {
                uint64_t bytes = batch_take(stage.giver, ranges, BATCH, 1);
                batch_give(&stage, ranges, BATCH);
                expect_held(stage.observer, bytes);
                cr_assert_eq(buddyclient_release_many(stage.giver, ranges, BATCH), -ESTALE);
                for (size_t each = 0; each < BATCH; each++)
                        cr_assert(
                                mark_holds(stage.receiver, &ranges[each], mark_of(&ranges[each])));
                cr_assert_eq(buddyclient_release_many(stage.receiver, ranges, BATCH), 0);
                cr_assert_eq(buddyclient_release_many(stage.receiver, ranges, BATCH), -ESTALE);
                expect_held(stage.observer, 0);
                cr_assert_eq(buddyclient_alloc_many(stage.receiver, SCENE_PAGE, BATCH, ranges), 0);
                cr_assert_eq(buddyclient_release_many(stage.receiver, ranges, BATCH), 0);
        }
        gift_stage_close(&stage);
}

/* Gifts and own ranges in turns, one of them bad. */
static void expect_batch_refused(struct gift_stage *stage, const struct buddyclient_range *ranges,
        const struct buddyclient_range *bad) {
        struct buddyclient_range batch[BATCH + 1];
        uint64_t held = stats_of(stage->observer).held_bytes;
        for (size_t place = 0; place <= BATCH; place += BATCH / 4) {
                memcpy(batch, ranges, place * sizeof *batch);
                batch[place] = *bad;
                memcpy(batch + place + 1, ranges + place, (BATCH - place) * sizeof *batch);
                int result = buddyclient_release_many(stage->receiver, batch, BATCH + 1);
                cr_assert_eq(result, -ESTALE, "at %zu: %d", place, result);
                expect_held(stage->observer, held);
                cr_assert_eq(buddyclient_give_many(stage->receiver, batch, BATCH + 1,
                                     buddyclient_id(stage->giver)),
                        -ESTALE);
                expect_held(stage->observer, held);
        }
}

Test(gifts_shared, a_batch_of_gifts_and_own_ranges_is_released_as_a_whole) {
        struct gift_stage stage;
        struct buddyclient_range ranges[BATCH], gifts[BATCH / 2];
        gift_stage_open(&stage);
        struct buddyclient_range foreign = gift_taken(stage.third, SCENE_PAGE);
        for (int round = 0; round < 8; round++) {
                struct buddyclient_range spent = gift_new(&stage, SCENE_PAGE);
                gift_returned(stage.receiver, &spent);
                uint64_t bytes = batch_take(stage.giver, gifts, BATCH / 2, 1);
                batch_give(&stage, gifts, BATCH / 2);
                bytes += batch_take(stage.receiver, ranges + 1, BATCH / 2, 2);
                for (size_t each = 0; each < BATCH / 2; each++)
                        ranges[2 * each] = gifts[each];
                expect_batch_refused(&stage, ranges, &spent);
                expect_batch_refused(&stage, ranges, &foreign);
                expect_batch_refused(&stage, ranges, &ranges[0]);
                expect_batch_refused(&stage, ranges, &ranges[BATCH - 1]);
                expect_held(stage.observer, bytes + SCENE_PAGE);
                for (size_t each = 0; each < BATCH; each++)
                        cr_assert(
                                mark_holds(stage.receiver, &ranges[each], mark_of(&ranges[each])));
                cr_assert_eq(buddyclient_release_many(stage.receiver, ranges, BATCH), 0);
                cr_assert_eq(buddyclient_release_many(stage.receiver, ranges, BATCH), -ESTALE);
                expect_held(stage.observer, SCENE_PAGE);
        }
        gift_returned(stage.third, &foreign);
        gift_stage_close(&stage);
}

/* Some of a batch are shared with others: those are kept, and the batch is done. */
Test(gifts_shared, a_batch_with_shared_gifts_is_released) {
        struct gift_stage stage;
        struct buddyclient_range ranges[BATCH];
        gift_stage_open(&stage);
        for (int round = 0; round < 8; round++) {
                uint64_t kept = 0;
                batch_take(stage.giver, ranges, BATCH, 1);
                batch_give(&stage, ranges, BATCH);
                for (size_t each = 0; each < BATCH; each += 8) {
                        cr_assert_eq(buddyclient_attach(stage.third, &ranges[each]), 0);
                        kept += ranges[each].length;
                }
                cr_assert_eq(buddyclient_release_many(stage.receiver, ranges, BATCH), 0);
                expect_rest_free(&stage, kept);
                for (size_t each = 0; each < BATCH; each += 8) {
                        cr_assert(mark_holds(stage.third, &ranges[each], mark_of(&ranges[each])));
                        gift_returned(stage.third, &ranges[each]);
                }
        }
        gift_stage_close(&stage);
}

/* A gift is a range like any other for its receiver, who may keep it in a cache and take it again: each name works in its life,
 * outdated ones are refused, batches go as a whole, and all the same with a cache on one side, both or none. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gift_stage.h"
#include "outcome.h"

TestSuite(gifts, .timeout = 120);

static const uint64_t lengths[] = {SCENE_PAGE, 4 * SCENE_PAGE, 64 * 1024, 512 * 1024, MIB, 2 * MIB};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static uint32_t id_of(struct buddyclient *client) {
        return buddyclient_id(client);
}

/* ---- Names ---- */

Test(gifts, a_gift_is_released_once) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (int round = 0; round < 3; round++) {
                for (size_t each = 0; each < LENGTHS; each++) {
                        struct buddyclient_range gift = gift_new(&stage, lengths[each]);
                        expect_held(stage.observer, lengths[each]);
                        cr_assert_eq(buddyclient_release(stage.giver, &gift), -ESTALE);
                        cr_assert_eq(buddyclient_release(stage.third, &gift), -ESTALE);
                        gift_returned(stage.receiver, &gift);
                        expect_held(stage.observer, 0);
                        expect_outdated(&stage, &gift);
                }
        }
        gift_stage_close(&stage);
}

Test(gifts, an_earlier_name_is_refused_when_the_block_is_in_use_again) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (size_t each = 0; each < LENGTHS; each++) {
                struct buddyclient_range gift = gift_new(&stage, lengths[each]);
                for (int lives = 0; lives < 3; lives++) {
                        struct buddyclient_range next = gift_again(stage.receiver, &gift);
                        expect_outdated(&stage, &gift);
                        cr_assert(mark_holds(stage.receiver, &next, mark_of(&next)));
                        gift = next;
                }
                gift_returned(stage.receiver, &gift);
        }
        gift_stage_close(&stage);
}

/* Ways to get a name wrong. */
static const struct {
        uint64_t offset_more;
        int length_shift;
        uint64_t length_less, generation_more;
} mistakes[] = {
        {0, 0, 0, 1},
        {0, 0, 0, UINT64_C(1) << 31},
        {0, 1, 0, 0},
        {0, -1, 0, 0},
        {0, 0, 1, 0},
        {0, -60, 0, 0},
        {8, 0, 0, 0},
        {SCENE_PAGE, 0, 0, 0},
        {2 * SCENE_PAGE, -1, 0, 0},
        {GIFT_POOL_BYTES, 0, 0, 0},
};

static struct buddyclient_range mistaken(struct buddyclient_range range, size_t how) {
        int shift = mistakes[how].length_shift;
        range.offset += mistakes[how].offset_more;
        range.length = shift < 0 ? range.length >> -shift : range.length << shift;
        range.length -= mistakes[how].length_less;
        range.generation += mistakes[how].generation_more;
        return range;
}

static void expect_mistakes_refused(
        struct gift_stage *stage, const struct buddyclient_range *gift) {
        for (size_t how = 0; how < sizeof mistakes / sizeof *mistakes; how++) {
                struct buddyclient_range wrong = mistaken(*gift, how), pair[2] = {*gift, wrong};
                int result = buddyclient_release(stage->receiver, &wrong);
                cr_assert(result == -ESTALE || result == -EINVAL, "mistake %zu: %d", how, result);
                cr_assert_str_not_empty(buddyclient_detail(stage->receiver));
                result = buddyclient_release_many(stage->receiver, pair, 2);
                cr_assert(result == -ESTALE || result == -EINVAL, "mistake %zu: %d", how, result);
                expect_held(stage->observer, gift->length);
                cr_assert(mark_holds(stage->receiver, gift, mark_of(gift)));
        }
}

Test(gifts, a_wrong_name_of_a_gift_is_refused_as_of_any_range) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (size_t each = 1; each < LENGTHS; each++) {
                struct buddyclient_range gift = gift_new(&stage, lengths[each]);
                expect_mistakes_refused(&stage, &gift);
                gift = gift_again(stage.receiver, &gift);
                expect_mistakes_refused(&stage, &gift);
                gift_returned(stage.receiver, &gift);
        }
        gift_stage_close(&stage);
}

/* Names of uses that the block has not had yet, in the life that it is in; of 2 MiB there is one use only. */
Test(gifts, a_name_that_was_never_granted_is_refused_for_a_gift) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (size_t each = 0; each < LENGTHS - 1; each++) {
                struct buddyclient_range gift = gift_new(&stage, lengths[each]), never = gift;
                for (unsigned ahead = 1; ahead <= 3; ahead++) {
                        never.generation = gift.generation + ((uint64_t)ahead << 32);
                        int result = buddyclient_release(stage.receiver, &never);
                        cr_assert(result == -ESTALE || result == -EINVAL, "%lu bytes, %u: %d",
                                gift.length, ahead, result);
                        expect_held(stage.observer, gift.length);
                }
                gift_returned(stage.receiver, &gift);
        }
        gift_stage_close(&stage);
}

/* The block had several uses with the giver, in the same life for the daemon: only the last one's name is the gift's. */
Test(gifts, a_name_of_the_givers_earlier_use_is_refused_for_a_gift) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (int round = 0; round < 20; round++) {
                struct buddyclient_range old = gift_taken(stage.giver, SCENE_PAGE << round % 5);
                struct buddyclient_range gift = gift_again(stage.giver, &old);
                gift_handed(stage.giver, &gift, stage.receiver);
                expect_outdated(&stage, &old);
                expect_held(stage.observer, gift.length);
                gift_returned(stage.receiver, &gift);
                expect_outdated(&stage, &gift);
                expect_outdated(&stage, &old);
        }
        gift_stage_close(&stage);
}

/* ---- Before the giver has heard of it ---- */

/* Returns it as soon as it is the client's. */
static void await_released(struct buddyclient *client, const struct buddyclient_range *range) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        int result;
        while ((result = buddyclient_release(client, range)) == -ESTALE)
                cr_assert_lt(now_ms(), deadline, "the gift does not arrive");
        cr_assert_eq(result, 0, "%d %s", result, buddyclient_detail(client));
}

/* The giver has sent its gift and reads the answer only when all else is done. */
static void release_ahead(struct gift_stage *stage, uint64_t length, bool over_a_kill) {
        struct outcome outcome = {0};
        struct buddyclient_range name = gift_taken(stage->giver, length);
        uint64_t mark = mark_of(&name);
        cr_assert_eq(buddyclient_submit_give(
                             stage->giver, &name, id_of(stage->receiver), outcome_note, &outcome),
                0);
        cr_assert_geq(buddyclient_dispatch(stage->giver), 0);
        await_released(stage->receiver, &name);
        cr_assert_eq(buddyclient_release(stage->receiver, &name), -ESTALE);
        cr_assert_eq(buddyclient_attach(stage->third, &name), -ESTALE);
        struct buddyclient_range later = gift_taken(stage->receiver, length);
        cr_assert(later.offset != name.offset || mark_of(&later) != mark);
        cr_assert_eq(buddyclient_release(stage->receiver, &name), -ESTALE);
        if (over_a_kill)
                gift_stage_restart(stage);
        outcome_await(stage->giver, &outcome, 0);
        cr_assert_eq(outcome.count, 1);
        cr_assert_eq(outcome.ranges[0].offset, name.offset);
        expect_outdated(stage, &name);
        expect_outdated(stage, &outcome.ranges[0]);
        cr_assert(mark_holds(stage->receiver, &later, mark_of(&later)));
        expect_held(stage->observer, length);
        gift_returned(stage->receiver, &later);
}

Test(gifts, a_gift_is_released_before_its_giver_hears_of_it) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (int round = 0; round < 50; round++)
                release_ahead(&stage, lengths[round % 3], false);
        gift_stage_close(&stage);
}

Test(gifts, a_gift_is_released_before_its_giver_hears_of_it_over_a_kill) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (int round = 0; round < 6; round++)
                release_ahead(&stage, lengths[round % 3], true);
        gift_stage_close(&stage);
}

/* ---- To and fro ---- */

enum { NAMES_MAX = 8192 };

/* All names that a test has been granted. */
struct names {
        struct buddyclient_range ranges[NAMES_MAX];
        size_t count;
};

static void names_note(struct names *names, const struct buddyclient_range *range) {
        cr_assert_lt(names->count, NAMES_MAX);
        names->ranges[names->count++] = *range;
}

static int names_compare(const void *one, const void *other) {
        return memcmp(one, other, sizeof(struct buddyclient_range));
}

static void expect_names_differ(struct names *names) {
        qsort(names->ranges, names->count, sizeof *names->ranges, names_compare);
        for (size_t each = 1; each < names->count; each++)
                cr_assert_neq(names_compare(&names->ranges[each - 1], &names->ranges[each]), 0,
                        "a name is used twice");
}

/* Two of them hand a range to each other; who has it returns it and takes one, maybe the same block, for the other. */
static void ping_pong(struct gift_stage *stage, uint64_t length, size_t rounds) {
        static struct names names;
        struct buddyclient *players[2] = {stage->giver, stage->receiver};
        names.count = 0;
        struct buddyclient_range range = gift_taken(players[0], length);
        for (size_t round = 0; round < rounds; round++) {
                struct buddyclient *from = players[round % 2], *to = players[(round + 1) % 2];
                uint64_t mark = mark_of(&range);
                names_note(&names, &range);
                gift_handed(from, &range, to);
                cr_assert_eq(buddyclient_release(from, &range), -ESTALE);
                cr_assert(mark_holds(to, &range, mark), "round %zu: other bytes", round);
                gift_returned(to, &range);
                cr_assert_eq(buddyclient_release(to, &range), -ESTALE);
                struct buddyclient_range outdated = names.ranges[(size_t)rand() % names.count];
                range = gift_taken(to, length);
                cr_assert_eq(buddyclient_release(to, &outdated), -ESTALE);
                cr_assert_eq(buddyclient_release(from, &outdated), -ESTALE);
                if (round % 8 == 0)
                        cr_assert_eq(buddyclient_attach(stage->third, &outdated), -ESTALE);
                if (round % 256 == 0)
                        expect_held(stage->observer, length);
        }
        gift_returned(players[rounds % 2], &range);
        expect_names_differ(&names);
        for (size_t each = 0; each < names.count; each += 97)
                expect_outdated(stage, &names.ranges[each]);
}

Test(gifts, ping_pong_between_two_caches) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        ping_pong(&stage, SCENE_PAGE, 4000);
        gift_stage_close(&stage);
}

Test(gifts, ping_pong_with_all_lengths) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (size_t each = 1; each < LENGTHS; each++)
                ping_pong(&stage, lengths[each], 300);
        gift_stage_close(&stage);
}

/* The same block all the time: nobody has another one of that length, as all the rest is held. */
Test(gifts, ping_pong_with_one_block) {
        static struct buddyclient_range pages[GIFT_POOL_PAGES];
        struct gift_stage stage;
        gift_stage_open(&stage);
        size_t taken = take_all(stage.observer, pages);
        gift_returned(stage.observer, &pages[taken / 2]);
        struct buddyclient *players[2] = {stage.giver, stage.receiver};
        struct buddyclient_range range = gift_taken(players[0], SCENE_PAGE), before = range;
        for (int round = 0; round < 2000; round++) {
                struct buddyclient *from = players[round % 2], *to = players[(round + 1) % 2],
                                   *taker = players[round / 2 % 2];
                gift_handed(from, &range, to);
                gift_returned(to, &range);
                before = range;
                range = gift_taken(taker, SCENE_PAGE);
                cr_assert_eq(range.offset, before.offset);
                cr_assert_neq(range.generation, before.generation);
                cr_assert_eq(buddyclient_release(from, &before), -ESTALE);
                cr_assert_eq(buddyclient_release(to, &before), -ESTALE);
                if (taker != to)
                        gift_handed(taker, &range, to);
        }
        gift_returned(players[0], &range);
        expect_outdated(&stage, &before);
        taken--;
        pages[(taken + 1) / 2] = pages[taken];
        cr_assert_eq(buddyclient_release_many(stage.observer, pages, taken), 0);
        gift_stage_close(&stage);
}

/* Onwards without a release: only who has it can release it, and others may look at it by its name on the way. */
Test(gifts, a_gift_goes_round) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct buddyclient *ring[3] = {stage.giver, stage.receiver, stage.third};
        for (int round = 0; round < 400; round++) {
                struct buddyclient_range gift =
                        gift_taken(ring[round % 3], lengths[round % LENGTHS]);
                uint64_t mark = mark_of(&gift);
                int steps = 1 + round % 7;
                for (int step = 0; step < steps; step++) {
                        gift_handed(ring[(round + step) % 3], &gift, ring[(round + step + 1) % 3]);
                        cr_assert_eq(buddyclient_release(ring[(round + step) % 3], &gift), -ESTALE);
                        if ((round + step) % 5 != 0)
                                continue;
                        cr_assert_eq(buddyclient_attach(stage.observer, &gift), 0);
                        gift_returned(stage.observer, &gift);
                }
                cr_assert(mark_holds(ring[(round + steps) % 3], &gift, mark));
                gift_returned(ring[(round + steps) % 3], &gift);
                if (round % 20 == 0)
                        expect_outdated(&stage, &gift);
                cr_assert_eq(buddyclient_release(ring[(round + steps) % 3], &gift), -ESTALE);
        }
        gift_stage_close(&stage);
}

/* ---- With and without caches ---- */

Test(gifts, the_same_without_a_cache_at_the_receiver) {
        struct gift_stage stage;
        gift_stage_open_with(&stage, GIFT_CACHE, 0);
        ping_pong(&stage, SCENE_PAGE, 1000);
        ping_pong(&stage, 64 * 1024, 200);
        gift_stage_close(&stage);
}

Test(gifts, the_same_without_a_cache_at_the_giver) {
        struct gift_stage stage;
        gift_stage_open_with(&stage, 0, GIFT_CACHE);
        ping_pong(&stage, SCENE_PAGE, 1000);
        ping_pong(&stage, 64 * 1024, 200);
        gift_stage_close(&stage);
}

Test(gifts, the_same_without_any_cache) {
        struct gift_stage stage;
        gift_stage_open_with(&stage, 0, 0);
        ping_pong(&stage, SCENE_PAGE, 1000);
        ping_pong(&stage, 64 * 1024, 200);
        gift_stage_close(&stage);
}

Test(gifts, a_read_only_receiver_releases_them) {
        struct gift_stage stage;
        struct buddyclient *reader = NULL;
        gift_stage_open(&stage);
        cr_assert_eq(buddyclient_new(&reader), 0);
        cr_assert_eq(buddyclient_set_socket(reader, stage.scene.socket), 0);
        cr_assert_eq(buddyclient_set_pool(reader, stage.scene.pool), 0);
        cr_assert_eq(buddyclient_set_read_only(reader, true), 0);
        cr_assert_eq(buddyclient_connect(reader), 0);
        for (int round = 0; round < 200; round++) {
                struct buddyclient_range gift = gift_taken(stage.giver, lengths[round % LENGTHS]);
                uint64_t mark = mark_of(&gift);
                gift_handed(stage.giver, &gift, reader);
                cr_assert(mark_holds(reader, &gift, mark));
                gift_returned(reader, &gift);
                cr_assert_eq(buddyclient_release(reader, &gift), -ESTALE);
                cr_assert_eq(buddyclient_attach(stage.third, &gift), -ESTALE);
        }
        expect_rest_free(&stage, 0);
        buddyclient_destroy(reader);
        gift_stage_close(&stage);
}

/* A forked child of the receiver has neither the gifts nor what is cached of them. */
Test(gifts, a_forked_child_of_the_receiver_touches_none) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct buddyclient_range held = gift_new(&stage, SCENE_PAGE), kept = held;
        kept = gift_new(&stage, SCENE_PAGE);
        gift_returned(stage.receiver, &kept);
        struct buddyclient_stats before = stats_of(stage.observer);
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient_range range;
                int released = buddyclient_release(stage.receiver, &held);
                int taken = buddyclient_alloc(stage.receiver, SCENE_PAGE, &range);
                buddyclient_destroy(stage.receiver);
                _exit(released == -ENOTCONN && taken == -ENOTCONN ? 0 : 1);
        }
        cr_assert_eq(process_wait(process), 0);
        struct buddyclient_stats after = stats_of(stage.observer);
        cr_assert_eq(after.held_bytes, before.held_bytes);
        cr_assert_eq(after.cached_bytes, before.cached_bytes);
        gift_returned(stage.receiver, &held);
        gift_stage_close(&stage);
}

/* ---- While the daemon does not answer ---- */

/* A release that was not confirmed in time counts as one: the cache has room again, and does not take the range. */
Test(gifts, a_gift_that_was_returned_in_vain_is_not_returned_into_the_cache) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        buddyclient_destroy(stage.receiver);
        cr_assert_eq(buddyclient_new(&stage.receiver), 0);
        cr_assert_eq(buddyclient_set_socket(stage.receiver, stage.scene.socket), 0);
        cr_assert_eq(buddyclient_set_pool(stage.receiver, stage.scene.pool), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(stage.receiver, SCENE_PAGE), 0); /* one slot */
        cr_assert_eq(buddyclient_set_timeout_ms(stage.receiver, IMPATIENT_MS), 0);
        cr_assert_eq(buddyclient_connect(stage.receiver), 0);

        struct buddyclient_range first = gift_new(&stage, SCENE_PAGE);
        struct buddyclient_range second = gift_new(&stage, SCENE_PAGE), again;
        gift_returned(stage.receiver, &first);
        scene_freeze(&stage.scene);
        cr_assert_eq(buddyclient_release(stage.receiver, &second), -ENOTCONN, "there was room");
        cr_assert_eq(buddyclient_alloc(stage.receiver, SCENE_PAGE, &again), 0);
        cr_assert_eq(again.offset, first.offset, "it is not from the cache");
        cr_assert_neq(buddyclient_release(stage.receiver, &second), 0);
        scene_thaw(&stage.scene);
        cr_assert_eq(buddyclient_release(stage.receiver, &second), -ESTALE);
        expect_held(stage.observer, SCENE_PAGE);
        gift_returned(stage.receiver, &again);
        gift_stage_close(&stage);
}

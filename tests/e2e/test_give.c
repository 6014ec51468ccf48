/* Holds that move from one client to another: give and give_many, all or none, and who is left with what. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(give, .timeout = 60);

static bool same_range(const struct buddyclient_range *one, const struct buddyclient_range *other) {
        return memcmp(one, other, sizeof *one) == 0;
}

/* Two clients of one pool. */
struct duo {
        struct scene scene;
        struct buddyclient *one, *other;
};

static void duo_open(struct duo *duo) {
        scene_open(&duo->scene);
        scene_start(&duo->scene, "--size", "32M", NULL);
        duo->one = client_new(&duo->scene);
        duo->other = client_new(&duo->scene);
        cr_assert_neq(buddyclient_id(duo->one), 0);
        cr_assert_neq(buddyclient_id(duo->one), buddyclient_id(duo->other));
}

/* Nothing may be held any more. */
static void duo_close(struct duo *duo) {
        expect_held(duo->one, 0);
        cr_assert_eq(stats_of(duo->one).largest_free_bytes, 32 * MIB, "not merged");
        buddyclient_destroy(duo->one);
        buddyclient_destroy(duo->other);
        scene_close(&duo->scene);
}

static struct buddyclient_range taken(struct buddyclient *client, uint64_t length, int stamp) {
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, length, &range), 0);
        memset(buddyclient_pointer(client, &range), stamp, range.length);
        return range;
}

static void expect_bytes(
        struct buddyclient *client, const struct buddyclient_range *range, int stamp) {
        const unsigned char *bytes = buddyclient_pointer(client, range);
        for (uint64_t at = 0; at < range->length; at++)
                cr_assert_eq(bytes[at], stamp, "byte %lu is %d", at, bytes[at]);
}

Test(give, give_moves_a_hold) {
        struct duo duo;
        duo_open(&duo);
        struct buddyclient_range range = taken(duo.one, SCENE_PAGE, 8), given = range;
        cr_assert_eq(buddyclient_give(duo.one, &given, buddyclient_id(duo.other)), 0);
        cr_assert_eq(given.offset, range.offset);
        cr_assert_eq(given.length, range.length);
        struct buddyclient_range old = range, new = given;
        cr_assert_eq(buddyclient_release(duo.one, &range), -ESTALE);
        cr_assert_eq(buddyclient_release(duo.one, &given), -ESTALE);
        cr_assert_eq(buddyclient_give(duo.one, &old, buddyclient_id(duo.other)), -ESTALE);
        cr_assert_eq(buddyclient_give(duo.one, &new, buddyclient_id(duo.one)), -ESTALE);
        cr_assert(same_range(&old, &range) && same_range(&new, &given), "a refusal wrote");
        expect_held(duo.one, SCENE_PAGE);
        expect_bytes(duo.other, &given, 8);
        struct buddyclient_range more = taken(duo.one, SCENE_PAGE, 9);
        cr_assert_neq(more.offset, given.offset);
        cr_assert_eq(buddyclient_release(duo.one, &more), 0);
        cr_assert_eq(buddyclient_attach(duo.other, &given), 0);
        cr_assert_eq(buddyclient_release(duo.other, &given), 0);
        cr_assert_eq(buddyclient_release(duo.other, &given), 0);
        cr_assert_eq(buddyclient_release(duo.other, &given), -ESTALE);
        duo_close(&duo);
}

Test(give, give_moves_one_of_several_holds) {
        struct duo duo;
        duo_open(&duo);
        struct buddyclient_range range = taken(duo.one, SCENE_PAGE, 1);
        cr_assert_eq(buddyclient_attach(duo.one, &range), 0);
        struct buddyclient_range given = range;
        cr_assert_eq(buddyclient_give(duo.one, &given, buddyclient_id(duo.other)), 0);
        cr_assert_eq(buddyclient_release(duo.one, &given), 0);
        cr_assert_eq(buddyclient_release(duo.one, &given), -ESTALE);
        cr_assert_eq(buddyclient_give(duo.other, &given, buddyclient_id(duo.one)), 0);
        cr_assert_eq(buddyclient_release(duo.other, &given), -ESTALE);
        cr_assert_eq(buddyclient_release(duo.one, &given), 0);
        duo_close(&duo);
}

Test(give, giving_to_oneself_changes_nothing) {
        struct duo duo;
        duo_open(&duo);
        struct buddyclient_range range = taken(duo.one, SCENE_PAGE, 1);
        int result = buddyclient_give(duo.one, &range, buddyclient_id(duo.one));
        cr_assert(result == 0 || result == -EINVAL, "%d", result);
        cr_assert_eq(buddyclient_release(duo.one, &range), 0);
        cr_assert_eq(buddyclient_release(duo.one, &range), -ESTALE);
        duo_close(&duo);
}

Test(give, give_to_nobody_is_refused) {
        struct duo duo;
        duo_open(&duo);
        struct buddyclient_range range = taken(duo.one, SCENE_PAGE, 4), before = range;
        uint32_t gone = buddyclient_id(duo.other), nobody[] = {gone, 0, 77777, UINT32_MAX};
        buddyclient_destroy(duo.other);
        for (int each = 0; each < 4; each++) {
                cr_assert_eq(buddyclient_give(duo.one, &range, nobody[each]), -ENOENT, "to %u",
                        nobody[each]);
                cr_assert_eq(buddyclient_give_many(duo.one, &range, 1, nobody[each]), -ENOENT);
                cr_assert(same_range(&range, &before), "a refusal wrote");
        }
        expect_held(duo.one, SCENE_PAGE);
        cr_assert_eq(buddyclient_release(duo.one, &range), 0);
        duo.other = client_new(&duo.scene);
        cr_assert_neq(buddyclient_id(duo.other), gone, "a gone client's id lives again");
        duo_close(&duo);
}

Test(give, only_a_holder_can_give) {
        struct duo duo;
        duo_open(&duo);
        struct buddyclient_range range = taken(duo.one, SCENE_PAGE, 4), tried = range;
        cr_assert_eq(buddyclient_give(duo.other, &tried, buddyclient_id(duo.other)), -ESTALE);
        cr_assert_eq(buddyclient_give(duo.other, &tried, buddyclient_id(duo.one)), -ESTALE);
        tried.offset += 100;
        cr_assert_eq(buddyclient_give(duo.one, &tried, buddyclient_id(duo.other)), -EINVAL);
        cr_assert_eq(buddyclient_release(duo.other, &range), -ESTALE);
        cr_assert_eq(buddyclient_release(duo.one, &range), 0);
        duo_close(&duo);
}

/* ---- give_many ---- */

Test(give, give_many_moves_4096) {
        static struct buddyclient_range ranges[4097];
        struct duo duo;
        duo_open(&duo);
        uint32_t peer = buddyclient_id(duo.other);
        cr_assert_eq(buddyclient_alloc_many(duo.one, 1, 4096, ranges), 0);
        ranges[4096] = taken(duo.one, 1, 1);
        cr_assert_eq(buddyclient_give_many(duo.one, ranges, 0, peer), -EINVAL);
        cr_assert_eq(buddyclient_give_many(duo.one, ranges, 4097, peer), -EINVAL);
        cr_assert_eq(buddyclient_give_many(duo.one, ranges, 4096, peer), 0);
        for (int each = 0; each < 4096; each += 512)
                cr_assert_eq(buddyclient_release(duo.one, &ranges[each]), -ESTALE);
        expect_sound(&duo.scene);
        cr_assert_eq(buddyclient_release(duo.one, &ranges[4096]), 0);
        cr_assert_eq(buddyclient_release_many(duo.other, ranges, 4096), 0);
        duo_close(&duo);
}

Test(give, give_many_moves_all_or_none) {
        struct duo duo;
        struct buddyclient_range ranges[9], tried[9];
        duo_open(&duo);
        uint32_t peer = buddyclient_id(duo.other);
        cr_assert_eq(buddyclient_alloc_many(duo.one, 1, 8, ranges), 0);
        ranges[8] = ranges[0];
        struct buddyclient_range spent = taken(duo.one, 1, 1), theirs = taken(duo.other, 1, 1);
        cr_assert_eq(buddyclient_release(duo.one, &spent), 0);
        const struct {
                struct buddyclient_range bad;
                int result;
        } cases[] = {{spent, -ESTALE}, {theirs, -ESTALE}, {ranges[0], -ESTALE},
                {{100, SCENE_PAGE, 1}, -EINVAL}, {{64 * MIB, SCENE_PAGE, 1}, -EINVAL}};
        for (size_t each = 0; each < sizeof cases / sizeof *cases; each++) {
                memcpy(tried, ranges, sizeof tried);
                tried[4] = cases[each].bad;
                int result = buddyclient_give_many(duo.one, tried, 8, peer);
                cr_assert_eq(result, cases[each].result, "case %zu: %d", each, result);
                tried[4] = ranges[4];
                cr_assert(memcmp(tried, ranges, sizeof tried) == 0, "a refusal wrote");
                cr_assert_eq(buddyclient_release(duo.other, &ranges[0]), -ESTALE);
        }
        cr_assert_eq(buddyclient_give_many(duo.one, ranges, 9, peer), -ESTALE, "once too often");
        cr_assert_eq(buddyclient_attach(duo.one, &ranges[0]), 0);
        cr_assert_eq(buddyclient_give_many(duo.one, ranges, 9, peer), 0);
        cr_assert_eq(buddyclient_release(duo.one, &ranges[0]), -ESTALE);
        cr_assert_eq(buddyclient_release_many(duo.other, ranges, 9), 0);
        cr_assert_eq(buddyclient_release(duo.other, &theirs), 0);
        duo_close(&duo);
}

Test(give, a_gift_goes_with_its_new_holder) {
        struct duo duo;
        int ends[2], back[2];
        duo_open(&duo);
        cr_assert(pipe(ends) == 0 && pipe(back) == 0);
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient *client = client_try(&duo.scene);
                uint32_t id = client ? buddyclient_id(client) : 0;
                if (write(ends[1], &id, sizeof id) != sizeof id || byte_read(back[0]) != 'G')
                        _exit(1);
                for (;;)
                        pause();
        }
        uint32_t peer = 0;
        cr_assert_eq(read(ends[0], &peer, sizeof peer), sizeof peer);
        struct buddyclient_range ranges[100], kept = taken(duo.one, 1, 2);
        cr_assert_eq(buddyclient_alloc_many(duo.one, 1, 100, ranges), 0);
        cr_assert_eq(buddyclient_give_many(duo.one, ranges, 100, peer), 0);
        byte_write(back[1], 'G');
        expect_held(duo.one, 101 * SCENE_PAGE);
        process_kill(process);
        await_held(duo.one, SCENE_PAGE);
        cr_assert_eq(buddyclient_release(duo.one, &kept), 0);
        duo_close(&duo);
}

Test(give, a_gift_outlives_its_giver) {
        struct duo duo;
        duo_open(&duo);
        struct buddyclient_range range = taken(duo.one, 4 * SCENE_PAGE, 8);
        cr_assert_eq(buddyclient_give(duo.one, &range, buddyclient_id(duo.other)), 0);
        buddyclient_destroy(duo.one);
        duo.one = client_new(&duo.scene);
        expect_held(duo.one, 4 * SCENE_PAGE);
        expect_bytes(duo.other, &range, 8);
        cr_assert_eq(buddyclient_release(duo.other, &range), 0);
        duo_close(&duo);
}

/* Who still knows the id of a client that left must not reach a stranger with it, whichever daemon answers. */
Test(give, a_gone_peers_id_stays_nobodys_over_a_crash) {
        struct duo duo;
        duo_open(&duo);
        struct buddyclient_range range = taken(duo.one, SCENE_PAGE, 4);
        uint32_t gone = buddyclient_id(duo.other);
        buddyclient_destroy(duo.other);
        scene_kill(&duo.scene);
        scene_start(&duo.scene, "--size", "32M", NULL);
        duo.other = client_new(&duo.scene);
        cr_expect_neq(buddyclient_id(duo.other), gone, "a gone client's id lives again");
        cr_expect_eq(buddyclient_give(duo.one, &range, gone), -ENOENT);
        cr_expect_eq(buddyclient_release(duo.one, &range), 0);
        duo_close(&duo);
}

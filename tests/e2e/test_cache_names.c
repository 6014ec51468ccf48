/* A release or an attach by a wrong name is refused on the cached path as it is without a cache, and who else holds a
 * range keeps it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "gift_stage.h"

TestSuite(cache_names, .timeout = 120);

#define POOL       "64M"
#define POOL_BYTES (64 * MIB)

struct play {
        struct scene scene;
        struct buddyclient *owner, *other, *observer; /* the observer has no cache */
};

static struct buddyclient *cached_new(const struct scene *scene) {
        struct buddyclient *client = client_caching(scene);
        cr_assert_not_null(client);
        return client;
}

static void play_open(struct play *play) {
        scene_open(&play->scene);
        scene_start(&play->scene, "--size", POOL, NULL);
        play->owner = cached_new(&play->scene);
        play->other = cached_new(&play->scene);
        play->observer = client_new(&play->scene);
}

static void play_close(struct play *play) {
        expect_sound(&play->scene);
        buddyclient_destroy(play->owner);
        buddyclient_destroy(play->other);
        await_held(play->observer, 0);
        cr_assert_eq(stats_of(play->observer).cached_bytes, 0);
        cr_assert_eq(stats_of(play->observer).largest_free_bytes, POOL_BYTES, "not merged");
        buddyclient_destroy(play->observer);
        scene_close(&play->scene);
}

static struct buddyclient_range taken(struct buddyclient *client, uint64_t length) {
        struct buddyclient_range range;
        int result = buddyclient_alloc(client, length, &range);
        cr_assert_eq(result, 0, "%d %s", result, buddyclient_detail(client));
        return range;
}

static void returned(struct buddyclient *client, const struct buddyclient_range *range) {
        int result = buddyclient_release(client, range);
        cr_assert_eq(result, 0, "%d %s", result, buddyclient_detail(client));
}

/* ---- Releases by wrong names ---- */

/* What is wrong with the name of a range that is held; false: there is no such case. */
static bool name_spoil(struct buddyclient_range *range, int how) {
        switch (how) {
        case 0:
                range->generation ^= 1;
                return true;
        case 1:
                range->generation ^= UINT64_C(1) << 32;
                return true;
        case 2:
                range->generation ^= UINT64_C(1) << 31;
                return true;
        case 3:
                range->generation ^= UINT64_C(1) << 63;
                return true;
        case 4:
                range->generation = 0;
                return true;
        case 5:
                range->generation = UINT64_MAX;
                return true;
        case 6:
                range->length /= 2;
                return true;
        case 7:
                range->length *= 2;
                return true;
        case 8:
                range->length = 0;
                return true;
        case 9:
                range->length -= 1;
                return true;
        case 10:
                range->offset += SCENE_PAGE;
                return true;
        case 11:
                range->offset += SCENE_PAGE;
                range->length = SCENE_PAGE;
                return true;
        case 12:
                range->offset += 8;
                return true;
        case 13:
                range->offset = POOL_BYTES;
                return true;
        case 14:
                range->offset = UINT64_MAX - SCENE_PAGE + 1;
                return true;
        case 15:
                range->length = UINT64_MAX;
                return true;
        default:
                return false;
        }
}

Test(cache_names, wrong_names_are_refused_as_without_a_cache) {
        struct play play;
        play_open(&play);
        for (uint64_t length = 2 * SCENE_PAGE; length <= 512 * 1024; length *= 4) {
                struct buddyclient_range plain = taken(play.observer, length),
                                         held = taken(play.owner, length);
                for (int lives = 0; lives < 2; lives++) {
                        struct buddyclient_range wrong = held, unlike = plain;
                        for (int how = 0; name_spoil(&wrong, how); how++) {
                                name_spoil(&unlike, how);
                                int result = buddyclient_release(play.owner, &wrong);
                                cr_assert_str_not_empty(buddyclient_detail(play.owner));
                                int expected = buddyclient_release(play.observer, &unlike);
                                cr_assert(result == -EINVAL || result == -ESTALE,
                                        "case %d of length %lu: %d", how, length, result);
                                cr_assert_eq(result, expected,
                                        "case %d of length %lu: %d, without a cache %d", how,
                                        length, result, expected);
                                expect_held(play.observer, 2 * length);
                                wrong = held, unlike = plain;
                        }
                        held = gift_again(play.owner, &held);
                        plain = gift_again(play.observer, &plain);
                }
                returned(play.owner, &held);
                returned(play.observer, &plain);
        }
        play_close(&play);
}

Test(cache_names, double_and_stale_releases_are_refused) {
        struct play play;
        play_open(&play);
        struct buddyclient_range first = taken(play.owner, 1);
        returned(play.owner, &first);
        for (int times = 0; times < 3; times++)
                cr_assert_eq(buddyclient_release(play.owner, &first), -ESTALE);
        cr_assert_str_not_empty(buddyclient_detail(play.owner));
        struct buddyclient_range range = taken(play.owner, 1), name = range;
        for (int lives = 0; lives < 200; lives++) {
                struct buddyclient_range next = gift_again(play.owner, &name);
                cr_assert_eq(buddyclient_release(play.owner, &name), -ESTALE);
                cr_assert_eq(buddyclient_release(play.owner, &range), -ESTALE);
                cr_assert_eq(buddyclient_attach(play.owner, &name), -ESTALE);
                cr_assert_eq(buddyclient_publish(play.owner, "stale", &name), -ESTALE);
                struct buddyclient_range given = name;
                cr_assert_eq(
                        buddyclient_give(play.owner, &given, buddyclient_id(play.other)), -ESTALE);
                expect_held(play.observer, SCENE_PAGE);
                name = next;
        }
        returned(play.owner, &name);
        play_close(&play);
}

Test(cache_names, a_foreign_range_is_not_released_into_a_cache) {
        struct play play;
        play_open(&play);
        struct buddyclient_range mine = taken(play.owner, 1), kept = taken(play.owner, 1);
        returned(play.owner, &kept);
        cr_assert_eq(buddyclient_release(play.other, &mine), -ESTALE);
        cr_assert_eq(buddyclient_release(play.other, &kept), -ESTALE, "another's cached range");
        cr_assert_eq(buddyclient_attach(play.other, &kept), -ESTALE, "another's cached range");
        cr_assert_eq(buddyclient_attach(play.owner, &kept), -ESTALE, "its own cached range");
        cr_assert_eq(buddyclient_publish(play.other, "k", &mine), -ESTALE);
        cr_assert_eq(buddyclient_publish(play.owner, "k", &kept), -ESTALE);
        expect_held(play.observer, SCENE_PAGE);
        returned(play.owner, &mine);
        play_close(&play);
}

/* All or none, when some are cached already, twice in the batch, or in an earlier life. */
Test(cache_names, a_batch_with_one_bad_name_returns_nothing) {
        struct play play;
        struct buddyclient_range ranges[33];
        play_open(&play);
        for (int each = 0; each < 32; each++)
                ranges[each] = taken(play.owner, SCENE_PAGE << each % 4);
        uint64_t held = stats_of(play.observer).held_bytes;
        struct buddyclient_range gone = taken(play.owner, 1);
        returned(play.owner, &gone);
        struct buddyclient_range foreign = taken(play.other, 1);
        const struct buddyclient_range *bad[] = {&gone, &foreign, &ranges[7]};
        for (int each = 0; each < 3; each++) {
                ranges[32] = *bad[each];
                cr_assert_eq(buddyclient_release_many(play.owner, ranges, 33), -ESTALE);
                expect_held(play.observer, held + SCENE_PAGE);
                struct buddyclient_range given[33];
                memcpy(given, ranges, sizeof given);
                cr_assert_eq(
                        buddyclient_give_many(play.owner, given, 33, buddyclient_id(play.other)),
                        -ESTALE);
                expect_held(play.observer, held + SCENE_PAGE);
        }
        cr_assert_eq(buddyclient_release_many(play.owner, ranges, 32), 0);
        cr_assert_eq(buddyclient_release_many(play.owner, ranges, 32), -ESTALE);
        returned(play.other, &foreign);
        expect_held(play.observer, 0);
        play_close(&play);
}

/* More lives of one block than fit into the part of its name that counts them. */
Test(cache_names, a_name_is_not_used_twice_however_often_the_block_is) {
        struct play play;
        play_open(&play);
        struct buddyclient_range first = taken(play.owner, 1), range = first;
        for (unsigned lives = 0; lives < (1u << 23) + 5; lives++) {
                if (buddyclient_release(play.owner, &range) != 0 ||
                        buddyclient_alloc(play.owner, 1, &range) != 0 ||
                        (range.offset == first.offset && range.generation == first.generation))
                        cr_assert_fail("life %u", lives);
        }
        cr_assert_eq(buddyclient_attach(play.other, &first), -ESTALE);
        cr_assert_eq(buddyclient_release(play.owner, &first), -ESTALE);
        expect_held(play.observer, SCENE_PAGE);
        returned(play.owner, &range);
        play_close(&play);
}

/* ---- Two threads, one range ---- */

struct pair {
        struct buddyclient *client;
        struct buddyclient_range range;
        atomic_uint round;
        atomic_int result;
};

enum { ROUNDS = 20000 };

static void await_round(struct pair *pair, unsigned round) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (atomic_load(&pair->round) < round)
                cr_assert_lt(now_ms(), deadline);
}

static void *release_too(void *argument) {
        struct pair *pair = argument;
        for (unsigned round = 0; round < ROUNDS; round++) {
                while (atomic_load(&pair->round) < 2 * round + 1)
                        ;
                atomic_store(&pair->result, buddyclient_release(pair->client, &pair->range));
                atomic_store(&pair->round, 2 * round + 2);
        }
        return NULL;
}

Test(cache_names, of_two_releases_at_once_one_is_refused) {
        struct play play;
        pthread_t thread;
        play_open(&play);
        struct pair pair = {.client = play.owner};
        cr_assert_eq(pthread_create(&thread, NULL, release_too, &pair), 0);
        for (unsigned round = 0; round < ROUNDS; round++) {
                pair.range = taken(play.owner, 1);
                atomic_store(&pair.round, 2 * round + 1);
                int mine = buddyclient_release(play.owner, &pair.range);
                await_round(&pair, 2 * round + 2);
                int theirs = atomic_load(&pair.result);
                cr_assert((mine == 0 && theirs == -ESTALE) || (mine == -ESTALE && theirs == 0),
                        "round %u: %d and %d", round, mine, theirs);
        }
        pthread_join(thread, NULL);
        expect_held(play.observer, 0);
        play_close(&play);
}

/* ---- Attaching ---- */

Test(cache_names, an_attach_to_an_earlier_life_is_refused) {
        struct play play;
        play_open(&play);
        for (uint64_t length = SCENE_PAGE; length <= 512 * 1024; length *= 2) {
                struct buddyclient_range old = taken(play.owner, length);
                struct buddyclient_range held = gift_again(play.owner, &old);
                cr_assert_eq(buddyclient_attach(play.other, &old), -ESTALE);
                cr_assert_eq(buddyclient_attach(play.observer, &old), -ESTALE);
                cr_assert_eq(buddyclient_attach(play.other, &held), 0);
                cr_assert_eq(
                        buddyclient_attach(play.other, &old), -ESTALE, "now that it is shared");
                returned(play.other, &held);
                cr_assert_eq(
                        buddyclient_attach(play.other, &old), -ESTALE, "now that it was shared");
                returned(play.owner, &held);
                cr_assert_eq(buddyclient_attach(play.other, &held), -ESTALE);
        }
        play_close(&play);
}

/* How an owner leaves a range to others. */
enum leaving { LEFT_GIVEN, LEFT_PUBLISHED, LEFT_ATTACHED, LEFT_RELEASED };

/* A range in its second life, whose owner leaves, over a kill of the daemon or not: the name of its first is good for nothing. */
static void leave_to_others(enum leaving how, bool over_a_kill) {
        struct play play;
        play_open(&play);
        struct buddyclient_range found;
        struct buddyclient *leaver = cached_new(&play.scene);
        struct buddyclient_range old = taken(leaver, 1), held = gift_again(leaver, &old),
                                 now = held;
        if (how == LEFT_GIVEN)
                cr_assert_eq(buddyclient_give(leaver, &now, buddyclient_id(play.other)), 0);
        else if (how == LEFT_PUBLISHED)
                cr_assert_eq(buddyclient_publish(leaver, "left", &held), 0);
        else
                cr_assert_eq(buddyclient_attach(play.other, &held), 0);
        if (how == LEFT_RELEASED)
                returned(leaver, &held);
        cr_assert_eq(buddyclient_attach(play.observer, &old), -ESTALE);
        if (over_a_kill) {
                scene_kill(&play.scene);
                scene_start(&play.scene, "--size", POOL, NULL);
                cr_assert_eq(buddyclient_attach(play.observer, &old), -ESTALE);
        }
        buddyclient_destroy(leaver);
        cr_assert_eq(buddyclient_attach(play.observer, &old), -ESTALE, "its owner has left");
        cr_assert_eq(buddyclient_attach(play.other, &old), -ESTALE, "its owner has left");
        if (how == LEFT_PUBLISHED) {
                cr_assert_eq(buddyclient_lookup(play.other, "left", &found), 0);
                cr_assert(found.offset == held.offset && found.generation == held.generation);
                cr_assert_eq(buddyclient_unpublish(play.other, "left"), 0);
        }
        cr_assert_eq(buddyclient_release(play.other, &old), -ESTALE);
        cr_assert_eq(buddyclient_attach(play.observer, &now), 0);
        returned(play.observer, &now);
        returned(play.other, &now);
        cr_assert_eq(buddyclient_attach(play.observer, &now), -ESTALE);
        play_close(&play);
}

Test(cache_names, an_earlier_life_is_refused_when_its_owner_has_left) {
        for (int how = LEFT_GIVEN; how <= LEFT_RELEASED; how++)
                leave_to_others((enum leaving)how, false);
}

Test(cache_names, an_earlier_life_of_a_gift_is_refused_over_a_kill) {
        leave_to_others(LEFT_GIVEN, true);
}

Test(cache_names, an_earlier_life_under_a_key_is_refused_over_a_kill) {
        leave_to_others(LEFT_PUBLISHED, true);
}

Test(cache_names, an_earlier_life_is_refused_over_a_kill_when_it_was_released) {
        leave_to_others(LEFT_RELEASED, true);
}

/* ---- Others' holds ---- */

/* Takes all that can be had, and expects none of it to touch this range; returns it. */
static void expect_kept(struct play *play, const struct buddyclient_range *range) {
        static struct buddyclient_range ranges[16384];
        size_t count = 0;
        char *bytes = buddyclient_pointer(play->observer, range);
        memset(bytes, 77, range->length);
        while (count < 16384 && buddyclient_alloc(play->owner, 1, &ranges[count]) == 0) {
                memset(buddyclient_pointer(play->owner, &ranges[count]), 11, SCENE_PAGE);
                count++;
        }
        cr_assert_eq(count, (POOL_BYTES - range->length) / SCENE_PAGE, "%lu pages", count);
        for (size_t at = 0; at < range->length; at++)
                cr_assert_eq(bytes[at], 77, "a held range was granted to somebody else");
        for (size_t each = 0; each < count; each++)
                returned(play->owner, &ranges[each]);
}

Test(cache_names, what_another_has_attached_is_not_cached) {
        struct play play;
        play_open(&play);
        for (int lives = 0; lives < 3; lives++) {
                struct buddyclient_range range = taken(play.owner, 4 * SCENE_PAGE);
                range = gift_again(play.owner, &range);
                cr_assert_eq(buddyclient_attach(play.other, &range), 0);
                returned(play.owner, &range);
                expect_held(play.observer, range.length);
                cr_assert_eq(buddyclient_release(play.owner, &range), -ESTALE);
                expect_kept(&play, &range);
                returned(play.other, &range);
        }
        play_close(&play);
}

Test(cache_names, what_is_published_is_not_cached) {
        struct play play;
        play_open(&play);
        for (int lives = 0; lives < 3; lives++) {
                struct buddyclient_range range = taken(play.owner, 4 * SCENE_PAGE), found;
                range = gift_again(play.owner, &range);
                cr_assert_eq(buddyclient_publish(play.owner, "key", &range), 0);
                returned(play.owner, &range);
                cr_assert_eq(buddyclient_release(play.owner, &range), -ESTALE);
                expect_held(play.observer, range.length);
                cr_assert_eq(buddyclient_lookup(play.other, "key", &found), 0);
                cr_assert(found.offset == range.offset && found.generation == range.generation);
                cr_assert_eq(buddyclient_unpublish(play.other, "key"), 0);
                expect_kept(&play, &range);
                returned(play.other, &range);
        }
        play_close(&play);
}

/* Several holds of one client on one range: it is free with the last one, not with the first. */
Test(cache_names, a_range_attached_by_its_owner_is_returned_twice) {
        struct play play;
        play_open(&play);
        for (int lives = 0; lives < 3; lives++) {
                struct buddyclient_range range = taken(play.owner, SCENE_PAGE);
                range = gift_again(play.owner, &range);
                cr_assert_eq(buddyclient_attach(play.owner, &range), 0);
                returned(play.owner, &range);
                expect_held(play.observer, SCENE_PAGE);
                expect_kept(&play, &range);
                returned(play.owner, &range);
                cr_assert_eq(buddyclient_release(play.owner, &range), -ESTALE);
                expect_held(play.observer, 0);
        }
        play_close(&play);
}

/* A gift goes into its new owner's cache, and is out of its old owner's reach. */
Test(cache_names, gifts_go_to_and_fro_between_caches) {
        struct play play;
        play_open(&play);
        struct buddyclient *clients[2] = {play.owner, play.other};
        struct buddyclient_range range = taken(play.owner, 1);
        for (int turn = 0; turn < 100; turn++) {
                struct buddyclient *giver = clients[turn % 2], *taker = clients[(turn + 1) % 2];
                if (turn % 3 == 0)
                        range = gift_again(giver, &range);
                struct buddyclient_range before = range;
                cr_assert_eq(buddyclient_give(giver, &range, buddyclient_id(taker)), 0);
                cr_assert_eq(buddyclient_release(giver, &before), -ESTALE);
                cr_assert_eq(buddyclient_release(giver, &range), -ESTALE);
                expect_held(play.observer, SCENE_PAGE);
        }
        returned(play.owner, &range);
        expect_held(play.observer, 0);
        play_close(&play);
}

Test(cache_names, an_earlier_life_is_refused_over_a_kill_when_peers_are_left) {
        leave_to_others(LEFT_ATTACHED, true);
}

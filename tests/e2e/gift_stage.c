/* See gift_stage.h. */
#include "gift_stage.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>

void gift_stage_open(struct gift_stage *stage) {
        gift_stage_open_with(stage, GIFT_CACHE, GIFT_CACHE);
}

void gift_stage_open_with(struct gift_stage *stage, uint64_t giver_bytes, uint64_t receiver_bytes) {
        scene_open(&stage->scene);
        scene_start(&stage->scene, "--size", GIFT_POOL, NULL);
        stage->giver = client_caching_bytes(&stage->scene, giver_bytes);
        stage->receiver = client_caching_bytes(&stage->scene, receiver_bytes);
        stage->third = client_caching_bytes(&stage->scene, GIFT_CACHE);
        stage->observer = client_new(&stage->scene);
}

void gift_stage_restart(struct gift_stage *stage) {
        scene_kill(&stage->scene);
        scene_start(&stage->scene, "--size", GIFT_POOL, NULL);
}

void gift_stage_close(struct gift_stage *stage) {
        expect_rest_free(stage, 0);
        expect_sound(&stage->scene);
        buddyclient_destroy(stage->giver);
        buddyclient_destroy(stage->receiver);
        buddyclient_destroy(stage->third);
        await_held(stage->observer, 0);
        cr_assert_eq(stats_of(stage->observer).cached_bytes, 0, "cached by nobody");
        cr_assert_eq(stats_of(stage->observer).largest_free_bytes, GIFT_POOL_BYTES, "not merged");
        buddyclient_destroy(stage->observer);
        scene_close(&stage->scene);
}

/* ---- Marks ---- */

uint64_t mark_of(const struct buddyclient_range *range) {
        return (range->offset / SCENE_PAGE + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ range->generation;
}

static _Atomic uint64_t *word_at(
        struct buddyclient *client, const struct buddyclient_range *range, uint64_t at) {
        char *bytes = buddyclient_pointer(client, range);
        return (_Atomic uint64_t *)(void *)(bytes + at);
}

void mark_write(struct buddyclient *client, const struct buddyclient_range *range, uint64_t mark) {
        for (uint64_t at = 0; at < range->length; at += SCENE_PAGE) {
                atomic_store(word_at(client, range, at), mark);
                atomic_store(word_at(client, range, at + SCENE_PAGE - sizeof mark), mark);
        }
}

bool mark_holds(struct buddyclient *client, const struct buddyclient_range *range, uint64_t mark) {
        for (uint64_t at = 0; at < range->length; at += SCENE_PAGE)
                if (atomic_load(word_at(client, range, at)) != mark ||
                        atomic_load(word_at(client, range, at + SCENE_PAGE - sizeof mark)) != mark)
                        return false;
        return true;
}

/* ---- Ranges ---- */

struct buddyclient_range gift_taken(struct buddyclient *client, uint64_t length) {
        struct buddyclient_range range;
        int result = buddyclient_alloc(client, length, &range);
        cr_assert_eq(result, 0, "alloc: %d %s", result, buddyclient_detail(client));
        mark_write(client, &range, mark_of(&range));
        return range;
}

void gift_returned(struct buddyclient *client, const struct buddyclient_range *range) {
        int result = buddyclient_release(client, range);
        cr_assert_eq(result, 0, "release: %d %s", result, buddyclient_detail(client));
}

void gift_handed(
        struct buddyclient *giver, struct buddyclient_range *range, struct buddyclient *receiver) {
        uint64_t offset = range->offset, length = range->length;
        int result = buddyclient_give(giver, range, buddyclient_id(receiver));
        cr_assert_eq(result, 0, "give: %d %s", result, buddyclient_detail(giver));
        cr_assert(range->offset == offset && range->length == length, "a gift became another");
}

struct buddyclient_range gift_new(struct gift_stage *stage, uint64_t length) {
        struct buddyclient_range range = gift_taken(stage->giver, length);
        uint64_t mark = mark_of(&range);
        gift_handed(stage->giver, &range, stage->receiver);
        cr_assert(mark_holds(stage->receiver, &range, mark), "a gift came with other bytes");
        return range;
}

struct buddyclient_range gift_again(
        struct buddyclient *client, const struct buddyclient_range *range) {
        enum { TRIES = 512 };
        struct buddyclient_range others[TRIES];
        size_t count = 0;
        gift_returned(client, range);
        for (; count < TRIES; count++) {
                others[count] = gift_taken(client, range->length);
                if (others[count].offset == range->offset)
                        break;
        }
        cr_assert_lt(count, TRIES, "the block does not come back");
        cr_assert_neq(others[count].generation, range->generation, "a name is used twice");
        if (count > 0)
                cr_assert_eq(buddyclient_release_many(client, others, count), 0);
        return others[count];
}

void expect_outdated(struct gift_stage *stage, const struct buddyclient_range *range) {
        struct buddyclient *clients[] = {stage->giver, stage->receiver, stage->third};
        uint64_t held = stats_of(stage->observer).held_bytes;
        for (size_t each = 0; each < 3; each++) {
                struct buddyclient *client = clients[each];
                struct buddyclient_range name = *range, batch[2] = {*range, *range};
                uint32_t peer = buddyclient_id(clients[(each + 1) % 3]);
                cr_assert_eq(buddyclient_release(client, range), -ESTALE, "client %zu", each);
                cr_assert_str_not_empty(buddyclient_detail(client));
                cr_assert_eq(buddyclient_release_many(client, batch, 2), -ESTALE);
                cr_assert_eq(buddyclient_attach(client, range), -ESTALE, "client %zu", each);
                cr_assert_eq(buddyclient_give(client, &name, peer), -ESTALE);
                cr_assert_eq(buddyclient_publish(client, "outdated", range), -ESTALE);
                cr_assert(name.generation == range->generation, "a refusal wrote");
        }
        expect_held(stage->observer, held);
}

size_t take_all(struct buddyclient *client, struct buddyclient_range pages[GIFT_POOL_PAGES]) {
        size_t taken = 0;
        for (size_t batch = 4096; batch > 0; batch /= 2)
                while (taken + batch <= GIFT_POOL_PAGES &&
                        buddyclient_alloc_many(client, SCENE_PAGE, batch, &pages[taken]) == 0)
                        taken += batch;
        for (size_t each = 0; each < taken; each++)
                mark_write(client, &pages[each], UINT64_MAX - each);
        return taken;
}

void expect_rest_free(struct gift_stage *stage, uint64_t held_bytes) {
        static struct buddyclient_range pages[GIFT_POOL_PAGES];
        await_held(stage->observer, held_bytes); /* what a cache gives back is held on its way */
        size_t taken = take_all(stage->observer, pages);
        cr_assert_eq(taken, (GIFT_POOL_BYTES - held_bytes) / SCENE_PAGE, "%zu pages", taken);
        for (size_t each = 0; each < taken; each++)
                cr_assert(mark_holds(stage->observer, &pages[each], UINT64_MAX - each),
                        "page %zu was granted twice", each);
        cr_assert_eq(buddyclient_release_many(stage->observer, pages, taken), 0);
        expect_held(stage->observer, held_bytes);
}

/* Batches and releases: all or none, and what may not be given back. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "harness.h"

TestSuite(release, .timeout = 60);

static const struct buddyclient_range UNTOUCHED = {0x1111, 0x2222, 0x3333};

static void expect_untouched(const struct buddyclient_range *range) {
        cr_assert(memcmp(range, &UNTOUCHED, sizeof UNTOUCHED) == 0,
                "a refused call wrote its output");
}

Test(release, batches_are_all_or_none) {
        struct scene scene;
        struct buddyclient_range one, ranges[16];
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &one), 0);
        for (size_t each = 0; each < 16; each++)
                ranges[each] = UNTOUCHED;
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 16, ranges), -ENOMEM);
        for (size_t each = 0; each < 16; each++)
                expect_untouched(&ranges[each]);
        expect_held(client, SCENE_PAGE);
        expect_sound(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, 2 * SCENE_PAGE, 8, ranges), -ENOMEM);
        expect_held(client, SCENE_PAGE);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 15, ranges), 0);
        unsigned pages = 1u << (one.offset / SCENE_PAGE);
        for (size_t each = 0; each < 15; each++) {
                cr_assert_eq(ranges[each].length, SCENE_PAGE);
                pages |= 1u << (ranges[each].offset / SCENE_PAGE);
        }
        cr_assert_eq(pages, 0xffff, "pages granted twice");
        cr_assert_eq(buddyclient_release_many(client, ranges, 15), 0);
        expect_held(client, SCENE_PAGE);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(release, batches_have_a_limit) {
        struct scene scene;
        static struct buddyclient_range ranges[4097];
        scene_open(&scene);
        scene_start(&scene, "--size", "17M", NULL);
        struct buddyclient *client = client_new(&scene);
        ranges[0] = UNTOUCHED;
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 0, ranges), -EINVAL);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 4097, ranges), -EINVAL);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, SIZE_MAX, ranges), -EINVAL);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, (size_t)1 << 32, ranges), -EINVAL);
        expect_untouched(&ranges[0]);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 4096, ranges), 0);
        expect_held(client, 16 * MIB);
        bool seen[4352] = {false};
        for (size_t each = 0; each < 4096; each++) {
                bool *page = &seen[ranges[each].offset / SCENE_PAGE];
                cr_assert_not(*page, "a page was granted twice");
                *page = true;
        }
        cr_assert_eq(buddyclient_release_many(client, ranges, 4096), 0);
        expect_held(client, 0);
        cr_assert_eq(buddyclient_release_many(client, ranges, 0), 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* One bad range anywhere, and nothing is given back. */
Test(release, release_many_is_all_or_none) {
        struct scene scene;
        struct buddyclient_range ranges[9], others;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene), *other = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 8, ranges), 0);
        cr_assert_eq(buddyclient_alloc(other, SCENE_PAGE, &others), 0);
        struct buddyclient_range bad[4] = {others, ranges[3], ranges[2], {MIB - 4096, 4096, 0}};
        bad[1].generation++;
        for (size_t kind = 0; kind < 4; kind++)
                for (size_t place = 0; place < 9; place++) {
                        struct buddyclient_range list[9];
                        memcpy(list, ranges, place * sizeof *list);
                        list[place] = bad[kind];
                        memcpy(list + place + 1, ranges + place, (8 - place) * sizeof *list);
                        int result = buddyclient_release_many(client, list, 9);
                        cr_assert(result == -ESTALE || (kind % 2 && result == -EINVAL),
                                "kind %zu at %zu: %d", kind, place, result);
                        expect_held(client, 9 * SCENE_PAGE);
                }
        cr_assert_eq(buddyclient_release_many(client, ranges, 8), 0);
        expect_held(client, SCENE_PAGE);
        buddyclient_destroy(client);
        buddyclient_destroy(other);
        scene_close(&scene);
}

Test(release, release_many_beyond_a_batch_is_all_or_none_too) {
        struct scene scene;
        static struct buddyclient_range ranges[8193];
        scene_open(&scene);
        scene_start(&scene, "--size", "40M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 4096, ranges), 0);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 4096, ranges + 4096), 0);
        ranges[8192] = ranges[17];
        cr_assert_lt(buddyclient_release_many(client, ranges, 8193), 0);
        expect_held(client, 32 * MIB);
        int result = buddyclient_release_many(client, ranges, 8192);
        cr_assert(result == 0 || result == -EINVAL, "%d", result);
        expect_held(client, result == 0 ? 0 : 32 * MIB);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* ---- Releases that must not be ---- */

Test(release, wrong_releases_are_refused_and_change_nothing) {
        struct scene scene;
        struct buddyclient_range big, small, gone, wrong;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene), *other = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 65536, &big), 0);
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &small), 0);
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &gone), 0);
        cr_assert_eq(buddyclient_release(client, &gone), 0);
        cr_expect_eq(buddyclient_release(client, &gone), -ESTALE, "double free");
        cr_expect_eq(buddyclient_release(other, &big), -ESTALE, "somebody else's range");
        wrong = big;
        cr_assert_eq(buddyclient_release(client, &big), 0);
        cr_assert_eq(buddyclient_alloc(client, 65536, &big), 0);
        cr_assert_eq(big.offset, wrong.offset);
        cr_expect_eq(buddyclient_release(client, &wrong), -ESTALE, "an old generation");
        wrong = big, wrong.generation++;
        int result = buddyclient_release(client, &wrong);
        cr_expect(result == -ESTALE || result == -EINVAL, "a generation to come: %d", result);
        wrong = big, wrong.generation += 1ull << 32;
        result = buddyclient_release(client, &wrong);
        cr_expect(
                result == -ESTALE || result == -EINVAL, "a generation beyond 32 bits: %d", result);
        wrong = big, wrong.offset += SCENE_PAGE, wrong.length = SCENE_PAGE;
        result = buddyclient_release(client, &wrong);
        cr_expect(result == -EINVAL || result == -ESTALE, "an interior offset: %d", result);
        wrong = big, wrong.offset += SCENE_PAGE;
        cr_expect_eq(buddyclient_release(client, &wrong), -EINVAL, "an interior offset");
        wrong = big, wrong.offset += 1;
        cr_expect_eq(buddyclient_release(client, &wrong), -EINVAL, "an offset within a page");
        const uint64_t lengths[] = {32768, 131072, SCENE_PAGE, 0, 65535, UINT64_MAX, 12288};
        for (size_t each = 0; each < sizeof lengths / sizeof *lengths; each++) {
                wrong = big, wrong.length = lengths[each];
                result = buddyclient_release(client, &wrong);
                cr_expect(result == -EINVAL || result == -ESTALE, "length %lu: %d", lengths[each],
                        result);
        }
        const uint64_t offsets[] = {MIB, MIB * 4096, UINT64_MAX - 65535, 1ull << 63};
        for (size_t each = 0; each < sizeof offsets / sizeof *offsets; each++) {
                wrong = big, wrong.offset = offsets[each];
                cr_expect_eq(
                        buddyclient_release(client, &wrong), -EINVAL, "offset %lu", offsets[each]);
        }
        expect_held(client, 65536 + SCENE_PAGE);
        expect_sound(&scene);
        cr_assert_eq(buddyclient_release(client, &big), 0);
        cr_assert_eq(buddyclient_release(client, &small), 0);
        expect_held(client, 0);
        buddyclient_destroy(client);
        buddyclient_destroy(other);
        scene_close(&scene);
}

Test(release, a_new_life_has_a_new_generation) {
        struct scene scene;
        struct buddyclient_range first, second;
        scene_open(&scene);
        scene_start(&scene, "--size", "4K", NULL);
        struct buddyclient *client = client_new(&scene), *other = client_new(&scene);
        for (int round = 0; round < 50; round++) {
                cr_assert_eq(buddyclient_alloc(client, 1, &first), 0);
                cr_assert_eq(buddyclient_release(client, &first), 0);
                cr_assert_eq(buddyclient_alloc(other, 1, &second), 0);
                cr_assert_eq(second.offset, first.offset);
                cr_assert_neq(second.generation, first.generation);
                cr_assert_eq(buddyclient_release(client, &first), -ESTALE);
                cr_assert_eq(buddyclient_release(other, &first), -ESTALE);
                cr_assert_eq(buddyclient_release(other, &second), 0);
        }
        buddyclient_destroy(client);
        buddyclient_destroy(other);
        scene_close(&scene);
}

/* The same with the settings that a user gets without asking. */
Test(release, double_release_is_refused_with_the_default_cache) {
        struct scene scene;
        struct buddyclient_range range, again;
        struct buddyclient *client = NULL;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        cr_assert_eq(buddyclient_new(&client), 0);
        buddyclient_set_socket(client, scene.socket);
        buddyclient_set_pool(client, scene.pool);
        cr_assert_eq(buddyclient_connect(client), 0);
        for (int round = 0; round < 100; round++) {
                cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &range), 0);
                cr_assert_eq(buddyclient_release(client, &range), 0);
                cr_assert_eq(buddyclient_release(client, &range), -ESTALE);
                cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &again), 0);
                cr_assert_eq(buddyclient_release(client, &range), -ESTALE);
                cr_assert_eq(buddyclient_release(client, &again), 0);
        }
        stats_of(client);
        buddyclient_destroy(client);
        scene_close(&scene);
}

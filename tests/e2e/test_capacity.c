/* Pools of every size: each page can be granted, and all of it merges back. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

TestSuite(capacity, .timeout = 90);

static uint64_t largest_block(uint64_t pages) {
        uint64_t block = 1;
        while (block * 2 <= pages)
                block *= 2;
        return block;
}

static void pages_start(struct scene *scene, uint64_t pages) {
        char size[32];
        scene_open(scene);
        snprintf(size, sizeof size, "%lu", (unsigned long)(pages * SCENE_PAGE));
        scene_start(scene, "--size", size, "--commit", pages > 100000 ? "lazy" : "eager", NULL);
}

/* Takes page after page until there is none, in batches that shrink. */
static uint64_t take_all(
        struct buddyclient *client, bool *taken, struct buddyclient_range *ranges) {
        uint64_t count = 0;
        for (size_t batch = 4096; batch > 0;) {
                int result = buddyclient_alloc_many(client, SCENE_PAGE, batch, ranges + count);
                if (result != 0) {
                        cr_assert(result == -ENOMEM || result == -E2BIG, "%d", result);
                        batch /= 2;
                        continue;
                }
                for (size_t each = 0; each < batch; each++) {
                        bool *page = &taken[ranges[count++].offset / SCENE_PAGE];
                        cr_assert_not(*page, "a page was granted twice");
                        *page = true;
                }
        }
        return count;
}

static void whole_pool(uint64_t pages) {
        struct scene scene;
        pages_start(&scene, pages);
        struct buddyclient *client = client_new(&scene);
        struct buddyclient_stats before = stats_of(client);
        cr_assert_eq(before.size_bytes, pages * SCENE_PAGE);
        cr_assert_eq(before.largest_free_bytes, largest_block(pages) * SCENE_PAGE);
        uint64_t blocks = 0;
        for (uint32_t order = 0; order < before.order_count; order++)
                blocks += before.orders[order].free_blocks;
        cr_assert_eq(blocks, (uint64_t)__builtin_popcountll(pages), "an empty pool in %lu blocks",
                blocks);

        bool *taken = calloc(pages, sizeof *taken);
        struct buddyclient_range *ranges = calloc(pages + 4096, sizeof *ranges);
        cr_assert(taken && ranges);
        cr_assert_eq(take_all(client, taken, ranges), pages);
        struct buddyclient_stats full = stats_of(client);
        cr_assert_eq(full.free_bytes, 0);
        cr_assert_eq(full.largest_free_bytes, 0);
        expect_sound(&scene);
        for (uint64_t from = 0; from < pages; from += 4096) {
                size_t count = pages - from < 4096 ? (size_t)(pages - from) : 4096;
                cr_assert_eq(buddyclient_release_many(client, ranges + from, count), 0);
        }
        struct buddyclient_stats after = stats_of(client);
        cr_assert_eq(after.held_bytes, 0);
        cr_assert_eq(after.largest_free_bytes, before.largest_free_bytes);
        for (uint32_t order = 0; order < before.order_count; order++)
                cr_assert_eq(after.orders[order].free_blocks, before.orders[order].free_blocks,
                        "order %u did not merge", order);
        free(taken);
        free(ranges);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(capacity, small_and_odd_pools_are_usable_to_the_last_page) {
        static const uint64_t sizes[] = {1, 2, 3, 5, 7, 63, 64, 65, 511, 513, 1023, 4095, 4097};
        for (size_t each = 0; each < sizeof sizes / sizeof *sizes; each++) {
                cr_log_info("%lu pages", sizes[each]);
                whole_pool(sizes[each]);
        }
}

Test(capacity, a_million_and_three_pages_are_usable_to_the_last) {
        whole_pool(1000003);
}

Test(capacity, three_pages_are_two_and_one) {
        struct scene scene;
        struct buddyclient_range two, one, more;
        pages_start(&scene, 3);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 3 * SCENE_PAGE, &two), -E2BIG);
        cr_assert_eq(buddyclient_alloc(client, 2 * SCENE_PAGE, &two), 0);
        cr_assert_eq(two.offset, 0);
        cr_assert_eq(buddyclient_alloc(client, 2 * SCENE_PAGE, &more), -ENOMEM);
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &one), 0);
        cr_assert_eq(one.offset, 2 * SCENE_PAGE);
        cr_assert_eq(buddyclient_alloc(client, 1, &more), -ENOMEM);
        memset(buddyclient_pointer(client, &one), 1, one.length);
        cr_assert_eq(buddyclient_release(client, &one), 0);
        cr_assert_eq(buddyclient_release(client, &two), 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* Every order a pool has, each filled to the brim with blocks of that order alone. */
Test(capacity, each_order_fills_the_pool) {
        struct scene scene;
        static struct buddyclient_range ranges[4096];
        pages_start(&scene, 1024 + 37);
        struct buddyclient *client = client_new(&scene);
        for (uint64_t block = 1; block <= 1024; block *= 2) {
                uint64_t count = 0;
                int result;
                while ((result = buddyclient_alloc(client, block * SCENE_PAGE, &ranges[count])) ==
                        0) {
                        cr_assert_eq(ranges[count].offset % ranges[count].length, 0);
                        count++;
                }
                cr_assert_eq(result, -ENOMEM);
                cr_assert_eq(count, (1024 + 37) / block, "%lu blocks of %lu pages", count, block);
                expect_sound(&scene);
                cr_assert_eq(buddyclient_release_many(client, ranges, count), 0);
        }
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* Free memory in pieces serves what fits into a piece: no false refusal. */
Test(capacity, what_is_free_can_be_had) {
        struct scene scene;
        static struct buddyclient_range ranges[4096];
        unsigned seed = 3;
        pages_start(&scene, 4096);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 4096, ranges), 0);
        for (size_t each = 4095; each > 0; each--) {
                size_t other = (size_t)rand_r(&seed) % (each + 1);
                struct buddyclient_range kept = ranges[each];
                ranges[each] = ranges[other];
                ranges[other] = kept;
        }
        cr_assert_eq(buddyclient_release_many(client, ranges, 3000), 0);
        struct buddyclient_stats stats = stats_of(client);
        uint64_t pages = 0;
        for (uint32_t order = stats.order_count; order-- > 0;)
                for (uint64_t each = 0; each < stats.orders[order].free_blocks; each++) {
                        struct buddyclient_range got;
                        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE << order, &got), 0,
                                "a free block of order %u is not granted", order);
                        pages += 1ull << order;
                }
        cr_assert_eq(pages, 3000);
        cr_assert_eq(buddyclient_alloc(client, 1, ranges), -ENOMEM);
        buddyclient_destroy(client);
        scene_close(&scene);
}

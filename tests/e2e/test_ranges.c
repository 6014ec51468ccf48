/* Taking ranges: sizes, alignment, refusals and their reasons, and what the figures say. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "harness.h"

TestSuite(ranges, .timeout = 60);

static const struct buddyclient_range UNTOUCHED = {0x1111, 0x2222, 0x3333};

static void expect_untouched(const struct buddyclient_range *range) {
        cr_assert(memcmp(range, &UNTOUCHED, sizeof UNTOUCHED) == 0,
                "a refused call wrote its output");
}

Test(ranges, the_segment_is_mapped_on_a_huge_boundary) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "6M", NULL);
        struct buddyclient *client = client_new(&scene), *other = client_new(&scene);
        cr_assert_eq((uintptr_t)buddyclient_base(client) % (2 * MIB), 0);
        cr_assert_eq((uintptr_t)buddyclient_base(other) % (2 * MIB), 0);
        cr_assert_eq(buddyclient_size(client), 6 * MIB);
        cr_assert_eq(buddyclient_page_size(client), 4096);
        cr_assert_neq(buddyclient_id(client), 0);
        cr_assert_neq(buddyclient_id(client), buddyclient_id(other));
        buddyclient_destroy(client);
        buddyclient_destroy(other);
        scene_close(&scene);
}

Test(ranges, lengths_round_up_and_align) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "64M", NULL);
        struct buddyclient *client = client_new(&scene);
        for (uint64_t block = SCENE_PAGE; block <= 16 * MIB; block *= 2) {
                const uint64_t lengths[] = {
                        block, block == SCENE_PAGE ? 1 : block / 2 + 1, block - 1};
                for (size_t each = 0; each < 3; each++) {
                        struct buddyclient_range range;
                        cr_assert_eq(buddyclient_alloc(client, lengths[each], &range), 0, "%lu: %s",
                                lengths[each], buddyclient_detail(client));
                        cr_assert_eq(
                                range.length, block, "%lu became %lu", lengths[each], range.length);
                        cr_assert_eq(range.offset % range.length, 0);
                        uint64_t alignment = block < 2 * MIB ? block : 2 * MIB;
                        char *pointer = buddyclient_pointer(client, &range);
                        cr_assert_eq((uintptr_t)pointer % alignment, 0);
                        cr_assert_eq(pointer, (char *)buddyclient_base(client) + range.offset);
                        pointer[0] = pointer[range.length - 1] = 1;
                        if (each < 2)
                                cr_assert_eq(buddyclient_release(client, &range), 0);
                }
        }
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(ranges, pages_of_another_size_round_to_it) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "8M", "--page-size", "64K", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_page_size(client), 65536);
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        cr_assert_eq(range.length, 65536);
        cr_assert_eq(buddyclient_alloc(client, 65537, &range), 0);
        cr_assert_eq(range.length, 131072);
        expect_held(client, 196608);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(ranges, pointers_stay_inside) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        const struct buddyclient_range outside[] = {{MIB, 4096, 1}, {0, 2 * MIB, 1},
                {MIB - 4096, 8192, 1}, {UINT64_MAX - 4095, 4096, 1}, {UINT64_MAX, 1, 1},
                {4096, UINT64_MAX, 1}};
        for (size_t each = 0; each < sizeof outside / sizeof *outside; each++)
                cr_expect_null(buddyclient_pointer(client, &outside[each]), "case %zu", each);
        cr_assert_not_null(
                buddyclient_pointer(client, &(struct buddyclient_range){MIB - 4096, 4096, 1}));
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(ranges, lengths_that_cannot_be) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        struct buddyclient_range range = UNTOUCHED;
        cr_expect_eq(buddyclient_alloc(client, 0, &range), -EINVAL);
        cr_expect_eq(buddyclient_alloc_wait(client, 0, 100, &range), -EINVAL);
        cr_expect_eq(buddyclient_alloc_many(client, 0, 1, &range), -EINVAL);
        cr_expect_eq(buddyclient_alloc(client, MIB + 1, &range), -E2BIG);
        cr_expect_eq(buddyclient_alloc(client, UINT64_MAX, &range), -E2BIG);
        cr_expect_eq(buddyclient_alloc(client, (1ull << 63) + 1, &range), -E2BIG);
        cr_expect_eq(buddyclient_alloc_wait(client, 2 * MIB, -1, &range), -E2BIG);
        cr_expect_eq(buddyclient_alloc_many(client, 2 * MIB, 2, &range), -E2BIG);
        cr_expect(has_digit(buddyclient_detail(client)), "no figures: \"%s\"",
                buddyclient_detail(client));
        expect_untouched(&range);
        expect_held(client, 0);
        cr_assert_eq(buddyclient_alloc(client, MIB, &range), 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(ranges, null_arguments_are_refused) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_expect_eq(buddyclient_alloc(client, 4096, NULL), -EINVAL);
        cr_expect_eq(buddyclient_alloc_many(client, 4096, 2, NULL), -EINVAL);
        cr_expect_eq(buddyclient_release(client, NULL), -EINVAL);
        cr_expect_eq(buddyclient_release_many(client, NULL, 3), -EINVAL);
        cr_expect_eq(buddyclient_stats(client, NULL), -EINVAL);
        cr_expect_null(buddyclient_pointer(client, NULL));
        expect_held(client, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(ranges, a_full_pool_says_why) {
        struct scene scene;
        struct buddyclient_range ranges[16], more = UNTOUCHED;
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *client = client_new(&scene);
        for (size_t each = 0; each < 16; each++)
                cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &ranges[each]), 0);
        for (size_t each = 0; each < 16; each++)
                if (ranges[each].offset / SCENE_PAGE % 2)
                        cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
        cr_assert_eq(buddyclient_alloc(client, 8192, &more), -ENOMEM);
        expect_untouched(&more);
        const char *detail = buddyclient_detail(client);
        cr_assert_not_null(strstr(detail, "8 KiB"), "what was wanted: \"%s\"", detail);
        cr_assert_not_null(strstr(detail, "32 KiB"), "what is free: \"%s\"", detail);
        cr_assert_not_null(strstr(detail, "4 KiB"), "what the largest is: \"%s\"", detail);
        cr_assert_null(strchr(detail, '\n'));
        expect_held(client, 8 * SCENE_PAGE);
        buddyclient_destroy(client);
        scene_close(&scene);
}

static void *detail_of_another_thread(void *argument) {
        return (void *)(uintptr_t)strlen(buddyclient_detail(argument));
}

Test(ranges, detail_is_each_threads_own) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_str_empty(buddyclient_detail(client));
        cr_assert_eq(buddyclient_alloc(client, MIB, &range), -E2BIG);
        cr_assert_str_not_empty(buddyclient_detail(client));
        pthread_t thread;
        void *length = NULL;
        pthread_create(&thread, NULL, detail_of_another_thread, client);
        pthread_join(thread, &length);
        cr_assert_eq(length, NULL);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(ranges, two_clients_see_each_others_bytes) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        struct buddyclient *writer = client_new(&scene), *reader = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(writer, 3 * SCENE_PAGE, &range), 0);
        char *mine = buddyclient_pointer(writer, &range),
             *theirs = buddyclient_pointer(reader, &range);
        cr_assert_neq(mine, theirs);
        for (uint64_t at = 0; at < range.length; at++)
                mine[at] = (char)(at * 7);
        cr_assert(memcmp(mine, theirs, range.length) == 0);
        theirs[5] = 'x';
        cr_assert_eq(mine[5], 'x');
        buddyclient_destroy(writer);
        buddyclient_destroy(reader);
        scene_close(&scene);
}

Test(ranges, the_daemon_leaves_bytes_alone) {
        struct scene scene;
        struct buddyclient_range range, again;
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", NULL);
        struct buddyclient *client = client_new(&scene);
        memset(buddyclient_base(client), 0x5a, 65536);
        cr_assert_eq(buddyclient_alloc(client, 65536, &range), 0);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(buddyclient_alloc(client, 65536, &again), 0);
        const unsigned char *bytes = buddyclient_base(client);
        for (size_t at = 0; at < 65536; at++)
                cr_assert_eq(bytes[at], 0x5a, "byte %zu was touched", at);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(ranges, stats_follow_the_pool) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "2M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 5000, &range), 0);
        struct buddyclient_stats stats = stats_of(client);
        cr_assert_str_eq(stats.pool, scene.pool);
        cr_assert_str_eq(stats.backing, "posix-shm");
        cr_assert_eq(stats.size_bytes, 2 * MIB);
        cr_assert_eq(stats.page_bytes, 4096);
        cr_assert_eq(stats.held_bytes, 8192);
        cr_assert_eq(stats.largest_free_bytes, MIB);
        cr_assert_eq(stats.clients, 1);
        cr_assert_eq(stats.allocs_total, 1);
        cr_assert_eq(stats.requested_bytes_total, 5000);
        cr_assert_eq(stats.granted_bytes_total, 8192);
        cr_assert_geq(stats.order_count, 10);
        cr_assert_eq(stats.orders[1].held_blocks, 1);
        cr_assert_eq(stats.orders[1].block_bytes, 8192);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(ranges, stats_of_an_older_caller_stay_within_its_struct) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        struct buddyclient_stats stats;
        memset(&stats, 0x77, sizeof stats);
        stats.struct_size = 0;
        cr_expect_eq(buddyclient_stats(client, &stats), -EINVAL);
        stats.struct_size = 8;
        cr_expect_eq(buddyclient_stats(client, &stats), -EINVAL);
        cr_expect_eq(stats.pool[0], 0x77, "a refused call wrote its output");
        struct {
                struct buddyclient_stats stats;
                unsigned char beyond[64];
        } larger;
        memset(&larger, 0x77, sizeof larger);
        larger.stats.struct_size = sizeof larger.stats;
        cr_expect_eq(buddyclient_stats(client, &larger.stats), 0);
        cr_expect_eq(larger.beyond[0], 0x77);
        buddyclient_destroy(client);
        scene_close(&scene);
}

#include "buddy_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>

TestSuite(buddy, .fini = fixture_close);

Test(buddy_init, refuses_what_page_indexes_cannot_name) {
        struct buddy refused;
        cr_expect_eq(buddy_init(&refused, 0), -EINVAL);
        cr_expect_eq(buddy_init(&refused, UINT64_C(1) << 32), -EINVAL);
        cr_expect_eq(buddy_init(&refused, UINT64_MAX), -EINVAL);
}

Test(buddy_init, takes_the_largest_pool) {
        fixture_open(PAGE_NONE);
        cr_expect_eq(allocator.order_count, 32);
        cr_expect_eq(buddy_add_region(&allocator, 0, PAGE_NONE), 0);
        cr_expect_eq(fixture_free_pages(), PAGE_NONE);
        uint32_t page;
        cr_assert_eq(buddy_alloc(&allocator, 31, &page), 0);
        cr_expect_eq(page, 0);
        cr_assert_eq(buddy_alloc(&allocator, 30, &page), 0);
        cr_expect_eq(page, UINT32_C(1) << 31);
        uint32_t last = PAGE_NONE - 1;
        cr_expect_eq(buddy_claim(&allocator, last, 1), 0);
        cr_expect_eq(buddy_free(&allocator, last, 0), 0);
        cr_expect_eq(buddy_free(&allocator, UINT32_C(1) << 31, 30), 0);
        cr_expect_eq(buddy_free(&allocator, 0, 31), 0);
        cr_expect_eq(fixture_free_pages(), PAGE_NONE);
        buddy_deinit(&allocator);
}

Test(buddy_init, metadata_is_a_quarter_of_a_byte_a_page) {
        fixture_open(UINT64_C(1) << 28);
        cr_expect_leq((double)allocator.memory_bytes, 0.27 * (double)(UINT64_C(1) << 28));
        buddy_deinit(&allocator);
}

Test(buddy, new_one_has_nothing) {
        fixture_open(1024);
        uint32_t page = 7;
        cr_expect_eq(buddy_alloc(&allocator, 0, &page), -ENOMEM);
        cr_expect_eq(page, 7, "an output is written only on success");
}

Test(buddy, splits_down_and_merges_up) {
        fixture_open_all(1024);
        uint32_t page = fixture_alloc(0);
        cr_expect_eq(page, 0);
        struct buddy_totals totals;
        buddy_totals(&allocator, &totals);
        for (unsigned order = 0; order < 10; order++)
                cr_expect_eq(totals.free_blocks[order], 1);
        cr_expect_eq(totals.largest_free_order, 9);
        cr_expect_eq(buddy_free(&allocator, page, 0), 0);
        buddy_totals(&allocator, &totals);
        cr_expect_eq(totals.free_blocks[10], 1);
        cr_expect_eq(totals.free_pages, 1024);
        cr_expect_eq(totals.largest_free_order, 10);
}

Test(buddy, merges_with_the_buddy_only) {
        fixture_open_all(8);
        for (uint32_t page = 0; page < 8; page++)
                cr_assert_eq(fixture_alloc(0), page);
        cr_assert_eq(buddy_free(&allocator, 1, 0), 0);
        cr_assert_eq(buddy_free(&allocator, 2, 0), 0);
        fixture_check();
        struct buddy_totals totals;
        buddy_totals(&allocator, &totals);
        cr_expect_eq(totals.free_blocks[0], 2, "neighbours of different parents stay apart");
        cr_assert_eq(buddy_free(&allocator, 3, 0), 0);
        fixture_check();
        buddy_totals(&allocator, &totals);
        cr_expect_eq(totals.free_blocks[0], 1);
        cr_expect_eq(totals.free_blocks[1], 1);
        uint32_t page;
        cr_expect_eq(buddy_alloc(&allocator, 2, &page), -ENOMEM);
        fixture_check();
}

Test(buddy, places_at_the_lowest_address_across_orders) {
        fixture_open_all(64);
        cr_assert_eq(buddy_claim(&allocator, 0, 64), 0);
        cr_assert_eq(buddy_free(&allocator, 33, 0), 0); /* would fit best */
        cr_assert_eq(buddy_free(&allocator, 16, 3), 0); /* lies lower */
        cr_expect_eq(fixture_alloc(0), 16);
        cr_expect_eq(fixture_alloc(1), 18);
        cr_expect_eq(fixture_alloc(0), 17);
        cr_expect_eq(fixture_alloc(2), 20);
        cr_expect_eq(fixture_alloc(0), 33);
}

Test(buddy, top_order_is_granted_and_returned_whole) {
        fixture_open_all(256);
        cr_expect_eq(fixture_alloc(8), 0);
        uint32_t page;
        cr_expect_eq(buddy_alloc(&allocator, 0, &page), -ENOMEM);
        cr_expect_eq(buddy_free(&allocator, 0, 8), 0);
        fixture_check();
        cr_expect_eq(fixture_free_pages(), 256);
        cr_expect_eq(fixture_alloc(8), 0);
}

Test(buddy, odd_pools_use_every_page) {
        static const uint64_t counts[] = {1, 2, 3, 5, 63, 65, 127, 777, 1000, 4097};
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
                fixture_open_all(counts[i]);
                for (uint64_t n = 0; n < counts[i]; n++) {
                        uint32_t page;
                        cr_assert_eq(buddy_alloc(&allocator, 0, &page), 0);
                        cr_assert_eq(page, n);
                }
                fixture_check();
                uint32_t page;
                cr_expect_eq(buddy_alloc(&allocator, 0, &page), -ENOMEM);
                for (uint64_t n = counts[i]; n-- > 0;)
                        cr_assert_eq(buddy_free(&allocator, (uint32_t)n, 0), 0);
                fixture_check();
                cr_expect_eq(fixture_alloc(log2_floor(counts[i])), 0);
                buddy_deinit(&allocator);
        }
        fixture_open_all(1);
}

Test(buddy, refuses_orders_that_cannot_exist) {
        fixture_open_all(1000);
        uint32_t page;
        cr_expect_eq(buddy_alloc(&allocator, 10, &page), -EINVAL);
        cr_expect_eq(buddy_alloc(&allocator, 32, &page), -EINVAL);
        cr_expect_eq(buddy_alloc(&allocator, UINT32_MAX, &page), -EINVAL);
        cr_expect_eq(buddy_alloc_many(&allocator, 10, 1, &page), -EINVAL);
        cr_expect_eq(buddy_free(&allocator, 0, 10), -EINVAL);
        cr_expect_eq(buddy_free(&allocator, 0, UINT32_MAX), -EINVAL);
        cr_expect_not(buddy_is_free(&allocator, 0, UINT32_MAX));
        cr_expect_eq(fixture_free_pages(), 1000);
}

Test(buddy, refuses_frees_of_what_is_no_block) {
        fixture_open_all(1000);
        cr_assert_eq(fixture_alloc(2), 0);
        cr_expect_eq(buddy_free(&allocator, 2, 2), -EINVAL, "not a multiple of its size");
        cr_expect_eq(buddy_free(&allocator, 1000, 0), -EINVAL, "out of range");
        cr_expect_eq(buddy_free(&allocator, 992, 4), -EINVAL, "sticks out");
        cr_expect_eq(buddy_free(&allocator, PAGE_NONE, 0), -EINVAL);
        cr_expect_eq(fixture_free_pages(), 996);
}

Test(buddy, refuses_to_free_a_free_block) {
        fixture_open_all(1024);
        uint32_t a = fixture_alloc(0);
        uint32_t b = fixture_alloc(0);
        cr_assert_eq(buddy_free(&allocator, a, 0), 0);
        cr_expect_eq(buddy_free(&allocator, a, 0), -ESTALE);
        fixture_check();
        cr_expect_eq(fixture_free_pages(), 1023);
        cr_assert_eq(buddy_free(&allocator, b, 0), 0);
        fixture_check();
        cr_expect_eq(buddy_free(&allocator, 0, 10), -ESTALE);
        cr_expect_eq(fixture_free_pages(), 1024);
}

Test(buddy, a_run_of_one_block_is_refused_inside_a_larger_free_block) {
        fixture_open_all(1024);
        uint32_t page = fixture_alloc(0);
        cr_assert_eq(buddy_free(&allocator, page, 0), 0);
        cr_expect(buddy_is_free(&allocator, page, 0));
        cr_expect_eq(buddy_free_range(&allocator, page, 1), -ESTALE);
        cr_expect_eq(fixture_free_pages(), 1024);
}

Test(buddy, batch_takes_a_run_of_one_larger_block) {
        fixture_open_all(1024);
        uint32_t pages[300];
        cr_assert_eq(buddy_alloc_many(&allocator, 1, 300, pages), 0);
        fixture_check();
        for (uint32_t i = 0; i < 300; i++)
                cr_assert_eq(pages[i], 2 * i);
        cr_expect_eq(fixture_free_pages(), 1024 - 600);
        for (size_t i = 0; i < 300; i++)
                cr_assert_eq(buddy_free(&allocator, pages[i], 1), 0);
        fixture_check();
        cr_expect_eq(fixture_alloc(10), 0);
}

Test(buddy, batch_collects_scattered_blocks) {
        fixture_open_all(1000);
        cr_assert_eq(buddy_claim(&allocator, 0, 1000), 0);
        for (uint32_t page = 0; page < 1000; page += 3)
                cr_assert_eq(buddy_free(&allocator, page, 0), 0);
        cr_assert_eq(buddy_free_range(&allocator, 100, 2), 0);
        fixture_check();
        uint64_t free_pages = fixture_free_pages();
        uint32_t pages[1000];
        cr_assert_eq(buddy_alloc_many(&allocator, 0, free_pages, pages), 0);
        fixture_check();
        cr_expect_eq(fixture_free_pages(), 0);
        for (size_t i = 1; i < free_pages; i++)
                cr_assert_lt(pages[i - 1], pages[i]);
}

Test(buddy, batch_is_all_or_none) {
        fixture_open_all(100);
        uint32_t pages[101] = {0};
        cr_expect_eq(buddy_alloc_many(&allocator, 0, 101, pages), -ENOMEM);
        cr_expect_eq(buddy_alloc_many(&allocator, 6, 2, pages), -ENOMEM);
        cr_expect_eq(buddy_alloc_many(&allocator, 0, SIZE_MAX, pages), -ENOMEM);
        fixture_check();
        cr_expect_eq(fixture_free_pages(), 100);
        cr_expect_eq(buddy_alloc_many(&allocator, 0, 0, pages), 0);
        cr_expect_eq(fixture_free_pages(), 100);
        cr_expect_eq(buddy_alloc_many(&allocator, 0, 100, pages), 0);
        cr_expect_eq(fixture_free_pages(), 0);
        cr_expect_eq(buddy_alloc_many(&allocator, 0, 1, pages), -ENOMEM);
}

Test(buddy, layout_rounds_count_and_alignment_up) {
        fixture_open_all(256);
        cr_assert_eq(fixture_alloc(0), 0);
        uint32_t page;
        unsigned order;
        cr_assert_eq(buddy_alloc_layout(&allocator, 5, 1, &page, &order), 0);
        cr_expect_eq(order, 3);
        cr_expect_eq(page, 8);
        cr_assert_eq(buddy_alloc_layout(&allocator, 1, 64, &page, &order), 0);
        cr_expect_eq(order, 6);
        cr_expect_eq(page, 64);
        fixture_check();
}

Test(buddy, layout_refuses_what_no_block_can_be) {
        fixture_open_all(1000);
        uint32_t page = 1;
        unsigned order = 2;
        cr_expect_eq(buddy_alloc_layout(&allocator, 0, 1, &page, &order), -EINVAL);
        cr_expect_eq(buddy_alloc_layout(&allocator, 1, 0, &page, &order), -EINVAL);
        cr_expect_eq(buddy_alloc_layout(&allocator, 1, 3, &page, &order), -EINVAL);
        cr_expect_eq(buddy_alloc_layout(&allocator, 513, 1, &page, &order), -E2BIG);
        cr_expect_eq(buddy_alloc_layout(&allocator, 1, 1024, &page, &order), -E2BIG);
        cr_expect_eq(buddy_alloc_layout(&allocator, UINT64_MAX, 1, &page, &order), -E2BIG);
        cr_expect_eq(buddy_alloc_layout(&allocator, 1, UINT64_C(1) << 63, &page, &order), -E2BIG);
        cr_assert_eq(fixture_alloc(9), 0);
        cr_expect_eq(buddy_alloc_layout(&allocator, 512, 1, &page, &order), -ENOMEM);
        cr_expect(page == 1 && order == 2, "outputs are written only on success");
}

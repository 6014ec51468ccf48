#include "buddy_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>

TestSuite(region, .fini = fixture_close);
TestSuite(claim, .fini = fixture_close);

Test(region, pieces_of_any_shape_merge_into_one_block) {
        fixture_open(1024);
        static const uint64_t cuts[] = {0, 1, 3, 10, 64, 65, 511, 700, 1023, 1024};
        const size_t count = sizeof cuts / sizeof *cuts;
        for (size_t i = 1; i < count; i += 2) { /* every second one first */
                cr_assert_eq(buddy_add_region(&allocator, cuts[i - 1], cuts[i] - cuts[i - 1]), 0);
                fixture_check();
        }
        for (size_t i = 2; i < count; i += 2) {
                cr_assert_eq(buddy_add_region(&allocator, cuts[i - 1], cuts[i] - cuts[i - 1]), 0);
                fixture_check();
        }
        cr_expect_eq(fixture_alloc(10), 0);
}

Test(region, holes_are_never_granted) {
        fixture_open(1024);
        cr_assert_eq(buddy_add_region(&allocator, 5, 95), 0);
        cr_assert_eq(buddy_add_region(&allocator, 300, 421), 0);
        fixture_check();
        for (unsigned n = 0; n < 95 + 421; n++) {
                uint32_t page;
                cr_assert_eq(buddy_alloc(&allocator, 0, &page), 0);
                cr_assert((page >= 5 && page < 100) || (page >= 300 && page < 721));
        }
        uint32_t page;
        cr_expect_eq(buddy_alloc(&allocator, 0, &page), -ENOMEM);
        cr_assert_eq(buddy_free_range(&allocator, 5, 95), 0);
        cr_assert_eq(buddy_free_range(&allocator, 300, 421), 0);
        fixture_check();
        cr_expect_eq(fixture_free_pages(), 95 + 421);
}

Test(region, refuses_empty_outside_and_overlapping) {
        fixture_open(1000);
        cr_assert_eq(buddy_add_region(&allocator, 100, 200), 0);
        cr_expect_eq(buddy_add_region(&allocator, 0, 0), -EINVAL);
        cr_expect_eq(buddy_add_region(&allocator, 0, 1001), -EINVAL);
        cr_expect_eq(buddy_add_region(&allocator, 1000, 1), -EINVAL);
        cr_expect_eq(buddy_add_region(&allocator, UINT64_MAX, 2), -EINVAL);
        cr_expect_eq(buddy_add_region(&allocator, 2, UINT64_MAX), -EINVAL);
        cr_expect_eq(buddy_add_region(&allocator, 100, 1), -EEXIST);
        cr_expect_eq(buddy_add_region(&allocator, 299, 1), -EEXIST);
        cr_expect_eq(buddy_add_region(&allocator, 150, 10), -EEXIST);
        cr_expect_eq(buddy_add_region(&allocator, 0, 1000), -EEXIST);
        cr_expect_eq(buddy_add_region(&allocator, 0, 101), -EEXIST);
        fixture_check();
        struct buddy_totals totals;
        buddy_totals(&allocator, &totals);
        cr_expect_eq(totals.managed_pages, 200);
        cr_expect_eq(totals.free_pages, 200);
        cr_expect_eq(buddy_add_region(&allocator, 0, 100), 0);
        cr_expect_eq(buddy_add_region(&allocator, 300, 700), 0);
}

Test(region, returning_a_run_refuses_pages_that_are_free) {
        fixture_open_all(1000);
        cr_assert_eq(buddy_claim(&allocator, 10, 50), 0);
        cr_expect_eq(buddy_free_range(&allocator, 9, 2), -ESTALE);
        cr_expect_eq(buddy_free_range(&allocator, 10, 51), -ESTALE);
        cr_expect_eq(buddy_free_range(&allocator, 500, 1), -ESTALE);
        cr_expect_eq(buddy_free_range(&allocator, 10, 0), -EINVAL);
        cr_expect_eq(buddy_free_range(&allocator, 990, 11), -EINVAL);
        fixture_check();
        cr_expect_eq(fixture_free_pages(), 950);
        cr_expect_eq(buddy_free_range(&allocator, 10, 50), 0);
        cr_expect_eq(fixture_free_pages(), 1000);
}

Test(claim, takes_exactly_the_run) {
        for (uint64_t first = 0; first < 40; first++) {
                for (uint64_t count = 1; first + count <= 40; count++) {
                        fixture_open_all(40);
                        cr_assert_eq(buddy_claim(&allocator, first, count), 0);
                        fixture_check();
                        for (uint32_t page = 0; page < 40; page++) {
                                bool inside = page >= first && page < first + count;
                                cr_assert_eq(buddy_is_free(&allocator, page, 0), !inside);
                        }
                        cr_assert_eq(buddy_free_range(&allocator, first, count), 0);
                        cr_assert_eq(fixture_free_pages(), 40);
                        fixture_check();
                        buddy_deinit(&allocator);
                }
        }
        fixture_open_all(40);
}

Test(claim, spans_several_free_blocks) {
        fixture_open_all(777);
        cr_assert_eq(buddy_claim(&allocator, 3, 770), 0);
        fixture_check();
        cr_expect_eq(fixture_free_pages(), 7);
        for (uint32_t page = 3; page < 773; page++)
                cr_assert_eq(buddy_free(&allocator, page, 0), 0);
        fixture_check();
        cr_expect_eq(fixture_alloc(9), 0);
}

Test(claim, refuses_a_run_with_a_page_that_is_not_free) {
        fixture_open_all(64);
        cr_assert_eq(buddy_claim(&allocator, 20, 1), 0);
        struct buddy_totals before;
        buddy_totals(&allocator, &before);
        cr_expect_eq(buddy_claim(&allocator, 20, 1), -EBUSY);
        cr_expect_eq(buddy_claim(&allocator, 0, 64), -EBUSY);
        cr_expect_eq(buddy_claim(&allocator, 20, 10), -EBUSY);
        cr_expect_eq(buddy_claim(&allocator, 11, 10), -EBUSY);
        cr_expect_eq(buddy_claim(&allocator, 0, 0), -EINVAL);
        cr_expect_eq(buddy_claim(&allocator, 64, 1), -EINVAL);
        cr_expect_eq(buddy_claim(&allocator, 1, UINT64_MAX), -EINVAL);
        fixture_check();
        struct buddy_totals after;
        buddy_totals(&allocator, &after);
        for (unsigned order = 0; order < ORDER_COUNT; order++)
                cr_expect_eq(after.free_blocks[order], before.free_blocks[order]);
}

#include <criterion/criterion.h>

#include "core/buddy.h"

static const double EXACT = 1e-12;

static struct buddy_totals totals_of(const uint64_t *free_blocks, size_t orders) {
        struct buddy_totals totals = {.largest_free_order = -1};
        for (unsigned order = 0; order < orders; order++) {
                totals.free_blocks[order] = free_blocks[order];
                totals.free_pages += free_blocks[order] << order;
        }
        totals.managed_pages = totals.free_pages;
        return totals;
}

Test(fragmentation, nothing_free_is_no_fragmentation) {
        struct buddy_totals totals = totals_of(NULL, 0);
        cr_expect_float_eq(buddy_unusable_index(&totals, 3), 0.0, EXACT);
        cr_expect_float_eq(buddy_fragmentation_index(&totals, 3), 0.0, EXACT);
}

Test(fragmentation, unusable_is_the_share_in_smaller_blocks) {
        struct buddy_totals totals = totals_of((const uint64_t[]){8, 4, 0, 1}, 4);
        cr_expect_float_eq(buddy_unusable_index(&totals, 0), 0.0, EXACT);
        cr_expect_float_eq(buddy_unusable_index(&totals, 1), 8.0 / 24, EXACT);
        cr_expect_float_eq(buddy_unusable_index(&totals, 2), 16.0 / 24, EXACT);
        cr_expect_float_eq(buddy_unusable_index(&totals, 3), 16.0 / 24, EXACT);
        cr_expect_float_eq(buddy_unusable_index(&totals, 4), 1.0, EXACT);
}

Test(fragmentation, a_fitting_block_means_no_failure) {
        struct buddy_totals totals = totals_of((const uint64_t[]){8, 4, 0, 1}, 4);
        for (unsigned order = 0; order <= 3; order++)
                cr_expect_float_eq(buddy_fragmentation_index(&totals, order), -1.0, EXACT);
}

Test(fragmentation, many_small_blocks_tend_to_one) {
        struct buddy_totals totals = totals_of((const uint64_t[]){1024}, 1);
        cr_expect_float_eq(
                buddy_fragmentation_index(&totals, 5), 1 - (1 + 1024.0 / 32) / 1024, EXACT);
}

Test(fragmentation, too_little_memory_tends_to_zero) {
        struct buddy_totals totals = totals_of((const uint64_t[]){1}, 1);
        cr_expect_float_eq(buddy_fragmentation_index(&totals, 9), 0.0, EXACT);
        totals = totals_of((const uint64_t[]){2}, 1);
        cr_expect_float_eq(buddy_fragmentation_index(&totals, 9), 1 - (1 + 2.0 / 512) / 2, EXACT);
}

Test(fragmentation, orders_beyond_all_are_answered) {
        struct buddy_totals totals = totals_of((const uint64_t[]){4}, 1);
        cr_expect_float_eq(buddy_unusable_index(&totals, 40), 1.0, EXACT);
        cr_expect(buddy_fragmentation_index(&totals, 40) > 0);
}

#include "buddy_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "core/buddy_order.h"

/* The walk must find whatever is broken here by hand, and say what it is. */
static void expect_fault(const char *words) {
        char fault[256] = "";
        cr_expect_eq(buddy_check(&allocator, fault, sizeof fault), -EUCLEAN);
        cr_expect(strstr(fault, words) != NULL, "\"%s\" says nothing of \"%s\"", fault, words);
        buddy_deinit(&allocator);
}

Test(check, sees_a_wrong_count) {
        fixture_open_all(100);
        allocator.orders[2].free_blocks++;
        expect_fault("are counted");
}

Test(check, sees_a_wrong_hint) {
        fixture_open_all(100);
        order_set_lowest(&allocator, 3, 8);
        expect_fault("hint");
}

Test(check, sees_a_lost_summary) {
        fixture_open_all(100000);
        allocator.orders[5].free.levels[1][0] ^= 1;
        expect_fault("summaries");
}

Test(check, sees_overlapping_blocks) {
        fixture_open_all(128);
        order_push(&allocator, 3, 5);
        expect_fault("lies in a free block of order 7");
}

Test(check, sees_buddies_that_are_not_merged) {
        fixture_open_all(128);
        cr_assert_eq(buddy_claim(&allocator, 0, 128), 0);
        order_push(&allocator, 3, 4);
        order_push(&allocator, 3, 5);
        expect_fault("not merged");
}

Test(check, sees_more_free_pages_than_were_added) {
        fixture_open(128);
        order_push(&allocator, 3, 4);
        expect_fault("were added");
}

Test(totals, count_what_was_granted_before, .fini = fixture_close) {
        fixture_open(100);
        buddy_add_granted(&allocator, 30);
        cr_assert_eq(buddy_add_region(&allocator, 30, 70), 0);
        cr_assert_eq(buddy_free_range(&allocator, 0, 30), 0);
        fixture_check();
        struct buddy_totals totals;
        buddy_totals(&allocator, &totals);
        cr_expect_eq(totals.managed_pages, 100);
        cr_expect_eq(totals.free_pages, 100);
}

struct dump {
        uint32_t pages[16];
        unsigned orders[16];
        size_t count;
};

static void collect(void *context, uint32_t page, unsigned order) {
        struct dump *dump = context;
        cr_assert_lt(dump->count, 16);
        dump->pages[dump->count] = page;
        dump->orders[dump->count++] = order;
}

Test(dump, visits_every_free_block_by_order_and_page, .fini = fixture_close) {
        fixture_open_all(27);
        cr_assert_eq(buddy_claim(&allocator, 4, 1), 0);
        struct dump dump = {0};
        buddy_dump(&allocator, collect, &dump);
        static const uint32_t pages[] = {5, 26, 6, 24, 0, 8, 16};
        static const unsigned orders[] = {0, 0, 1, 1, 2, 3, 3};
        cr_assert_eq(dump.count, 7);
        for (size_t i = 0; i < dump.count; i++) {
                cr_expect_eq(dump.pages[i], pages[i]);
                cr_expect_eq(dump.orders[i], orders[i]);
        }
}

Test(totals, follow_every_step, .fini = fixture_close) {
        fixture_open(100);
        struct buddy_totals totals;
        buddy_totals(&allocator, &totals);
        cr_expect_eq(totals.managed_pages, 0);
        cr_expect_eq(totals.largest_free_order, -1);
        cr_assert_eq(buddy_add_region(&allocator, 0, 100), 0);
        cr_assert_eq(fixture_alloc(6), 0);
        buddy_totals(&allocator, &totals);
        cr_expect_eq(totals.managed_pages, 100);
        cr_expect_eq(totals.free_pages, 36);
        cr_expect_eq(totals.largest_free_order, 5);
}

Test(is_free, knows_blocks_inside_larger_ones, .fini = fixture_close) {
        fixture_open_all(100);
        cr_assert_eq(fixture_alloc(3), 0);
        cr_expect_not(buddy_is_free(&allocator, 0, 0));
        cr_expect_not(buddy_is_free(&allocator, 0, 4), "half of it is held");
        cr_expect(buddy_is_free(&allocator, 8, 3));
        cr_expect(buddy_is_free(&allocator, 40, 1));
        cr_expect_not(buddy_is_free(&allocator, 100, 0), "outside");
        cr_expect_not(buddy_is_free(&allocator, 96, 3), "sticks out");
}

#include "buddy_fixture.h"

#include <criterion/criterion.h>

struct buddy allocator;

void fixture_open(uint64_t pages_max) {
        cr_assert_eq(buddy_init(&allocator, pages_max), 0);
}

void fixture_open_all(uint64_t pages) {
        fixture_open(pages);
        cr_assert_eq(buddy_add_region(&allocator, 0, pages), 0);
        fixture_check();
}

void fixture_close(void) {
        fixture_check();
        buddy_deinit(&allocator);
}

void fixture_check(void) {
        char fault[256] = "";
        cr_assert_eq(buddy_check(&allocator, fault, sizeof fault), 0, "%s", fault);
}

uint64_t fixture_free_pages(void) {
        struct buddy_totals totals;
        buddy_totals(&allocator, &totals);
        return totals.free_pages;
}

uint32_t fixture_alloc(unsigned order) {
        uint32_t page = PAGE_NONE;
        cr_assert_eq(buddy_alloc(&allocator, order, &page), 0);
        cr_assert_eq(page % order_pages(order), 0);
        fixture_check();
        return page;
}

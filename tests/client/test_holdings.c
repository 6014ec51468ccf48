/* The client's own table of held ranges. */
#include "client/holdings.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

static struct holdings table;

static void setup(void) {
        holdings_init(&table);
}

static void teardown(void) {
        holdings_deinit(&table);
}

TestSuite(holdings, .init = setup, .fini = teardown);

static struct holding range_at(uint64_t page, uint32_t generation) {
        return (struct holding){.offset = page * 4096, .length = 4096, .generation = generation};
}

static int add(struct holding range) {
        if (holdings_reserve(&table, 1) < 0)
                return -ENOMEM;
        holdings_lock(&table);
        int rc = holdings_add_locked(&table, &range);
        holdings_unlock(&table);
        if (rc < 0)
                holdings_unreserve(&table, 1);
        return rc;
}

static int drop(struct holding range) {
        holdings_lock(&table);
        int rc = holdings_drop_locked(&table, &range);
        holdings_unlock(&table);
        return rc;
}

Test(holdings, forgets_what_was_dropped) {
        cr_assert_eq(add(range_at(3, 1)), 0);
        cr_assert_eq(holdings_count(&table), 1);
        cr_assert_eq(drop(range_at(3, 1)), 0);
        cr_assert_eq(holdings_count(&table), 0);
        cr_assert_eq(drop(range_at(3, 1)), -ENOENT);
}

Test(holdings, of_an_unused_table_are_none) {
        cr_assert_eq(drop(range_at(0, 1)), -ENOENT);
}

Test(holdings, counts_holds_of_one_range) {
        cr_assert_eq(add(range_at(3, 1)), 0);
        cr_assert_eq(add(range_at(3, 1)), 0);
        cr_assert_eq(holdings_count(&table), 1);
        cr_assert_eq(drop(range_at(3, 1)), 0);
        cr_assert_eq(drop(range_at(3, 1)), 0);
        cr_assert_eq(drop(range_at(3, 1)), -ENOENT);
}

Test(holdings, tells_lives_and_lengths_apart) {
        struct holding longer = range_at(3, 1);
        longer.length = 8192;
        cr_assert_eq(add(range_at(3, 1)), 0);
        cr_assert_eq(add(range_at(3, 2)), -EEXIST);
        cr_assert_eq(add(longer), -EEXIST);
        cr_assert_eq(drop(range_at(3, 2)), -ENOENT);
        cr_assert_eq(drop(longer), -ENOENT);
        cr_assert_eq(drop(range_at(3, 1)), 0);
}

Test(holdings, cover_counts_each_hold_once) {
        cr_assert_eq(add(range_at(1, 1)), 0);
        cr_assert_eq(add(range_at(2, 1)), 0);
        cr_assert_eq(add(range_at(2, 1)), 0);
        struct holding twice[] = {range_at(2, 1), range_at(1, 1), range_at(2, 1)};
        struct holding thrice[] = {range_at(2, 1), range_at(2, 1), range_at(2, 1), range_at(1, 1)};
        size_t bad = 99;
        cr_assert_eq(holdings_cover(&table, twice, 3, &bad), 0);
        cr_assert_eq(bad, 99);
        cr_assert_eq(holdings_cover(&table, thrice, 4, &bad), -ENOENT);
        cr_assert_eq(bad, 2);
        cr_assert_eq(holdings_count(&table), 2);
        cr_assert_eq(holdings_cover(&table, twice, 3, &bad), 0);
}

/* Against a plain array, with offsets that collide, through growth and many removals. */
Test(holdings, agree_with_an_array_after_random_work) {
        enum { PAGES = 3000 };
        static uint32_t counts[PAGES];
        size_t different = 0;
        srand(7);
        for (int step = 0; step < 400000; step++) {
                uint64_t page = (uint64_t)(rand() % PAGES);
                /* A few megabytes apart: many share their home slot. */
                struct holding range = range_at(page * 1024, (uint32_t)page + 1);
                if (rand() % 2) {
                        cr_assert_eq(add(range), 0);
                        different += counts[page]++ == 0;
                } else {
                        cr_assert_eq(drop(range), counts[page] ? 0 : -ENOENT);
                        different -= counts[page] == 1;
                        counts[page] -= counts[page] > 0;
                }
                cr_assert_eq(holdings_count(&table), different);
        }
        for (uint64_t page = 0; page < PAGES; page++)
                while (counts[page]-- > 0)
                        cr_assert_eq(drop(range_at(page * 1024, (uint32_t)page + 1)), 0);
        cr_assert_eq(holdings_count(&table), 0);
}

/* The walk of every invariant finds what it is for: each test breaks one thing behind the pool's back. And what only
 * shows with many sessions on one block. */
#include <criterion/criterion.h>
#include <errno.h>

#include "core/pool_private.h"
#include "pool_fixture.h"

#define PAGES 2048

static struct pool_fixture fixture;
static struct pool *pool;
static uint32_t ada, bob;
static struct block small, large;

static void setup(void) {
        fixture_init(&fixture, PAGES, PAGES);
        pool = fixture.pool;
        ada = fixture_session(&fixture, "ada", 1);
        bob = fixture_session(&fixture, "bob", 1);
        small = fixture_granted(&fixture, ada, 0);
        large = fixture_granted(&fixture, ada, 4);
        cr_assert_eq(pool_attach(pool, bob, small), 0);
        fixture_check(&fixture);
}

static void teardown(void) {
        fixture_deinit(&fixture);
}

TestSuite(pool_check, .init = setup, .fini = teardown);

static void found(const char *what) {
        struct pool_check_report report;
        cr_assert_eq(pool_check(pool, &report), -EUCLEAN, "%s", what);
        cr_assert_neq(report.fault[0], 0);
}

Test(pool_check, a_page_that_is_held_and_free) {
        cr_assert_eq(buddy_free(&pool->buddy, large.page + 3, 0), 0);
        found("inside a held block");
}

Test(pool_check, a_held_and_free_page_beside_a_lost_one) {
        uint32_t lost;
        cr_assert_eq(buddy_alloc(&pool->buddy, 0, &lost), 0);
        cr_assert_eq(buddy_free(&pool->buddy, large.page + 3, 0), 0);
        found("the sums are right");
}

Test(pool_check, a_page_that_is_lost) {
        uint32_t lost;
        cr_assert_eq(buddy_alloc(&pool->buddy, 0, &lost), 0);
        found("neither held nor free");
}

Test(pool_check, a_block_that_its_owner_does_not_list) {
        lease_unlink_locked(pool, ada, large.page, large.order);
        found("not listed");
}

Test(pool_check, a_block_in_the_list_of_another) {
        lease_unlink_locked(pool, ada, large.page, large.order);
        lease_link_locked(pool, bob, large);
        found("listed by another");
}

Test(pool_check, a_hold_word_that_is_gone) {
        pool->ledger.holds[0] = 0;
        found("a hold without its word");
}

Test(pool_check, a_session_that_counts_wrong) {
        pool->holders[bob].held_bytes += 4096;
        found("bytes");
}

Test(pool_check, a_session_that_counts_gifts_wrong) {
        pool->holders[bob].given_ranges++;
        found("gifts");
}

Test(pool_check, a_count_of_held_blocks_that_is_wrong) {
        pool->held[4].blocks++;
        found("held blocks");
}

Test(pool_check, a_record_whose_owner_is_another) {
        *block_word(pool, large.page, large.order) =
                ledger_pack((struct ledger_record){.order_plus_1 = large.order + 1,
                                    .owner = bob,
                                    .generation = large.generation},
                        large.page);
        found("owner");
}

/* More sessions than the index has buckets for a stripe, so that several groups share one. */
Test(pool_check, a_thousand_sessions_share_a_block) {
        static uint32_t sessions[1000];
        for (unsigned i = 0; i < 1000; i++) {
                sessions[i] = fixture_session(&fixture, "reader", 1);
                cr_assert_eq(pool_attach(pool, sessions[i], small), 0);
        }
        bool freed;
        for (unsigned i = 0; i < 1000; i += 2)
                cr_assert_eq(pool_release(pool, sessions[i], small, &freed), 0);
        for (unsigned i = 0; i < 1000; i++)
                cr_assert_eq(pool_release(pool, sessions[i], small, &freed), i % 2 ? 0 : -ESTALE);
        fixture_check(&fixture);
}

Test(pool_check, a_block_granted_while_it_is_listed_has_no_age) {
        pool->leases[small.page].granted += 100;
        struct pool_hold holds[64];
        uint32_t cursor = 0;
        cr_assert_eq(pool_list_holds(pool, ada, &cursor, holds, 64), 2);
        cr_assert_eq(holds[0].age_s, 0);
}

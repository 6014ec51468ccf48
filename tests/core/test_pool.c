/* A pool's operations, one by one. The full walk runs after every test. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "pool_fixture.h"

#define PAGES 4096

static struct pool_fixture fixture;
static struct pool *pool;
static uint32_t ada, bob;

static void setup(void) {
        fixture_init(&fixture, PAGES, PAGES);
        pool = fixture.pool;
        ada = fixture_session(&fixture, "ada", 1000);
        bob = fixture_session(&fixture, "bob", 1001);
}

static void teardown(void) {
        fixture_check(&fixture);
        fixture_deinit(&fixture);
}

TestSuite(pool, .init = setup, .fini = teardown);

Test(pool, orders_round_up_to_a_power_of_two) {
        unsigned order;
        cr_assert_eq(pool_order_for(pool, 1, &order), 0);
        cr_assert_eq(order, 0);
        cr_assert_eq(pool_order_for(pool, 4096, &order), 0);
        cr_assert_eq(order, 0);
        cr_assert_eq(pool_order_for(pool, 4097, &order), 0);
        cr_assert_eq(order, 1);
        cr_assert_eq(pool_order_for(pool, PAGES * 4096, &order), 0);
        cr_assert_eq(order, 12);
}

Test(pool, impossible_lengths_are_refused_and_leave_the_output_alone) {
        unsigned order = 77;
        cr_assert_eq(pool_order_for(pool, 0, &order), -EINVAL);
        cr_assert_eq(pool_order_for(pool, PAGES * 4096 + 1, &order), -E2BIG);
        cr_assert_eq(pool_order_for(pool, UINT64_MAX, &order), -E2BIG);
        cr_assert_eq(order, 77);
}

Test(pool, ranges_that_name_no_block_are_refused) {
        struct block block;
        cr_assert_eq(pool_block_at(pool, 4096, 4096, 1, &block), 0);
        cr_assert_eq(pool_block_at(pool, 4096, 8192, 1, &block), -EINVAL, "not aligned to length");
        cr_assert_eq(pool_block_at(pool, 4096, 4095, 1, &block), -EINVAL, "not a power of two");
        cr_assert_eq(pool_block_at(pool, 4096, 2048, 1, &block), -EINVAL, "below a page");
        cr_assert_eq(pool_block_at(pool, 4096, 0, 1, &block), -EINVAL, "no length");
        cr_assert_eq(pool_block_at(pool, 4095, 4096, 1, &block), -EINVAL, "inside a page");
        cr_assert_eq(pool_block_at(pool, PAGES * 4096, 4096, 1, &block), -EINVAL, "behind the end");
        cr_assert_eq(pool_block_at(pool, UINT64_MAX - 4095, 4096, 1, &block), -EINVAL, "overflow");
        cr_assert_eq(pool_block_at(pool, 0, UINT64_C(1) << 63, 1, &block), -EINVAL, "too long");
        cr_assert_eq(pool_block_at(pool, 4096, 4096, 0, &block), -EINVAL, "never granted");
        cr_assert_eq(pool_block_at(pool, 4096, 4096, UINT64_C(1) << 32, &block), -EINVAL,
                "no such life");
}

Test(pool, a_block_has_a_new_generation_in_each_life) {
        struct block first = fixture_granted(&fixture, ada, 0);
        bool freed;
        cr_assert_eq(pool_release(pool, ada, first, &freed), 0);
        cr_assert(freed);
        struct block second = fixture_granted(&fixture, ada, 0);
        cr_assert_eq(second.page, first.page);
        cr_assert_eq(second.generation, first.generation + 1);
        cr_assert_eq(pool_release(pool, ada, first, &freed), -ESTALE);
}

Test(pool, generations_survive_a_chunk_being_split_and_granted_whole) {
        struct block small = fixture_granted(&fixture, ada, 0);
        bool freed;
        cr_assert_eq(pool_release(pool, ada, small, &freed), 0);
        struct block large = fixture_granted(&fixture, ada, 12);
        cr_assert_eq(large.page, small.page);
        cr_assert_eq(pool_release(pool, ada, small, &freed), -ESTALE);
        cr_assert_eq(pool_release(pool, ada, large, &freed), 0);
        struct block again = fixture_granted(&fixture, ada, 0);
        cr_assert_eq(again.generation, small.generation + 1);
        cr_assert_eq(pool_release(pool, ada, large, &freed), -ESTALE);
}

Test(pool, double_foreign_and_wrong_releases_are_refused) {
        struct block block = fixture_granted(&fixture, ada, 3);
        bool freed = true;
        struct block interior = {
                .page = block.page + 4, .order = 2, .generation = block.generation};
        struct block longer = {.page = block.page, .order = 4, .generation = block.generation};
        struct block shorter = {.page = block.page, .order = 2, .generation = block.generation};
        cr_assert_eq(pool_release(pool, bob, block, &freed), -ESTALE);
        cr_assert_eq(pool_release(pool, ada, interior, &freed), -EINVAL);
        cr_assert_eq(pool_release(pool, ada, longer, &freed), -EINVAL);
        cr_assert_eq(pool_release(pool, ada, shorter, &freed), -EINVAL);
        fixture_check(&fixture);
        cr_assert_eq(pool_release(pool, ada, block, &freed), 0);
        cr_assert_eq(pool_release(pool, ada, block, &freed), -ESTALE);
        cr_assert_eq(fixture_free_pages(&fixture), PAGES);
}

Test(pool, grants_until_the_last_page_and_merges_back) {
        static struct block blocks[PAGES];
        for (size_t i = 0; i < PAGES; i++)
                blocks[i] = fixture_granted(&fixture, ada, 0);
        struct block none = {.page = 123};
        cr_assert_eq(pool_grant(pool, ada, 0, &none), -ENOMEM);
        cr_assert_eq(none.page, 123);
        fixture_check(&fixture);
        size_t bad;
        uint64_t freed;
        cr_assert_eq(pool_release_many(pool, ada, blocks, PAGES, &bad, &freed), 0);
        cr_assert_eq(freed, PAGES);
        cr_assert_eq(fixture_granted(&fixture, ada, 12).order, 12);
}

Test(pool, grant_many_is_all_or_none) {
        struct block blocks[9];
        fixture_granted(&fixture, ada, 11);
        cr_assert_eq(pool_grant_many(pool, ada, 8, 9, blocks), -ENOMEM);
        cr_assert_eq(fixture_free_pages(&fixture), PAGES / 2);
        cr_assert_eq(pool_grant_many(pool, ada, 8, 8, blocks), 0);
        cr_assert_eq(fixture_free_pages(&fixture), 0);
        cr_assert_eq(pool_grant_many(pool, ada, 8, 0, blocks), -EINVAL);
        cr_assert_eq(pool_grant_many(pool, ada, 8, POOL_BATCH_MAX + 1, blocks), -EINVAL);
}

Test(pool, release_many_with_a_bad_one_changes_nothing) {
        struct block blocks[5];
        cr_assert_eq(pool_grant_many(pool, ada, 0, 5, blocks), 0);
        struct block spoiled[5] = {blocks[0], blocks[1], blocks[0], blocks[3], blocks[4]};
        size_t bad = 99;
        uint64_t freed = 99;
        cr_assert_eq(pool_release_many(pool, ada, spoiled, 5, &bad, &freed), -ESTALE);
        cr_assert_eq(bad, 2, "the second mention of one hold");
        cr_assert_eq(freed, 99);
        cr_assert_eq(fixture_held_ranges(&fixture, ada), 5);
        cr_assert_eq(pool_release_many(pool, ada, blocks, 5, &bad, &freed), 0);
        cr_assert_eq(freed, 5);
}

Test(pool, release_many_returns_runs_of_any_shape) {
        struct block all[64], batch[64];
        size_t bad, count = 0;
        uint64_t freed;
        bool last;
        cr_assert_eq(pool_grant_many(pool, ada, 1, 64, all), 0);
        cr_assert_eq(pool_attach(pool, bob, all[40]), 0);
        for (size_t i = 3; i < 61; i++) /* a run that begins and ends anywhere, with gaps */
                if (i != 20 && i != 21 && i != 33)
                        batch[count++] = all[i];
        cr_assert_eq(pool_release_many(pool, ada, batch, count, &bad, &freed), 0);
        cr_assert_eq(freed, 2 * (count - 1), "all but what bob holds");
        cr_assert_eq(fixture_free_pages(&fixture), PAGES - 2 * (64 - count + 1));
        fixture_check(&fixture);
        const struct block rest[] = {
                all[63], all[62], all[61], all[33], all[21], all[20], all[2], all[0], all[1]};
        cr_assert_eq(pool_release_many(pool, ada, rest, 9, &bad, &freed), 0);
        cr_assert_eq(freed, 18);
        cr_assert_eq(pool_release(pool, bob, all[40], &last), 0);
        cr_assert_eq(fixture_granted(&fixture, ada, 12).order, 12, "all of it merged");
}

Test(pool, a_batch_may_name_a_block_as_often_as_it_is_held) {
        struct block block = fixture_granted(&fixture, ada, 0);
        cr_assert_eq(pool_attach(pool, ada, block), 0);
        struct block thrice[3] = {block, block, block};
        size_t bad;
        uint64_t freed;
        cr_assert_eq(pool_release_many(pool, ada, thrice, 3, &bad, &freed), -ESTALE);
        cr_assert_eq(pool_release_many(pool, ada, thrice, 2, &bad, &freed), 0);
        cr_assert_eq(freed, 1);
}

Test(pool, a_block_lives_while_anyone_holds_it) {
        struct block block = fixture_granted(&fixture, ada, 2);
        bool freed;
        cr_assert_eq(pool_attach(pool, bob, block), 0);
        cr_assert_eq(pool_release(pool, ada, block, &freed), 0);
        cr_assert_not(freed);
        cr_assert_eq(pool_release(pool, ada, block, &freed), -ESTALE);
        fixture_check(&fixture);
        cr_assert_eq(pool_release(pool, bob, block, &freed), 0);
        cr_assert(freed);
        cr_assert_eq(pool_attach(pool, bob, block), -ESTALE);
}

Test(pool, give_moves_the_hold) {
        struct block block = fixture_granted(&fixture, ada, 1);
        size_t bad;
        bool freed;
        cr_assert_eq(pool_give_many(pool, ada, &block, 1, bob, &bad), 0);
        cr_assert_eq(fixture_held_ranges(&fixture, ada), 0);
        cr_assert_eq(pool_release(pool, ada, block, &freed), -ESTALE);
        cr_assert_eq(pool_release(pool, bob, block, &freed), 0);
        cr_assert(freed);
}

Test(pool, a_hold_that_was_given_is_told_apart_and_goes_last) {
        struct block block = fixture_granted(&fixture, bob, 1);
        size_t bad;
        bool freed;
        cr_assert_eq(pool_attach(pool, ada, block), 0);
        cr_assert_eq(pool_give_many(pool, bob, &block, 1, ada, &bad), 0);
        cr_assert_eq(fixture_held_ranges(&fixture, ada), 2);
        cr_assert_eq(pool_release(pool, ada, block, &freed), 0);
        struct pool_hold hold[64];
        uint32_t cursor = 0;
        cr_assert_eq(pool_list_holds(pool, ada, &cursor, hold, 64), 1);
        cr_assert(hold[0].given);
        fixture_check(&fixture);
        cr_assert_eq(pool_release(pool, ada, block, &freed), 0);
        cr_assert(freed);
}

Test(pool, give_to_nobody_is_refused) {
        struct block block = fixture_granted(&fixture, ada, 1);
        size_t bad;
        cr_assert_eq(pool_give_many(pool, ada, &block, 1, 999, &bad), -ENOENT);
        cr_assert_eq(pool_give_many(pool, ada, &block, 1, UINT32_MAX, &bad), -ENOENT);
        cr_assert_eq(pool_give_many(pool, ada, &block, 1, 0, &bad), -ENOENT);
        fixture_close(&fixture, bob);
        cr_assert_eq(pool_give_many(pool, ada, &block, 1, bob, &bad), -ENOENT);
        cr_assert_eq(fixture_held_ranges(&fixture, ada), 1);
}

Test(pool, a_key_holds_what_its_publisher_leaves) {
        struct block block = fixture_granted(&fixture, ada, 4);
        bool freed;
        cr_assert_eq(pool_publish(pool, ada, "model", block, 0), 0);
        fixture_close(&fixture, ada);
        fixture_check(&fixture);
        struct block found;
        cr_assert_eq(pool_lookup(pool, bob, "model", &found, NULL), 0);
        cr_assert_eq(found.page, block.page);
        cr_assert_eq(found.generation, block.generation);
        cr_assert_eq(pool_unpublish(pool, bob, "model"), -EACCES, "another uid's key");
        cr_assert_eq(pool_release(pool, bob, found, &freed), 0);
        cr_assert_not(freed);
        cr_assert_eq(fixture_free_pages(&fixture), PAGES - 16);
        ada = fixture_session(&fixture, "ada", 1000);
        cr_assert_eq(pool_unpublish(pool, ada, "model"), 0);
        cr_assert_eq(fixture_free_pages(&fixture), PAGES);
        cr_assert_eq(pool_lookup(pool, bob, "model", &found, NULL), -ENOENT);
}

Test(pool, only_a_holder_may_publish) {
        struct block block = fixture_granted(&fixture, ada, 0);
        cr_assert_eq(pool_publish(pool, bob, "k", block, 0), -ESTALE);
        cr_assert_eq(pool_publish(pool, ada, "", block, 0), -EINVAL);
        char name[LEDGER_KEY_BYTES + 1] = {0};
        memset(name, 'x', LEDGER_KEY_BYTES);
        cr_assert_eq(pool_publish(pool, ada, name, block, 0), -EINVAL);
        name[LEDGER_KEY_BYTES - 1] = 0;
        cr_assert_eq(pool_publish(pool, ada, name, block, 0), 0);
}

Test(pool, a_closing_session_is_granted_nothing) {
        struct block block = fixture_granted(&fixture, ada, 0);
        pool_session_close(pool, bob);
        struct block none;
        size_t bad;
        cr_assert_eq(pool_grant(pool, bob, 0, &none), -ESTALE);
        cr_assert_eq(pool_attach(pool, bob, block), -ESTALE);
        cr_assert_eq(pool_give_many(pool, ada, &block, 1, bob, &bad), -ENOENT);
        cr_assert_eq(fixture_free_pages(&fixture), PAGES - 1);
        fixture_close(&fixture, bob);
}

Test(pool, reclaim_goes_on_in_slices) {
        for (unsigned i = 0; i < 10; i++)
                fixture_granted(&fixture, ada, 0);
        struct pool_reclaimed sum = {0};
        pool_session_close(pool, ada);
        cr_assert_not(pool_session_reclaim(pool, ada, 4, &sum));
        cr_assert_eq(sum.holds, 4);
        fixture_check(&fixture);
        cr_assert_eq(fixture_recover(&fixture), 0, "%s", fixture.fault);
        pool = fixture.pool;
        struct pool_session_info info;
        cr_assert_eq(pool_session_info(pool, ada, &info), 0);
        cr_assert_eq(info.state, SESSION_CLOSING);
        cr_assert(pool_session_reclaim(pool, ada, 100, &sum));
        cr_assert_eq(sum.holds, 10);
        cr_assert_eq(sum.bytes, 10 * 4096);
        cr_assert_eq(pool_session_info(pool, ada, &info), -ENOENT);
}

Test(pool, session_ids_come_back_as_late_as_possible) {
        fixture_close(&fixture, bob);
        uint32_t next = fixture_session(&fixture, "next", 0);
        cr_assert_neq(next, bob);
        for (uint32_t i = 0; i < LEDGER_SESSIONS - 5; i++)
                fixture_close(&fixture, fixture_session(&fixture, "one", 0));
        uint32_t wrapped = fixture_session(&fixture, "wrapped", 0);
        cr_assert_leq(wrapped, next + 1);
}

Test(pool, a_gone_sessions_id_is_not_the_next_ones_over_a_restart) {
        fixture_close(&fixture, bob);
        cr_assert_eq(fixture_recover(&fixture), 0, "%s", fixture.fault);
        pool = fixture.pool;
        uint32_t next = fixture_session(&fixture, "next", 0);
        cr_assert_neq(next, bob);
        fixture_close(&fixture, next);
        cr_assert_neq(fixture_session(&fixture, "after", 0), next);
}

Test(pool, sessions_run_out_cleanly) {
        struct pool_session_identity identity = {.name = "many"};
        uint32_t session = 0, opened = 0;
        int r;
        while ((r = pool_session_open(pool, &identity, &session)) == 0)
                opened++;
        cr_assert_eq(r, -EAGAIN);
        cr_assert_eq(opened, LEDGER_SESSIONS - 4, "all but 0, the operator, ada and bob");
}

Test(pool, finds_a_session_by_name) {
        cr_assert_eq(pool_session_find(pool, "bob", 0), bob);
        cr_assert_eq(pool_session_find(pool, "eve", 0), 0);
        pool_session_close(pool, bob);
        cr_assert_eq(pool_session_find(pool, "bob", 0), 0);
        fixture_close(&fixture, bob);
}

Test(pool, lists_every_holder_in_pages) {
        struct block blocks[200];
        cr_assert_eq(pool_grant_many(pool, ada, 0, 200, blocks), 0);
        for (unsigned i = 0; i < 50; i++)
                cr_assert_eq(pool_attach(pool, bob, blocks[i]), 0);
        cr_assert_eq(pool_publish(pool, ada, "k", blocks[7], 0), 0);
        struct pool_hold holds[64];
        uint32_t cursor = 0;
        size_t total = 0, keys = 0, bobs = 0;
        while (cursor != PAGE_NONE) {
                size_t n = pool_list_holds(pool, 0, &cursor, holds, 64);
                total += n;
                for (size_t i = 0; i < n; i++) {
                        keys += holds[i].key[0] != 0;
                        bobs += holds[i].session == bob;
                }
        }
        cr_assert_eq(total, 251);
        cr_assert_eq(keys, 1);
        cr_assert_eq(bobs, 50);
        cursor = 0;
        cr_assert_eq(pool_list_holds(pool, bob, &cursor, holds, 64), 50);
}

Test(pool, grows_under_its_holders) {
        fixture_deinit(&fixture);
        fixture_init(&fixture, 1000, 5000);
        pool = fixture.pool;
        ada = fixture_session(&fixture, "ada", 1000);
        struct block block;
        cr_assert_eq(pool_grant(pool, ada, 11, &block), -ENOMEM);
        cr_assert_eq(pool_grow(pool, 999), -EINVAL);
        cr_assert_eq(pool_grow(pool, 5001), -EINVAL);
        cr_assert_eq(pool_grow(pool, 5000), 0);
        cr_assert_eq(pool_grant(pool, ada, 11, &block), 0);
        fixture_check(&fixture);
        cr_assert_eq(fixture_recover(&fixture), 0, "%s", fixture.fault);
        pool = fixture.pool;
        cr_assert_eq(pool_pages(pool), 5000);
}

Test(pool, hold_table_full_is_refused) {
        struct block block = fixture_granted(&fixture, ada, 0);
        int r;
        uint64_t attached = 0;
        while ((r = pool_attach(pool, bob, block)) == 0)
                attached++;
        cr_assert_eq(r, -ENOSPC);
        cr_assert_eq(attached, fixture.ledger.hold_count);
        bool freed;
        cr_assert_eq(pool_release(pool, bob, block, &freed), 0);
        cr_assert_eq(pool_attach(pool, bob, block), 0);
        fixture_close(&fixture, bob);
        bob = fixture_session(&fixture, "bob", 0);
}

Test(pool, a_block_shared_a_hundred_thousand_times_costs_no_more) {
        struct block block = fixture_granted(&fixture, ada, 0);
        for (unsigned i = 0; i < 30000; i++) {
                cr_assert_eq(pool_attach(pool, ada, block), 0);
                cr_assert_eq(pool_attach(pool, bob, block), 0);
        }
        static struct block batch[POOL_BATCH_MAX];
        for (unsigned i = 0; i < POOL_BATCH_MAX; i++)
                batch[i] = block;
        size_t bad;
        uint64_t freed;
        for (unsigned i = 0; i < 7; i++)
                cr_assert_eq(pool_release_many(pool, ada, batch, POOL_BATCH_MAX, &bad, &freed), 0);
        fixture_check(&fixture);
        cr_assert_eq(pool_release_many(pool, ada, batch, POOL_BATCH_MAX, &bad, &freed), -ESTALE);
        cr_assert_eq(bad, 30001 - 7 * POOL_BATCH_MAX);
        fixture_check(&fixture);
        fixture_close(&fixture, bob);
        bob = fixture_session(&fixture, "bob", 1001);
        cr_assert_eq(fixture_held_ranges(&fixture, ada), 30001 - 7 * POOL_BATCH_MAX);
}

Test(pool, given_holds_are_counted_in_batches) {
        struct block block = fixture_granted(&fixture, ada, 0);
        struct block pair[3] = {block, block, block};
        size_t bad;
        uint64_t freed;
        cr_assert_eq(pool_attach(pool, ada, block), 0);
        cr_assert_eq(pool_attach(pool, bob, block), 0);
        cr_assert_eq(pool_give_many(pool, ada, pair, 2, bob, &bad), 0);
        fixture_check(&fixture);
        cr_assert_eq(pool_give_many(pool, ada, pair, 1, bob, &bad), -ESTALE);
        cr_assert_eq(fixture_held_ranges(&fixture, bob), 3);
        cr_assert_eq(pool_release_many(pool, bob, pair, 3, &bad, &freed), 0);
        cr_assert_eq(freed, 1);
}

Test(pool, key_slots_are_found_again) {
        struct block block = fixture_granted(&fixture, ada, 0);
        char key[32];
        for (unsigned round = 0; round < 2; round++) {
                for (unsigned i = 0; i < LEDGER_KEYS; i++) {
                        snprintf(key, sizeof key, "key %u", i);
                        cr_assert_eq(pool_publish(pool, ada, key, block, 0), 0);
                }
                cr_assert_eq(pool_publish(pool, ada, "one more", block, 0), -ENOSPC);
                for (unsigned i = 1; i < LEDGER_KEYS; i += 2) {
                        snprintf(key, sizeof key, "key %u", i);
                        cr_assert_eq(pool_unpublish(pool, ada, key), 0);
                }
                cr_assert_eq(fixture_recover(&fixture), 0, "%s", fixture.fault);
                pool = fixture.pool;
                fixture_check(&fixture);
                for (unsigned i = 0; i < LEDGER_KEYS; i += 2) {
                        snprintf(key, sizeof key, "key %u", i);
                        cr_assert_eq(pool_unpublish(pool, ada, key), 0);
                }
        }
}

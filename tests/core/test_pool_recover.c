/* Taking a pool over: what survives, and damage that must be refused without a change. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "pool_fixture.h"

#define PAGES 2048

static struct pool_fixture fixture;
static uint32_t ada, bob;
static struct block small, large, shared;

static void setup(void) {
        fixture_init(&fixture, PAGES, PAGES);
        ada = fixture_session(&fixture, "ada", 1);
        bob = fixture_session(&fixture, "bob", 2);
        cr_assert_eq(pool_grant(fixture.pool, ada, 0, &small), 0);
        cr_assert_eq(pool_grant(fixture.pool, ada, 10, &large), 0);
        cr_assert_eq(pool_grant(fixture.pool, ada, 3, &shared), 0);
        cr_assert_eq(pool_attach(fixture.pool, bob, shared), 0);
        cr_assert_eq(pool_publish(fixture.pool, ada, "key", shared, 0), 0);
}

static void teardown(void) {
        fixture_deinit(&fixture);
}

TestSuite(pool_recover, .init = setup, .fini = teardown);

Test(pool_recover, holds_sessions_keys_and_generations_survive) {
        cr_assert_eq(fixture_recover(&fixture), 0, "%s", fixture.fault);
        struct pool_check_report report;
        cr_assert_eq(pool_check(fixture.pool, &report), 0, "%s", report.fault);
        cr_assert_eq(report.live_blocks, 3);
        cr_assert_eq(report.holds, 1);
        cr_assert_eq(report.keys, 1);
        bool freed;
        cr_assert_eq(pool_release(fixture.pool, ada, small, &freed), 0);
        cr_assert_eq(pool_release(fixture.pool, ada, large, &freed), 0);
        struct pool_session_info info;
        cr_assert_eq(pool_session_info(fixture.pool, bob, &info), 0);
        cr_assert_str_eq(info.identity.name, "bob");
        cr_assert_eq(info.held_bytes, 8 * 4096);
}

Test(pool_recover, an_empty_ledger_that_was_never_finished_is_told_apart) {
        fixture.ledger.header->ready = 0;
        struct ledger ledger;
        char fault[64] = "";
        cr_assert_eq(
                ledger_open(fixture.memory, fixture.memory_bytes, &ledger, fault, sizeof fault),
                -ENODATA);
}

/* Each refusal leaves every byte as it was. */
static void refused_unchanged(void) {
        void *copy = malloc(fixture.memory_bytes);
        memcpy(copy, fixture.memory, fixture.memory_bytes);
        cr_assert_eq(fixture_recover(&fixture), -EUCLEAN);
        cr_assert_neq(fixture.fault[0], 0);
        cr_assert_eq(memcmp(copy, fixture.memory, fixture.memory_bytes), 0);
        free(copy);
}

Test(pool_recover, wrong_magic) {
        fixture.ledger.header->magic ^= 1;
        refused_unchanged();
}

Test(pool_recover, wrong_version) {
        fixture.ledger.header->version++;
        refused_unchanged();
}

Test(pool_recover, pages_over_the_maximum) {
        fixture.ledger.header->pages = PAGES + 1;
        refused_unchanged();
}

Test(pool_recover, wrong_length) {
        fixture.ledger.header->pages_max = PAGES * 2;
        refused_unchanged();
}

Test(pool_recover, unknown_owner) {
        fixture.ledger.records[small.page] = ledger_pack(
                (struct ledger_record){
                        .order_plus_1 = 1, .owner = 12345, .generation = small.generation},
                small.page);
        refused_unchanged();
}

Test(pool_recover, overlapping_blocks) {
        fixture.ledger.records[shared.page + 2] = ledger_pack(
                (struct ledger_record){.order_plus_1 = 1, .owner = ada, .generation = 1},
                shared.page + 2);
        refused_unchanged();
}

Test(pool_recover, a_record_inside_a_large_block) {
        uint64_t chunk = (large.page >> CHUNK_ORDER) + 1;
        fixture.ledger.chunks[chunk] = ledger_pack(
                (struct ledger_record){
                        .order_plus_1 = CHUNK_ORDER + 1, .owner = ada, .generation = 1},
                (uint32_t)chunk << CHUNK_ORDER);
        refused_unchanged();
}

Test(pool_recover, a_block_beyond_the_pool) {
        fixture.ledger.chunks[3] = ledger_pack(
                (struct ledger_record){.order_plus_1 = 12, .owner = ada, .generation = 1},
                3 * CHUNK_PAGES);
        refused_unchanged();
}

Test(pool_recover, a_page_record_of_a_large_order) {
        fixture.ledger.records[small.page] =
                ledger_pack((struct ledger_record){.order_plus_1 = CHUNK_ORDER + 1,
                                    .owner = ada,
                                    .generation = small.generation},
                        small.page);
        refused_unchanged();
}

Test(pool_recover, a_hold_on_a_free_page) {
        fixture.ledger.holds[9] = hold_pack((struct ledger_hold){.session = bob, .page = 1500}, 9);
        refused_unchanged();
}

Test(pool_recover, a_hold_of_an_unknown_session) {
        fixture.ledger.holds[9] =
                hold_pack((struct ledger_hold){.session = 31000, .page = small.page}, 9);
        refused_unchanged();
}

Test(pool_recover, a_key_of_another_life) {
        fixture.ledger.keys[0].range++;
        refused_unchanged();
}

Test(pool_recover, a_session_in_no_state) {
        fixture.ledger.sessions[ada].state = UINT64_C(7) << 56;
        refused_unchanged();
}

Test(pool_recover, a_record_that_nobody_holds_any_more_is_freed) {
        fixture.ledger.records[small.page] = ledger_pack(
                (struct ledger_record){
                        .order_plus_1 = 1, .owner = OWNER_NONE, .generation = small.generation},
                small.page);
        cr_assert_eq(fixture_recover(&fixture), 0, "%s", fixture.fault);
        struct pool_check_report report;
        cr_assert_eq(pool_check(fixture.pool, &report), 0, "%s", report.fault);
        cr_assert_eq(report.live_blocks, 2);
        bool freed;
        cr_assert_eq(pool_release(fixture.pool, ada, small, &freed), -ESTALE);
}

/* Accounts: what one uid does cannot use up what another may have, and what is charged is what is held. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "core/pool_private.h"
#include "pool_fixture.h"

#define PAGES 4096
#define PAGE  UINT64_C(4096)

enum { ROOT, ALICE = 1001, BOB = 1002 };

static struct pool_fixture fixture;
static struct pool *pool;
static uint32_t alice, bob, root;

static const struct pool_limits no_limits = {
        LIMIT_NONE, LIMIT_NONE, LIMIT_NONE, LIMIT_NONE, LIMIT_NONE, LIMIT_NONE, LIMIT_NONE, 0};

static void setup(void) {
        fixture_init(&fixture, PAGES, PAGES);
        pool = fixture.pool;
        alice = fixture_session(&fixture, "alice", ALICE);
        bob = fixture_session(&fixture, "bob", BOB);
        root = fixture_session(&fixture, "root", ROOT);
}

static void teardown(void) {
        fixture_check(&fixture);
        cr_assert_eq(fixture_recover(&fixture), 0, "%s", fixture.fault);
        fixture_check(&fixture);
        fixture_deinit(&fixture);
}

TestSuite(pool_account, .init = setup, .fini = teardown, .timeout = 60);

static int give(uint32_t from, struct block block, uint32_t to) {
        size_t bad;
        return pool_give_many(pool, from, &block, 1, to, &bad);
}

/* Showers bob with single pages, until one is refused. */
static unsigned shower(unsigned most) {
        for (unsigned given = 0; given < most; given++) {
                struct block page = fixture_granted(&fixture, alice, 0);
                int r = give(alice, page, bob);
                if (r == 0)
                        continue;
                cr_assert_eq(r, -EDQUOT);
                struct pool_want want = {.bytes = PAGE, .ranges = 1, .giver = alice};
                struct pool_excess excess;
                cr_assert(pool_find_excess(pool, bob, &want, &excess));
                cr_expect_eq(
                        excess.used, excess.allowed, "%lu of %lu", excess.used, excess.allowed);
                return given;
        }
        return most;
}

static unsigned grant_all(uint32_t session, unsigned most) {
        struct block block;
        for (unsigned granted = 0; granted < most; granted++)
                if (pool_grant(pool, session, 0, &block) != 0)
                        return granted;
        return most;
}

static void expect_half(struct pool_limits limits, unsigned count) {
        pool_set_limits(pool, &limits);
        cr_expect_eq(shower(count * 2), count / 2);
        cr_expect_eq(grant_all(bob, count), count / 2);
}

Test(pool_account, gifts_leave_half_of_a_uids_ranges) {
        struct pool_limits limits = no_limits;
        limits.user_ranges = 64;
        expect_half(limits, 64);
}

Test(pool_account, gifts_leave_half_of_a_clients_ranges) {
        struct pool_limits limits = no_limits;
        limits.client_ranges = 64;
        expect_half(limits, 64);
}

Test(pool_account, gifts_leave_half_of_a_clients_bytes) {
        struct pool_limits limits = no_limits;
        limits.client_bytes = 64 * PAGE;
        expect_half(limits, 64);
}

Test(pool_account, gifts_leave_half_of_a_uids_bytes) {
        struct pool_limits limits = no_limits;
        limits.user_bytes = 64 * PAGE;
        expect_half(limits, 64);
}

/* Between processes of one uid only the limits of a client count, to the last. */
Test(pool_account, a_uid_may_give_its_own_as_much_as_it_may_have) {
        struct pool_limits limits = no_limits;
        limits.client_ranges = 64;
        limits.user_ranges = 65;
        pool_set_limits(pool, &limits);
        uint32_t other = fixture_session(&fixture, "alice's too", ALICE);
        for (unsigned each = 0; each < 64; each++)
                cr_assert_eq(give(alice, fixture_granted(&fixture, alice, 0), other), 0);
        cr_expect_eq(give(alice, fixture_granted(&fixture, alice, 0), other), -EDQUOT);
}

/* Takes further holds and gives them away, as a way past the share of the table that one uid may have. */
static uint64_t pass_on(uint32_t to) {
        struct block block = fixture_granted(&fixture, alice, 0);
        uint64_t passed = 0;
        int r = 0;
        while (passed < pool->ledger.hold_count && (r = pool_attach(pool, alice, block)) == 0 &&
                (r = pool_attach(pool, alice, block)) == 0) {
                struct block pair[2] = {block, block};
                size_t bad;
                r = pool_give_many(pool, alice, pair, 2, to, &bad);
                if (r < 0)
                        break;
                passed += 2;
                cr_assert_eq(pool_attach(pool, alice, block), 0);
        }
        cr_expect_eq(r, -EDQUOT, "%d", r);
        struct pool_want want = {.bytes = 2 * PAGE, .ranges = 2, .holds = 2, .giver = alice};
        struct pool_excess excess;
        cr_assert(pool_find_excess(pool, to, &want, &excess));
        cr_expect_eq(excess.limit, POOL_LIMIT_USER_HOLDS);
        return passed;
}

static struct pool_limits share_of_holds(void) {
        struct pool_limits limits = no_limits;
        limits.user_holds = LIMIT_SHARE;
        return limits;
}

Test(pool_account, further_holds_cannot_be_passed_on_until_none_are_left) {
        struct pool_limits limits = share_of_holds();
        pool_set_limits(pool, &limits);
        uint64_t passed = pass_on(bob);
        cr_expect_lt(
                passed, pool->ledger.hold_count / 2, "%lu of %lu", passed, pool->ledger.hold_count);
        struct block block = fixture_granted(&fixture, bob, 0);
        for (unsigned each = 0; each < 100; each++)
                cr_assert_eq(pool_attach(pool, bob, block), 0);
}

Test(pool_account, further_holds_cannot_be_passed_on_to_root_either) {
        struct pool_limits limits = share_of_holds();
        pool_set_limits(pool, &limits);
        cr_expect_lt(pass_on(root), pool->ledger.hold_count / 2);
        struct block block = fixture_granted(&fixture, bob, 0);
        for (unsigned each = 0; each < 100; each++)
                cr_assert_eq(pool_attach(pool, bob, block), 0);
}

Test(pool_account, a_figure_of_further_holds_counts_for_gifts) {
        struct pool_limits limits = no_limits;
        limits.user_holds = 64;
        pool_set_limits(pool, &limits);
        cr_expect_eq(pass_on(bob), 32);
        struct block block = fixture_granted(&fixture, bob, 0);
        unsigned attached = 0;
        while (attached < 64 && pool_attach(pool, bob, block) == 0)
                attached++;
        cr_expect_geq(attached, 32);
        cr_expect_eq(pool->holders[bob].account->holds, 64);
}

/* What is too much for one session of a uid is no reason to refuse another what it may have. */
static atomic_bool over_ended;

static void *ask_too_much(void *session) {
        struct block block;
        while (!atomic_load(&over_ended))
                cr_assert_eq(pool_grant(pool, *(uint32_t *)session, 8, &block), -EDQUOT);
        return NULL;
}

Test(pool_account, what_is_refused_is_never_charged) {
        struct pool_limits limits = no_limits;
        limits.user_bytes = 128 * PAGE;
        pool_set_limits(pool, &limits);
        uint32_t greedy = fixture_session(&fixture, "greedy", ALICE);
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, ask_too_much, &greedy), 0);
        unsigned refused = 0;
        for (unsigned each = 0; each < 300000; each++) {
                struct block block;
                bool freed;
                if (pool_grant(pool, alice, 0, &block) != 0)
                        refused++;
                else
                        cr_assert_eq(pool_release(pool, alice, block, &freed), 0);
        }
        atomic_store(&over_ended, true);
        pthread_join(thread, NULL);
        cr_expect_eq(refused, 0, "%u refused", refused);
}

/* Charged to the wrong one: the sums of all uids are right. */
Test(pool_account, each_account_is_compared_with_what_its_uid_holds) {
        struct pool_check_report report;
        fixture_granted(&fixture, alice, 0);
        struct account *of_alice = pool->holders[alice].account;
        struct account *of_bob = pool->holders[bob].account;
        of_alice->bytes -= PAGE;
        of_bob->bytes += PAGE;
        cr_expect_eq(pool_check(pool, &report), -EUCLEAN);
        cr_expect(strstr(report.fault, "uid 100"), "%s", report.fault);
        of_alice->bytes += PAGE;
        of_bob->bytes -= PAGE;
}

/* Who is served when memory comes back, and in which order. */
#include "daemon/waiters.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "../core/pool_fixture.h"

#define PAGES 16u

/* A pool whose pages are all held by one session, page by page. */
struct full_pool {
        struct pool_fixture fixture;
        struct waiters waiters;
        uint32_t session;
        struct block pages[PAGES];
};

static struct waiter *granted[PAGES]; /* in the order of their being granted */
static size_t granted_count;

static void note_granted(struct waiter *waiter) {
        granted[granted_count++] = waiter;
}

static void full_pool_init(struct full_pool *full) {
        granted_count = 0;
        fixture_init(&full->fixture, PAGES, PAGES);
        cr_assert_eq(waiters_init(&full->waiters, full->fixture.pool), 0);
        full->session = fixture_session(&full->fixture, "holder", 0);
        cr_assert_eq(pool_grant_many(full->fixture.pool, full->session, 0, PAGES, full->pages), 0);
}

static void full_pool_deinit(struct full_pool *full) {
        struct pool_check_report report;
        cr_expect_eq(waiters_count(&full->waiters), 0);
        cr_expect_not(link_used(&full->waiters.lines));
        cr_expect_eq(pool_check(full->fixture.pool, &report), 0, "%s", report.fault);
        waiters_deinit(&full->waiters);
        fixture_deinit(&full->fixture);
}

/* Returns pages of the holder's, then serves. */
static void full_pool_release(struct full_pool *full, size_t first, size_t count) {
        size_t bad;
        uint64_t freed;
        cr_assert_eq(pool_release_many(full->fixture.pool, full->session, full->pages + first,
                             count, &bad, &freed),
                0);
        waiters_serve(&full->waiters);
}

static struct waiter waiter_for(struct full_pool *full, unsigned order) {
        return (struct waiter){.session = full->session, .order = order, .settled = note_granted};
}

Test(waiters, free_memory_is_granted_at_once) {
        struct full_pool full;
        full_pool_init(&full);
        full_pool_release(&full, 0, 1);
        struct waiter waiter = waiter_for(&full, 0);
        cr_expect_eq(waiters_enter(&full.waiters, &waiter, 1), 1);
        cr_expect_eq(waiter.block.page, full.pages[0].page);
        cr_expect_eq(granted_count, 0, "who is granted at once is not called back");
        full_pool_deinit(&full);
}

Test(waiters, within_a_uid_first_come_is_first_served) {
        struct full_pool full;
        full_pool_init(&full);
        struct waiter waiters[3];
        for (int i = 0; i < 3; i++) {
                waiters[i] = waiter_for(&full, 0);
                cr_assert_eq(waiters_enter(&full.waiters, &waiters[i], 1), 0);
        }
        full_pool_release(&full, 0, 2);
        cr_assert_eq(granted_count, 2);
        cr_expect_eq(granted[0], &waiters[0]);
        cr_expect_eq(granted[1], &waiters[1]);
        cr_expect_not(waiters_withdraw(&full.waiters, &waiters[2], NULL));
        full_pool_deinit(&full);
}

Test(waiters, a_newcomer_does_not_overtake_its_own_uid) {
        struct full_pool full;
        full_pool_init(&full);
        struct waiter large = waiter_for(&full, 2), small = waiter_for(&full, 0);
        cr_assert_eq(waiters_enter(&full.waiters, &large, 1), 0);
        full_pool_release(&full, 0, 1);
        cr_expect_eq(
                waiters_enter(&full.waiters, &small, 1), 0, "a page is free, but not its turn");
        full_pool_release(&full, 1, 4);
        cr_assert_eq(granted_count, 2);
        cr_expect_eq(granted[0], &large);
        cr_expect_eq(granted[1], &small);
        full_pool_deinit(&full);
}

Test(waiters, a_large_wait_does_not_hold_up_another_uid) {
        struct full_pool full;
        full_pool_init(&full);
        struct waiter large = waiter_for(&full, 3), small = waiter_for(&full, 0);
        cr_assert_eq(waiters_enter(&full.waiters, &large, 1), 0);
        cr_assert_eq(waiters_enter(&full.waiters, &small, 2), 0);
        full_pool_release(&full, 5, 1);
        cr_assert_eq(granted_count, 1);
        cr_expect_eq(granted[0], &small);
        cr_expect_not(waiters_withdraw(&full.waiters, &large, NULL));
        full_pool_deinit(&full);
}

Test(waiters, uids_take_turns) {
        struct full_pool full;
        full_pool_init(&full);
        struct waiter first[3], second[2];
        for (int i = 0; i < 3; i++) {
                first[i] = waiter_for(&full, 0);
                cr_assert_eq(waiters_enter(&full.waiters, &first[i], 1), 0);
        }
        for (int i = 0; i < 2; i++) {
                second[i] = waiter_for(&full, 0);
                cr_assert_eq(waiters_enter(&full.waiters, &second[i], 2), 0);
        }
        for (size_t i = 0; i < 5; i++)
                full_pool_release(&full, i, 1);
        struct waiter *const turns[] = {&first[0], &second[0], &first[1], &second[1], &first[2]};
        cr_assert_eq(granted_count, 5);
        for (int i = 0; i < 5; i++)
                cr_expect_eq(granted[i], turns[i], "turn %d", i);
        full_pool_deinit(&full);
}

/* A line that could not be served keeps its turn: it is not sent to the end for it. */
Test(waiters, a_turn_that_could_not_be_used_is_kept) {
        struct full_pool full;
        full_pool_init(&full);
        struct waiter large = waiter_for(&full, 1), others[2];
        cr_assert_eq(waiters_enter(&full.waiters, &large, 1), 0);
        for (int i = 0; i < 2; i++) {
                others[i] = waiter_for(&full, 0);
                cr_assert_eq(waiters_enter(&full.waiters, &others[i], 2), 0);
        }
        full_pool_release(&full, 0, 1);
        cr_assert_eq(granted_count, 1);
        full_pool_release(&full, 2, 2);
        cr_assert_eq(granted_count, 2);
        cr_expect_eq(granted[1], &large);
        cr_expect_not(waiters_withdraw(&full.waiters, &others[1], NULL));
        full_pool_deinit(&full);
}

Test(waiters, one_that_leaves_lets_the_next_be_served) {
        struct full_pool full;
        full_pool_init(&full);
        struct waiter large = waiter_for(&full, 2), small = waiter_for(&full, 0);
        cr_assert_eq(waiters_enter(&full.waiters, &large, 1), 0);
        cr_assert_eq(waiters_enter(&full.waiters, &small, 1), 0);
        full_pool_release(&full, 0, 1);
        cr_assert_eq(granted_count, 0);
        cr_expect_not(waiters_withdraw(&full.waiters, &large, NULL));
        cr_assert_eq(granted_count, 1);
        cr_expect_eq(granted[0], &small);
        full_pool_deinit(&full);
}

Test(waiters, one_whose_session_closes_is_skipped) {
        struct full_pool full;
        full_pool_init(&full);
        uint32_t leaver = fixture_session(&full.fixture, "leaver", 1);
        struct waiter closing = waiter_for(&full, 0), next = waiter_for(&full, 0);
        closing.session = leaver;
        cr_assert_eq(waiters_enter(&full.waiters, &closing, 1), 0);
        cr_assert_eq(waiters_enter(&full.waiters, &next, 1), 0);
        fixture_close(&full.fixture, leaver);
        full_pool_release(&full, 0, 1);
        cr_assert_eq(granted_count, 1);
        cr_expect_eq(granted[0], &next);
        cr_expect_not(waiters_withdraw(&full.waiters, &closing, NULL), "it was granted nothing");
        full_pool_deinit(&full);
}

Test(waiters, a_closing_session_cannot_enter) {
        struct full_pool full;
        full_pool_init(&full);
        uint32_t leaver = fixture_session(&full.fixture, "leaver", 1);
        pool_session_close(full.fixture.pool, leaver);
        full_pool_release(&full, 0, 1);
        struct waiter closing = waiter_for(&full, 0);
        closing.session = leaver;
        cr_expect_eq(waiters_enter(&full.waiters, &closing, 1), -ESTALE);
        struct pool_reclaimed sum = {0};
        cr_expect(pool_session_reclaim(full.fixture.pool, leaver, 1, &sum));
        full_pool_deinit(&full);
}

Test(waiters, one_that_leaves_is_told_who_was_before_it_of_its_uid) {
        enum { COUNT = WAITERS_AHEAD_MAX + 5 };
        static struct waiter mine[COUNT], other;
        struct full_pool full;
        full_pool_init(&full);
        other = waiter_for(&full, 0);
        cr_assert_eq(waiters_enter(&full.waiters, &other, 2), 0);
        for (unsigned i = 0; i < COUNT; i++) {
                mine[i] = waiter_for(&full, 0);
                cr_assert_eq(waiters_enter(&full.waiters, &mine[i], 1), 0);
        }
        for (unsigned i = COUNT; i-- > 0;) {
                unsigned ahead = 9999;
                cr_assert_not(waiters_withdraw(&full.waiters, &mine[i], &ahead));
                cr_assert_eq(ahead, i < WAITERS_AHEAD_MAX ? i : WAITERS_AHEAD_MAX);
        }
        cr_assert_not(waiters_withdraw(&full.waiters, &other, NULL));
        full_pool_deinit(&full);
}

Test(waiters, a_grant_before_the_withdrawal_wins) {
        struct full_pool full;
        full_pool_init(&full);
        struct waiter waiter = waiter_for(&full, 0);
        cr_assert_eq(waiters_enter(&full.waiters, &waiter, 1), 0);
        full_pool_release(&full, 3, 1);
        cr_expect(waiters_withdraw(&full.waiters, &waiter, NULL));
        cr_expect_eq(waiter.block.page, full.pages[3].page);
        full_pool_deinit(&full);
}

/* They come back to a new daemon as it happens: a young one, the oldest, one between, and then a new one. */
Test(waiters, who_waited_for_an_earlier_daemon_keeps_its_place) {
        static const uint64_t waited[] = {1000, 90000, 30000, 0};
        static const size_t order[] = {1, 2, 0, 3};
        struct full_pool full;
        full_pool_init(&full);
        struct waiter waiters[4];
        for (size_t i = 0; i < 4; i++) {
                waiters[i] = waiter_for(&full, 0);
                waiters[i].waited_ms = waited[i];
                cr_assert_eq(waiters_enter(&full.waiters, &waiters[i], 1), 0);
        }
        for (size_t i = 0; i < 4; i++) {
                full_pool_release(&full, i, 1);
                cr_assert_eq(granted_count, i + 1);
                cr_assert_eq(granted[i], &waiters[order[i]], "place %zu", i);
        }
        full_pool_deinit(&full);
}

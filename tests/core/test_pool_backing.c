/* Grants whose memory cannot be had, and page records that a lazy pool has no memory for. */
#include <criterion/criterion.h>
#include <errno.h>

#include "pool_fixture.h"

#define PAGES 4096

static struct pool_fixture fixture;
static struct pool *pool;
static uint32_t ada;

static void setup(void) {
        fixture_init(&fixture, PAGES, PAGES);
        pool = fixture.pool;
        ada = fixture_session(&fixture, "ada", 1000);
}

static void teardown(void) {
        fixture_check(&fixture);
        fixture_deinit(&fixture);
}

TestSuite(pool_backing, .init = setup, .fini = teardown);

/* Backs as many blocks as are left. */
static int refuse_backing(void *context, uint64_t offset_bytes, uint64_t length_bytes) {
        (void)offset_bytes;
        (void)length_bytes;
        int *left = context;
        return (*left)-- > 0 ? 0 : -ENOSPC;
}

static void reopen_with_backing(int *left) {
        struct pool_backing backing = {.commit_segment = refuse_backing, .context = left};
        pool_free(fixture.pool);
        cr_assert_eq(pool_new(&fixture.ledger, &backing, &fixture.pool, fixture.fault,
                             sizeof fixture.fault),
                0);
        pool = fixture.pool;
}

Test(pool_backing, a_grant_that_cannot_be_backed_changes_nothing) {
        int left = 0;
        struct block block = {.page = 77};
        reopen_with_backing(&left);
        cr_assert_eq(pool_grant(pool, ada, 0, &block), -ENOSPC);
        cr_assert_eq(pool_grant(pool, ada, 10, &block), -ENOSPC);
        cr_assert_eq(block.page, 77);
        cr_assert_eq(fixture_free_pages(&fixture), PAGES);
        left = 1;
        cr_assert_eq(pool_grant(pool, ada, 0, &block), 0);
}

Test(pool_backing, a_batch_whose_nth_block_cannot_be_backed_changes_nothing) {
        struct block many[16];
        int left = 0;
        reopen_with_backing(&left);
        for (int backed = 0; backed < 16; backed++) {
                left = backed;
                cr_assert_eq(pool_grant_many(pool, ada, 2, 16, many), -ENOSPC);
                cr_assert_eq(fixture_free_pages(&fixture), PAGES);
                cr_assert_eq(fixture_held_ranges(&fixture, ada), 0);
                fixture_check(&fixture);
        }
        left = 16;
        cr_assert_eq(pool_grant_many(pool, ada, 2, 16, many), 0);
}

Test(pool_backing, an_old_range_stays_stale_when_its_chunk_is_whole_again_after_a_restart) {
        struct block small = fixture_granted(&fixture, ada, 0);
        bool freed;
        cr_assert_eq(pool_release(pool, ada, small, &freed), 0);
        struct block large = fixture_granted(&fixture, ada, 9);
        cr_assert_eq(large.page, small.page);
        int left = 1000;
        struct pool_backing backing = {.commit_segment = refuse_backing,
                .commit_ledger = refuse_backing,
                .context = &left};
        pool_free(fixture.pool);
        cr_assert_eq(pool_new(&fixture.ledger, &backing, &fixture.pool, fixture.fault,
                             sizeof fixture.fault),
                0);
        pool = fixture.pool;
        cr_assert_eq(pool_release(pool, ada, small, &freed), -ESTALE);
}

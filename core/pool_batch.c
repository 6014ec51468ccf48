/* Batches: all blocks of one are looked at before any is changed, under the session's lock, which is what keeps
 * the answer true until the change is done. A block may be named as often as the session holds it: how often it was
 * named so far is counted where only this session's lock guards it, on the head of a group of its hold words,
 * or, for a session that holds by the record alone and so once, as a mark on the lease. */
#include "pool_private.h"

#include <errno.h>

/* How a session holds a block. */
struct stake {
        uint32_t head; /* link + 1 of a group's head, or 0: by the record alone */
        uint32_t holds;
};

static uint32_t group_count(const struct pool *pool, uint32_t head) {
        return head ? pool->links[head - 1].group_count : 0;
}

/* 0 if the session holds the live block; else the error. Needs the session; holds of others may come and go, its own
 * cannot. */
static int stake_find_locked(
        struct pool *pool, uint32_t session, struct block block, struct stake *out) {
        struct ledger_record record;
        spinlock_lock(stripe_of(pool, block.page));
        int r = block_state(pool, block, &record);
        if (r == 0) {
                uint32_t own = index_find_locked(pool, session, block.page, false);
                uint32_t given = index_find_locked(pool, session, block.page, true);
                out->head = own ? own : given;
                out->holds = (record.owner == session) + group_count(pool, own) +
                             group_count(pool, given);
        }
        spinlock_unlock(stripe_of(pool, block.page));
        return r == 0 && out->holds == 0 ? -ESTALE : r;
}

/* Notes that a block is named once more, and says how often it was before. */
static uint32_t stake_name_locked(struct pool *pool, uint32_t page, const struct stake *stake) {
        if (stake->head)
                return pool->links[stake->head - 1].named++;
        _Atomic uint32_t *granted = &pool->leases[page].granted;
        uint32_t seen = atomic_load_explicit(granted, memory_order_relaxed);
        atomic_store_explicit(granted, seen | LEASE_MARK, memory_order_relaxed);
        return seen / LEASE_MARK;
}

static void stake_unname_locked(struct pool *pool, uint32_t page, const struct stake *stake) {
        if (stake->head) {
                pool->links[stake->head - 1].named = 0;
                return;
        }
        _Atomic uint32_t *granted = &pool->leases[page].granted;
        uint32_t seen = atomic_load_explicit(granted, memory_order_relaxed);
        atomic_store_explicit(granted, seen & ~LEASE_MARK, memory_order_relaxed);
}

/* Clears the counts of blocks that the session still holds; those of freed ones go with the next grant. */
void batch_unmark_locked(
        struct pool *pool, uint32_t session, const struct block *blocks, size_t count) {
        for (size_t i = 0; i < count; i++) {
                struct stake stake;
                if (stake_find_locked(pool, session, blocks[i], &stake) == 0)
                        stake_unname_locked(pool, blocks[i].page, &stake);
        }
}

/* Whether the session has as many holds as the batch names, for every block of it. On success the
 * counts are left as they are. */
int batch_check_locked(struct pool *pool, uint32_t session, const struct block *blocks,
        size_t count, size_t *bad) {
        for (size_t i = 0; i < count; i++) {
                struct stake stake;
                int r = stake_find_locked(pool, session, blocks[i], &stake);
                if (r == 0 && stake_name_locked(pool, blocks[i].page, &stake) >= stake.holds)
                        r = -ESTALE;
                if (r < 0) {
                        batch_unmark_locked(pool, session, blocks, i);
                        *bad = i;
                        return r;
                }
        }
        return 0;
}

int pool_release_many(struct pool *pool, uint32_t session, const struct block *blocks, size_t count,
        size_t *bad, uint64_t *freed_pages) {
        struct pool_freed freed[POOL_BATCH_MAX];
        if (count == 0 || count > POOL_BATCH_MAX)
                return -EINVAL;
        struct holder *holder = &pool->holders[session];
        spinlock_lock(&holder->lock);
        int r = batch_check_locked(pool, session, blocks, count, bad);
        for (size_t i = 0; i < count && r == 0; i++) {
                freed[i].freed = false;
                spinlock_lock(stripe_of(pool, blocks[i].page));
                hold_drop_locked(pool, session, blocks[i], &freed[i]);
                spinlock_unlock(stripe_of(pool, blocks[i].page));
                if (!freed[i].freed)
                        batch_unmark_locked(pool, session, &blocks[i], 1);
        }
        spinlock_unlock(&holder->lock);
        if (r < 0)
                return r;
        uint64_t pages = 0;
        for (size_t i = 0; i < count; i++) {
                pool_free_block(pool, &freed[i]);
                pages += freed[i].freed ? order_pages(freed[i].order) : 0;
        }
        *freed_pages = pages;
        return 0;
}

/* Batches: all blocks of one are looked at before any is changed, under the session's lock, which is what keeps
 * the answer true until the change is done. A block may be named as often as the session holds it: how often it was
 * named so far is counted where only this session's lock guards it, on the head of a group of its hold words,
 * or, for a session that holds by the record alone and so once, as a mark on the lease. */
#include "pool_private.h"

#include <assert.h>
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
        if (r == 0 && !pool->leases[block.page].holds) { /* nothing of it is in the index */
                *out = (struct stake){.holds = record.owner == session};
        } else if (r == 0) {
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

/* Gives pages that lie side by side back as the few large blocks that they make up. */
static void pages_return(struct pool *pool, uint32_t page, uint64_t count) {
        while (count > 0) {
                unsigned order = log2_floor(count);
                if (page != 0 && (unsigned)__builtin_ctz(page) < order)
                        order = (unsigned)__builtin_ctz(page);
                int r = buddy_free(&pool->buddy, page, order);
                assert(r == 0);
                (void)r;
                page += (uint32_t)order_pages(order);
                count -= order_pages(order);
        }
}

/* How many of freed blocks are of one order and lie side by side, from the first on. */
static size_t freed_run(const struct pool_freed *freed, size_t count) {
        size_t run = 1;
        while (run < count && freed[run].freed && freed[run].order == freed[0].order &&
                freed[run].page == freed[0].page + (run << freed[0].order))
                run++;
        return run;
}

/* Gives all of them back to the free sets; the pages that became free. */
static uint64_t freed_return(struct pool *pool, const struct pool_freed *freed, size_t count) {
        uint64_t pages = 0;
        for (size_t i = 0, run; i < count; i += run) {
                run = 1;
                if (!freed[i].freed)
                        continue;
                run = freed_run(&freed[i], count - i);
                atomic_fetch_sub_explicit(
                        &pool->held[freed[i].order].blocks, run, memory_order_relaxed);
                pages_return(pool, freed[i].page, (uint64_t)run << freed[i].order);
                pages += (uint64_t)run << freed[i].order;
        }
        return pages;
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
        holder_unlock(holder);
        if (r < 0)
                return r;
        *freed_pages = freed_return(pool, freed, count);
        return 0;
}

/* Grants and returns: the transitions of a block's record and of the holds on it. */
#include "pool_private.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

uint32_t pool_clock_s(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
        return (uint32_t)now.tv_sec & ~LEASE_MARK;
}

/* ---- What is at a block ---- */

/* 0 and the record if the block is live in this life; else -EINVAL (no such life has been) or -ESTALE (it is over). */
int block_state(const struct pool *pool, struct block block, struct ledger_record *out) {
        uint64_t chunk = block.page >> CHUNK_ORDER;
        struct ledger_record record = ledger_unpack(ledger_load(&pool->ledger.chunks[chunk]));
        bool split = record.order_plus_1 == CHUNK_SPLIT;
        bool live = split != (block.order >= CHUNK_ORDER) && record.order_plus_1 != 0;
        if (block.order < CHUNK_ORDER) {
                /* No record here was ever written, or not since the chunk was last granted whole. */
                if (!atomic_load_explicit(&pool->backed[chunk], memory_order_acquire))
                        return block.generation && record.generation ? -ESTALE : -EINVAL;
                record = ledger_unpack(ledger_load(&pool->ledger.records[block.page]));
                live = split && record.order_plus_1 != 0;
        }
        if (block.generation == 0 || block.generation > record.generation)
                return -EINVAL;
        if (!live || block.generation != record.generation)
                return -ESTALE;
        if (record.order_plus_1 != block.order + 1)
                return -EINVAL;
        *out = record;
        return 0;
}

/* ---- Grants ---- */

static int records_back(struct pool *pool, uint32_t page) {
        uint64_t chunk = page >> CHUNK_ORDER;
        if (atomic_load_explicit(&pool->backed[chunk], memory_order_acquire))
                return 0;
        uint64_t offset = (uint64_t)((char *)&pool->ledger.records[chunk << CHUNK_ORDER] -
                                     (char *)pool->ledger.header);
        int r = pool->backing.commit_ledger(
                pool->backing.context, offset, CHUNK_PAGES * sizeof(uint64_t));
        if (r < 0)
                return r;
        atomic_store_explicit(&pool->backed[chunk], 1, memory_order_release);
        return 0;
}

/* Everything that may fail, before anything is written: memory behind the block and behind its record. */
static int block_back(struct pool *pool, uint32_t page, unsigned order) {
        int r = 0;
        if (order < CHUNK_ORDER)
                r = records_back(pool, page);
        if (r == 0 && pool->backing.commit_segment)
                r = pool->backing.commit_segment(pool->backing.context,
                        (uint64_t)page << pool->page_shift, block_bytes(pool, order));
        return r < 0 ? -ENOSPC : 0;
}

/* A chunk's first page record counts only once its word says so. Two grants may race here: the word is
 * swapped once, and what both find is SPLIT. */
static void chunk_split(struct pool *pool, uint32_t page) {
        _Atomic uint64_t *word = &pool->ledger.chunks[page >> CHUNK_ORDER];
        uint64_t seen = ledger_load(word);
        struct ledger_record record = ledger_unpack(seen);
        if (record.order_plus_1 == CHUNK_SPLIT)
                return;
        record.order_plus_1 = CHUNK_SPLIT;
        record.owner = OWNER_NONE;
        ledger_swap(word, seen, ledger_pack(record, page & ~(CHUNK_PAGES - 1)));
}

static void block_grant_locked(
        struct pool *pool, uint32_t session, uint32_t page, unsigned order, struct block *out) {
        if (order < CHUNK_ORDER)
                chunk_split(pool, page);
        _Atomic uint64_t *word = block_word(pool, page, order);
        uint32_t generation = generation_next((uint32_t)ledger_load(word));
        struct block block = {.page = page, .order = order, .generation = generation};
        atomic_store_explicit(&pool->leases[page].granted, pool_clock_s(), memory_order_relaxed);
        pool->leases[page].use = 0;
        ledger_store(word, ledger_pack((struct ledger_record){.order_plus_1 = order + 1,
                                               .owner = session,
                                               .generation = generation},
                                   page));
        lease_link_locked(pool, session, block);
        *out = block;
}

/* Blocks of one order that are out of the free sets and nobody's yet. */
struct taken {
        const uint32_t *pages;
        size_t count;
        unsigned order;
};

/* All or none; what cannot be granted goes back. */
static int taken_grant(struct pool *pool, uint32_t session, struct taken taken, struct block *out) {
        uint64_t bytes = block_bytes(pool, taken.order) * taken.count;
        struct holder *holder = &pool->holders[session];
        int r = 0;
        for (size_t i = 0; i < taken.count && r == 0; i++)
                r = block_back(pool, taken.pages[i], taken.order);
        spinlock_lock(&holder->lock);
        if (r == 0 && !holder->live)
                r = -ESTALE;
        if (r == 0)
                r = account_charge_locked(pool, session, bytes, taken.count);
        for (size_t i = 0; i < taken.count && r == 0; i++)
                block_grant_locked(pool, session, taken.pages[i], taken.order, &out[i]);
        holder_unlock(holder);
        if (r == 0)
                atomic_fetch_add_explicit(
                        &pool->held[taken.order].blocks, taken.count, memory_order_relaxed);
        for (size_t i = 0; i < taken.count && r < 0; i++)
                buddy_free(&pool->buddy, taken.pages[i], taken.order);
        return r;
}

int pool_grant(struct pool *pool, uint32_t session, unsigned order, struct block *out) {
        uint32_t page;
        int r = buddy_alloc(&pool->buddy, order, &page);
        return r < 0 ? r : taken_grant(pool, session, (struct taken){&page, 1, order}, out);
}

/* Of its own, as a single block should not pay for a stack with room for a batch. */
static __attribute__((noinline)) int grant_batch(
        struct pool *pool, uint32_t session, unsigned order, size_t count, struct block *out) {
        uint32_t pages[POOL_BATCH_MAX];
        int r = buddy_alloc_many(&pool->buddy, order, count, pages);
        return r < 0 ? r : taken_grant(pool, session, (struct taken){pages, count, order}, out);
}

int pool_grant_many(
        struct pool *pool, uint32_t session, unsigned order, size_t count, struct block *out) {
        if (count == 0 || count > POOL_BATCH_MAX)
                return -EINVAL;
        return count == 1 ? pool_grant(pool, session, order, out)
                          : grant_batch(pool, session, order, count, out);
}

/* ---- Returns ---- */

/* The record's last step: once neither owner, hold nor key names the block. Needs the stripe. */
void block_free_if_dead_locked(
        struct pool *pool, struct block block, uint32_t owner, struct pool_freed *freed) {
        if (owner != OWNER_NONE || pool->leases[block.page].holds)
                return;
        ledger_store(block_word(pool, block.page, block.order),
                ledger_pack((struct ledger_record){.generation = block.generation}, block.page));
        *freed = (struct pool_freed){.freed = true, .page = block.page, .order = block.order};
}

/* Drops the owner's hold: the record goes to nobody while others hold the block, else it is free with one store. */
void owner_drop_locked(
        struct pool *pool, uint32_t session, struct block block, struct pool_freed *freed) {
        lease_unlink_locked(pool, session, block.page, block.order);
        if (pool->leases[block.page].holds)
                ledger_store(block_word(pool, block.page, block.order),
                        ledger_pack((struct ledger_record){.order_plus_1 = block.order + 1,
                                            .generation = block.generation,
                                            .use = block.order < CHUNK_ORDER
                                                           ? pool->leases[block.page].use
                                                           : 0},
                                block.page));
        else
                block_free_if_dead_locked(pool, block, OWNER_NONE, freed);
}

/* Drops one hold that the session is known to have. Needs the session and the stripe. */
void hold_drop_locked(
        struct pool *pool, uint32_t session, struct block block, struct pool_freed *freed) {
        struct ledger_record record =
                ledger_unpack(ledger_load(block_word(pool, block.page, block.order)));
        uint32_t at = hold_take_locked(pool, session, block.page, record);
        holder_uncount_gift(&pool->holders[session], hold_is_given(pool, at, record),
                (struct gift){block_bytes(pool, block.order), at != 0});
        progress_begin_locked(pool, session, block.page, at, false);
        if (at == 0) {
                assert(record.owner == session);
                owner_drop_locked(pool, session, block, freed);
                progress_done_locked(pool, session);
                return;
        }
        ledger_store(&pool->ledger.holds[at - 1], 0);
        hold_unlink_locked(pool, session, at - 1, block.order);
        chain_remove_locked(pool, block.page, at - 1);
        hold_slot_put(pool, at - 1);
        block_free_if_dead_locked(pool, block, record.owner, freed);
        progress_done_locked(pool, session);
}

void pool_free_block(struct pool *pool, const struct pool_freed *freed) {
        if (!freed->freed)
                return;
        atomic_fetch_sub_explicit(&pool->held[freed->order].blocks, 1, memory_order_relaxed);
        int r = buddy_free(&pool->buddy, freed->page, freed->order);
        assert(r == 0);
        (void)r;
}

bool session_holds_locked(
        struct pool *pool, uint32_t session, uint32_t page, struct ledger_record record) {
        return record.owner == session || index_find_locked(pool, session, page, false) ||
               index_find_locked(pool, session, page, true);
}

int pool_release(struct pool *pool, uint32_t session, struct block block, bool *freed) {
        struct holder *holder = &pool->holders[session];
        struct pool_freed result = {.freed = false};
        struct ledger_record record;
        spinlock_lock(&holder->lock);
        spinlock_lock(stripe_of(pool, block.page));
        int r = block_state(pool, block, &record);
        if (r == 0 && !session_holds_locked(pool, session, block.page, record))
                r = -ESTALE;
        if (r == 0)
                hold_drop_locked(pool, session, block, &result);
        spinlock_unlock(stripe_of(pool, block.page));
        holder_unlock(holder);
        if (r < 0)
                return r;
        pool_free_block(pool, &result);
        *freed = result.freed;
        return 0;
}

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

/* ---- Lists ---- */

void lease_link_locked(struct pool *pool, uint32_t session, struct block block) {
        struct holder *holder = &pool->holders[session];
        struct lease *lease = &pool->leases[block.page];
        lease->prev = 0;
        lease->next = holder->first_lease;
        if (lease->next)
                pool->leases[lease->next - 1].prev = block.page + 1;
        holder->first_lease = block.page + 1;
        holder->held_bytes += block_bytes(pool, block.order);
        holder->held_ranges++;
}

void lease_unlink_locked(struct pool *pool, uint32_t session, uint32_t page, unsigned order) {
        struct holder *holder = &pool->holders[session];
        struct lease *lease = &pool->leases[page];
        if (lease->prev)
                pool->leases[lease->prev - 1].next = lease->next;
        else
                holder->first_lease = lease->next;
        if (lease->next)
                pool->leases[lease->next - 1].prev = lease->prev;
        lease->next = lease->prev = 0;
        holder->held_bytes -= block_bytes(pool, order);
        holder->held_ranges--;
}

static uint32_t chain_skip_locked(const struct pool *pool, uint32_t session, uint32_t at) {
        while (at && pool->links[at - 1].session != session)
                at = pool->links[at - 1].page_next;
        return at;
}

/* First further hold that a session has on a page: link + 1, or 0. Needs the stripe. */
uint32_t chain_find_locked(const struct pool *pool, uint32_t session, uint32_t page) {
        return chain_skip_locked(pool, session, pool->leases[page].holds);
}

/* The next one behind it. */
static uint32_t chain_next_locked(const struct pool *pool, uint32_t session, uint32_t at) {
        return chain_skip_locked(pool, session, pool->links[at - 1].page_next);
}

void chain_remove_locked(struct pool *pool, uint32_t page, uint32_t link) {
        uint32_t *at = &pool->leases[page].holds;
        while (*at != link + 1)
                at = &pool->links[*at - 1].page_next;
        *at = pool->links[link].page_next;
}

void hold_link_locked(struct pool *pool, uint32_t session, uint32_t link, struct block block) {
        struct holder *holder = &pool->holders[session];
        struct hold_link *entry = &pool->links[link];
        entry->session = session;
        entry->prev = 0;
        entry->next = holder->first_hold;
        if (entry->next)
                pool->links[entry->next - 1].prev = link + 1;
        holder->first_hold = link + 1;
        holder->held_bytes += block_bytes(pool, block.order);
        holder->held_ranges++;
}

void hold_unlink_locked(struct pool *pool, uint32_t session, uint32_t link, unsigned order) {
        struct holder *holder = &pool->holders[session];
        struct hold_link *entry = &pool->links[link];
        if (entry->prev)
                pool->links[entry->prev - 1].next = entry->next;
        else
                holder->first_hold = entry->next;
        if (entry->next)
                pool->links[entry->next - 1].prev = entry->prev;
        holder->held_bytes -= block_bytes(pool, order);
        holder->held_ranges--;
}

int hold_slot_take(struct pool *pool, uint32_t *link) {
        int r = 0;
        spinlock_lock(&pool->table_lock);
        if (pool->free_hold) {
                *link = pool->free_hold - 1;
                pool->free_hold = pool->links[*link].page_next;
        } else if (pool->holds_used < pool->ledger.hold_count) {
                *link = pool->holds_used++;
        } else {
                r = -ENOSPC;
        }
        spinlock_unlock(&pool->table_lock);
        return r;
}

void hold_slot_put(struct pool *pool, uint32_t link) {
        spinlock_lock(&pool->table_lock);
        pool->links[link].page_next = pool->free_hold;
        pool->links[link].session = 0;
        pool->free_hold = link + 1;
        spinlock_unlock(&pool->table_lock);
}

/* ---- What is at a block ---- */

/* 0 and the record if the block is live in this life; else -EINVAL (no such life has been) or -ESTALE (it is over). */
int block_state(const struct pool *pool, struct block block, struct ledger_record *out) {
        uint64_t chunk = block.page >> CHUNK_ORDER;
        struct ledger_record record = ledger_unpack(ledger_load(&pool->ledger.chunks[chunk]));
        bool split = record.order_plus_1 == CHUNK_SPLIT;
        bool live = split != (block.order >= CHUNK_ORDER) && record.order_plus_1 != 0;
        if (block.order < CHUNK_ORDER) {
                if (!atomic_load_explicit(&pool->backed[chunk], memory_order_acquire))
                        return -EINVAL;
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
        return r < 0 ? -ENOMEM : 0;
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
        ledger_store(word, ledger_pack((struct ledger_record){.order_plus_1 = order + 1,
                                               .owner = session,
                                               .generation = generation},
                                   page));
        lease_link_locked(pool, session, block);
        *out = block;
}

int pool_grant_many(
        struct pool *pool, uint32_t session, unsigned order, size_t count, struct block *out) {
        uint32_t pages[POOL_BATCH_MAX];
        if (count == 0 || count > POOL_BATCH_MAX)
                return -EINVAL;
        int r = count == 1 ? buddy_alloc(&pool->buddy, order, pages)
                           : buddy_alloc_many(&pool->buddy, order, count, pages);
        if (r < 0)
                return r;
        for (size_t i = 0; i < count && r == 0; i++)
                r = block_back(pool, pages[i], order);
        struct holder *holder = &pool->holders[session];
        spinlock_lock(&holder->lock);
        if (r == 0 && !holder->live)
                r = -ESTALE;
        for (size_t i = 0; i < count && r == 0; i++)
                block_grant_locked(pool, session, pages[i], order, &out[i]);
        spinlock_unlock(&holder->lock);
        if (r == 0)
                atomic_fetch_add_explicit(&pool->held[order].blocks, count, memory_order_relaxed);
        for (size_t i = 0; i < count && r < 0; i++)
                buddy_free(&pool->buddy, pages[i], order);
        return r;
}

int pool_grant(struct pool *pool, uint32_t session, unsigned order, struct block *out) {
        return pool_grant_many(pool, session, order, 1, out);
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
static void owner_drop_locked(
        struct pool *pool, uint32_t session, struct block block, struct pool_freed *freed) {
        lease_unlink_locked(pool, session, block.page, block.order);
        if (pool->leases[block.page].holds)
                ledger_store(block_word(pool, block.page, block.order),
                        ledger_pack((struct ledger_record){.order_plus_1 = block.order + 1,
                                            .generation = block.generation},
                                block.page));
        else
                block_free_if_dead_locked(pool, block, OWNER_NONE, freed);
}

/* Which of its holds a session drops or gives: link + 1, or 0 for the record's. One that it was granted or
 * attached goes before one that it was given, so that its own count of the former stays true. Needs the stripe. */
uint32_t hold_pick_locked(
        const struct pool *pool, uint32_t session, uint32_t page, struct ledger_record record) {
        uint32_t given = 0;
        if (record.owner == session && !record.given)
                return 0;
        for (uint32_t at = chain_find_locked(pool, session, page); at;
                at = chain_next_locked(pool, session, at)) {
                if (!hold_unpack(ledger_load(&pool->ledger.holds[at - 1])).given)
                        return at;
                given = at;
        }
        return given;
}

/* Drops one hold that the session is known to have. Needs the session and the stripe. */
void hold_drop_locked(
        struct pool *pool, uint32_t session, struct block block, struct pool_freed *freed) {
        struct ledger_record record =
                ledger_unpack(ledger_load(block_word(pool, block.page, block.order)));
        uint32_t at = hold_pick_locked(pool, session, block.page, record);
        if (at == 0) {
                assert(record.owner == session);
                owner_drop_locked(pool, session, block, freed);
                return;
        }
        ledger_store(&pool->ledger.holds[at - 1], 0);
        hold_unlink_locked(pool, session, at - 1, block.order);
        chain_remove_locked(pool, block.page, at - 1);
        hold_slot_put(pool, at - 1);
        block_free_if_dead_locked(pool, block, record.owner, freed);
}

void pool_free_block(struct pool *pool, const struct pool_freed *freed) {
        if (!freed->freed)
                return;
        atomic_fetch_sub_explicit(&pool->held[freed->order].blocks, 1, memory_order_relaxed);
        int r = buddy_free(&pool->buddy, freed->page, freed->order);
        assert(r == 0);
        (void)r;
}

/* 0 if the session holds the live block; else the error. Needs the session; holds of others may come and go, its own cannot. */
static int hold_check_locked(
        struct pool *pool, uint32_t session, struct block block, bool *owner, uint32_t *link) {
        struct ledger_record record;
        spinlock_lock(stripe_of(pool, block.page));
        int r = block_state(pool, block, &record);
        if (r == 0) {
                *owner = record.owner == session;
                *link = chain_find_locked(pool, session, block.page);
                if (!*owner && !*link)
                        r = -ESTALE;
        }
        spinlock_unlock(stripe_of(pool, block.page));
        return r;
}

/* How many holds a session has on a page. Needs the session. */
static size_t hold_count_locked(struct pool *pool, uint32_t session, uint32_t page, bool owner) {
        size_t count = owner;
        spinlock_lock(stripe_of(pool, page));
        for (uint32_t at = pool->leases[page].holds; at; at = pool->links[at - 1].page_next)
                count += pool->links[at - 1].session == session;
        spinlock_unlock(stripe_of(pool, page));
        return count;
}

/* Sets or clears the mark "named in this batch already" and returns what it was. It lies where only this session's
 * lock guards it. */
static bool mark_swap_locked(
        struct pool *pool, uint32_t page, bool owner, uint32_t link, bool mark) {
        if (!owner) {
                bool was = pool->links[link - 1].mark;
                pool->links[link - 1].mark = mark;
                return was;
        }
        _Atomic uint32_t *granted = &pool->leases[page].granted;
        uint32_t seen = atomic_load_explicit(granted, memory_order_relaxed);
        atomic_store_explicit(
                granted, mark ? seen | LEASE_MARK : seen & ~LEASE_MARK, memory_order_relaxed);
        return seen & LEASE_MARK;
}

static size_t named_before(const struct block *blocks, size_t index) {
        size_t count = 0;
        for (size_t i = 0; i < index; i++)
                count += blocks[i].page == blocks[index].page;
        return count;
}

/* Clears the marks of blocks that the session still holds; those of freed ones go with the next grant. */
void batch_unmark_locked(
        struct pool *pool, uint32_t session, const struct block *blocks, size_t count) {
        bool owner;
        uint32_t link;
        for (size_t i = 0; i < count; i++)
                if (hold_check_locked(pool, session, blocks[i], &owner, &link) == 0)
                        mark_swap_locked(pool, blocks[i].page, owner, link, false);
}

/* Whether the session has as many holds as the batch names, for every block of it. On success the
 * blocks are left marked. Needs the session. */
int batch_check_locked(struct pool *pool, uint32_t session, const struct block *blocks,
        size_t count, size_t *bad) {
        for (size_t i = 0; i < count; i++) {
                bool owner;
                uint32_t link;
                uint32_t page = blocks[i].page;
                int r = hold_check_locked(pool, session, blocks[i], &owner, &link);
                if (r == 0 && mark_swap_locked(pool, page, owner, link, true) &&
                        named_before(blocks, i) >= hold_count_locked(pool, session, page, owner))
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

int pool_release(struct pool *pool, uint32_t session, struct block block, bool *freed) {
        struct holder *holder = &pool->holders[session];
        struct pool_freed result = {.freed = false};
        struct ledger_record record;
        spinlock_lock(&holder->lock);
        spinlock_lock(stripe_of(pool, block.page));
        int r = block_state(pool, block, &record);
        if (r == 0 && record.owner != session && !chain_find_locked(pool, session, block.page))
                r = -ESTALE;
        if (r == 0)
                hold_drop_locked(pool, session, block, &result);
        spinlock_unlock(stripe_of(pool, block.page));
        spinlock_unlock(&holder->lock);
        if (r < 0)
                return r;
        pool_free_block(pool, &result);
        *freed = result.freed;
        return 0;
}

/* Taking a pool over: one walk over the ledger that validates every word and fills the private state beside
 * it. The ledger itself is changed only behind a walk without a fault: records that nobody holds any more (a kill
 * between the last hold's store and the record's) are written free then. */
#include "pool_private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

struct recovery {
        struct pool *pool;
        uint64_t pages;
        uint64_t free_from;  /* everything live before it is known; the gap begins here */
        uint64_t holds_seen; /* holds and keys that named a live block */
        uint64_t dead;       /* live records without a holder */
        uint64_t dead_end;   /* where the last of them ends */
        char *fault;
        size_t fault_bytes;
};

/* ---- Tables ---- */

static int sessions_recover(struct recovery *recovery) {
        struct pool *pool = recovery->pool;
        for (uint32_t slot = 0; slot < LEDGER_SESSIONS; slot++) {
                const struct ledger_session *entry = &pool->ledger.sessions[slot];
                uint64_t state = ledger_load(&entry->state) >> 56;
                if (state == SESSION_FREE)
                        continue;
                if (slot == 0 || state > SESSION_OPENING)
                        return pool_fault(recovery->fault, recovery->fault_bytes,
                                "session %u: state %u", slot, (unsigned)state);
                if (!memchr(entry->name, 0, sizeof entry->name))
                        return pool_fault(recovery->fault, recovery->fault_bytes,
                                "session %u: name has no end", slot);
                unsigned flags = ledger_load(&entry->state) >> 48 & 0xff;
                if (entry->digest != ledger_session_digest(entry, flags, slot))
                        return pool_fault(recovery->fault, recovery->fault_bytes,
                                "session %u: its identity does not match its digest", slot);
                if (!progress_is_sound(pool, slot))
                        return pool_fault(recovery->fault, recovery->fault_bytes,
                                "session %u: how far its requests have come (%#llx, %#llx) makes "
                                "no "
                                "sense",
                                slot, (unsigned long long)ledger_load(&entry->progress),
                                (unsigned long long)ledger_load(&entry->step));
                pool->holders[slot].live = state == SESSION_LIVE;
                pool->sessions_used = slot + 1;
        }
        return 0;
}

static bool session_known(const struct pool *pool, uint32_t session) {
        return session != 0 && session < LEDGER_SESSIONS &&
               ledger_load(&pool->ledger.sessions[session].state) >> 56 != SESSION_FREE;
}

/* Chains of hold words; unused slots below the highest used one become free slots. */
static int holds_recover(struct recovery *recovery, uint64_t *total) {
        struct pool *pool = recovery->pool;
        for (uint32_t i = (uint32_t)pool->ledger.hold_count; i-- > 0;) {
                uint64_t word = ledger_load(&pool->ledger.holds[i]);
                if (word == 0 && pool->holds_used > 0)
                        hold_slot_put(pool, i);
                if (word == 0)
                        continue;
                struct ledger_hold hold = hold_unpack(word);
                if (word != hold_pack(hold, i) || hold.page >= recovery->pages ||
                        !session_known(pool, hold.session))
                        return pool_fault(recovery->fault, recovery->fault_bytes,
                                "hold word %u: %#llx names page %u and session %u", i,
                                (unsigned long long)word, hold.page, hold.session);
                if (pool->holds_used == 0)
                        pool->holds_used = i + 1;
                pool->links[i].granted = pool_clock_s();
                chain_add_locked(pool, hold.page, i);
                index_add_locked(pool, i, hold.session, hold.given);
                (*total)++;
        }
        pool->holds_taken = (uint32_t)*total;
        return 0;
}

static int keys_recover(struct recovery *recovery, uint64_t *total) {
        struct pool *pool = recovery->pool;
        for (uint32_t slot = 0; slot < LEDGER_KEYS; slot++) {
                const struct ledger_key *entry = &pool->ledger.keys[slot];
                uint64_t range = ledger_load(&entry->range);
                if (range == 0)
                        continue;
                for (; pool->keys_used < slot; pool->keys_used++) {
                        pool->key_next[pool->keys_used] = pool->free_key;
                        pool->free_key = pool->keys_used + 1;
                }
                uint32_t page = key_page(range);
                if (page >= recovery->pages || !entry->name[0] ||
                        !memchr(entry->name, 0, sizeof entry->name))
                        return pool_fault(recovery->fault, recovery->fault_bytes,
                                "key slot %u: names page %u of %llu, or has no name", slot, page,
                                (unsigned long long)recovery->pages);
                if (entry->digest != ledger_key_digest(entry, slot))
                        return pool_fault(recovery->fault, recovery->fault_bytes,
                                "key slot %u: its name or uid does not match its digest", slot);
                uint32_t link = (uint32_t)pool->ledger.hold_count + slot;
                pool->links[link].granted = pool_clock_s();
                chain_add_locked(pool, page, link);
                if (key_use(range) !=
                        0) /* by which the owner's peers will know it when he leaves */
                        pool->leases[page].use = use_fold(key_use(range));
                key_index_add_locked(pool, slot);
                pool->keys_used = slot + 1;
                (*total)++;
        }
        return 0;
}

/* ---- Blocks ---- */

static int block_fault(const struct recovery *recovery, uint64_t page, struct ledger_record record,
        const char *what) {
        return pool_fault(recovery->fault, recovery->fault_bytes,
                "record of page %llu (order %d, owner %u, generation %u): %s",
                (unsigned long long)page, (int)record.order_plus_1 - 1, record.owner,
                record.generation, what);
}

/* The gap before end becomes free, as aligned pieces. That nothing overlaps is known, so the pieces go the way of
 * a return, which costs a tenth of adding a region. */
static void gap_close(struct recovery *recovery, uint64_t end) {
        struct buddy *buddy = &recovery->pool->buddy;
        for (uint64_t page = recovery->free_from; page < end;) {
                unsigned order = log2_floor(end - page);
                if (page != 0 && (unsigned)__builtin_ctzll(page) < order)
                        order = (unsigned)__builtin_ctzll(page);
                int r = buddy_free(buddy, (uint32_t)page, order);
                assert(r == 0);
                (void)r;
                page += order_pages(order);
        }
}

/* The holds chained to a live head: each gets into its session's list. */
static int block_holds_recover(struct recovery *recovery, struct block block) {
        struct pool *pool = recovery->pool;
        for (uint32_t at = pool->leases[block.page].holds; at; at = pool->links[at - 1].page_next) {
                recovery->holds_seen++;
                if (at - 1 < pool->ledger.hold_count) {
                        struct hold_link *link = &pool->links[at - 1];
                        hold_link_locked(pool, link->session, at - 1, block);
                        holder_count_gift(&pool->holders[link->session], link->given,
                                (struct gift){block_bytes(pool, block.order), true});
                        continue;
                }
                uint32_t slot = at - 1 - (uint32_t)pool->ledger.hold_count;
                uint64_t range = ledger_load(&pool->ledger.keys[slot].range);
                if (range != key_pack(block.page, key_use(range), slot))
                        return pool_fault(recovery->fault, recovery->fault_bytes,
                                "key slot %u: %#llx does not match its check byte", slot,
                                (unsigned long long)range);
        }
        return 0;
}

/* One live head at page: must be a possible block, of a known holder, behind all before it. */
static int block_recover(struct recovery *recovery, uint64_t page, struct ledger_record record) {
        struct pool *pool = recovery->pool;
        unsigned order = record.order_plus_1 - 1;
        if (order >= ORDER_COUNT || (page & (order_pages(order) - 1)) != 0 ||
                page + order_pages(order) > recovery->pages)
                return block_fault(recovery, page, record, "no such block in this pool");
        if (page < recovery->free_from || page < recovery->dead_end)
                return block_fault(recovery, page, record, "inside another held block");
        if (record.generation == 0)
                return block_fault(recovery, page, record, "held but never granted");
        if (record.owner != OWNER_NONE && !session_known(pool, record.owner))
                return block_fault(recovery, page, record, "unknown owner");
        struct block block = {
                .page = (uint32_t)page, .order = order, .generation = record.generation};
        if (record.owner == OWNER_NONE && record.given)
                return block_fault(recovery, page, record, "given, but to nobody");
        if (record.owner == OWNER_NONE && !pool->leases[page].holds) {
                recovery->dead++;
                recovery->dead_end = page + order_pages(order);
                return 0;
        }
        gap_close(recovery, page);
        int r = block_holds_recover(recovery, block);
        if (r < 0)
                return r;
        recovery->free_from = page + order_pages(order);
        atomic_store_explicit(&pool->leases[page].granted, pool_clock_s(), memory_order_relaxed);
        if (record.owner != OWNER_NONE)
                lease_link_locked(pool, record.owner, block);
        holder_count_gift(&pool->holders[record.owner], record.given,
                (struct gift){.bytes = block_bytes(pool, order)});
        atomic_fetch_add_explicit(&pool->held[order].blocks, 1, memory_order_relaxed);
        return 0;
}

/* The 512 page records of a split chunk. Most are free or held; both are one compare each. */
static int records_recover(struct recovery *recovery, uint64_t chunk) {
        uint64_t page = chunk << CHUNK_ORDER;
        uint64_t end = page + CHUNK_PAGES;
        for (; page < end; page++) {
                uint64_t word = ledger_load(&recovery->pool->ledger.records[page]);
                if (word == 0)
                        continue;
                struct ledger_record record = ledger_unpack(word);
                if (word != ledger_pack(record, (uint32_t)page))
                        return block_fault(recovery, page, record, "does not match its check byte");
                if (record.order_plus_1 == 0 && record.owner == OWNER_NONE)
                        continue;
                if (record.order_plus_1 == 0)
                        return block_fault(recovery, page, record, "free, but with an owner");
                if (record.order_plus_1 > CHUNK_ORDER)
                        return block_fault(recovery, page, record, "too large for a page record");
                int r = block_recover(recovery, page, record);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int chunk_recover(struct recovery *recovery, uint64_t chunk) {
        struct pool *pool = recovery->pool;
        uint64_t page = chunk << CHUNK_ORDER;
        uint64_t word = ledger_load(&pool->ledger.chunks[chunk]);
        if (word == 0)
                return 0;
        struct ledger_record record = ledger_unpack(word);
        if (word != ledger_pack(record, (uint32_t)page))
                return block_fault(recovery, page, record, "does not match its check byte");
        if (record.order_plus_1 == 0 && record.owner == OWNER_NONE)
                return 0;
        if (record.order_plus_1 == CHUNK_SPLIT && record.owner == OWNER_NONE) {
                atomic_store_explicit(&pool->backed[chunk], 1, memory_order_relaxed);
                return records_recover(recovery, chunk);
        }
        if (record.order_plus_1 <= CHUNK_ORDER)
                return block_fault(recovery, page, record, "no such word for a chunk");
        return block_recover(recovery, page, record);
}

static int blocks_recover(struct recovery *recovery) {
        uint64_t chunks = (recovery->pages + CHUNK_PAGES - 1) >> CHUNK_ORDER;
        for (uint64_t chunk = 0; chunk < chunks; chunk++) {
                int r = chunk_recover(recovery, chunk);
                if (r < 0)
                        return r;
        }
        for (uint64_t chunk = chunks; chunk << CHUNK_ORDER < recovery->pool->pages_max; chunk++)
                if (ledger_load(&recovery->pool->ledger.chunks[chunk]) != 0)
                        return pool_fault(recovery->fault, recovery->fault_bytes,
                                "word of chunk %llu: in use, beyond the pool's %llu pages",
                                (unsigned long long)chunk, (unsigned long long)recovery->pages);
        gap_close(recovery, recovery->pages);
        buddy_add_granted(&recovery->pool->buddy, recovery->pages);
        return 0;
}

/* ---- The whole ---- */

/* Some hold names a page without a live head: find which, for the operator. */
static int holds_fault(struct recovery *recovery) {
        struct pool *pool = recovery->pool;
        for (uint32_t link = 0; link < pool->ledger.hold_count + LEDGER_KEYS; link++) {
                bool used = link < pool->ledger.hold_count
                                    ? ledger_load(&pool->ledger.holds[link]) != 0
                                    : ledger_load(&pool->ledger.keys[link - pool->ledger.hold_count]
                                                           .range) != 0;
                struct block block;
                uint32_t owner;
                uint64_t page = pool->links[link].page;
                if (used && !ledger_next_live(&pool->ledger, page + 1, &page, &block, &owner))
                        return pool_fault(recovery->fault, recovery->fault_bytes,
                                "%s %llu: names page %u, where no held block begins",
                                link < pool->ledger.hold_count ? "hold word" : "key slot",
                                (unsigned long long)(link < pool->ledger.hold_count
                                                             ? link
                                                             : link - pool->ledger.hold_count),
                                pool->links[link].page);
        }
        return pool_fault(recovery->fault, recovery->fault_bytes, "a hold names no held block");
}

static void dead_records_free(struct recovery *recovery) {
        struct pool *pool = recovery->pool;
        uint64_t page = 0;
        struct block block;
        uint32_t owner;
        while (recovery->dead > 0 &&
                ledger_next_live(&pool->ledger, recovery->pages, &page, &block, &owner)) {
                struct pool_freed freed;
                if (owner != OWNER_NONE || pool->leases[block.page].holds)
                        continue;
                block_free_if_dead_locked(pool, block, owner, &freed);
                recovery->dead--;
        }
}

static void operator_open(struct pool *pool) {
        struct ledger_session *entry = &pool->ledger.sessions[SESSION_OPERATOR];
        if (ledger_load(&entry->state) >> 56 == SESSION_FREE) {
                strcpy(entry->name, "operator");
                entry->digest = ledger_session_digest(entry, 0, SESSION_OPERATOR);
                atomic_store_explicit(&entry->progress, 0, memory_order_relaxed);
                atomic_store_explicit(&entry->step, 0, memory_order_relaxed);
                ledger_store(&entry->state, (uint64_t)SESSION_LIVE << 56);
        }
        pool->holders[SESSION_OPERATOR].live = true;
        if (pool->sessions_used <= SESSION_OPERATOR)
                pool->sessions_used = SESSION_OPERATOR + 1;
}

/* Once everything is found sound, and linked. */
static void accounts_recover(struct pool *pool) {
        for (uint32_t session = SESSION_OPERATOR + 1; session < pool->sessions_used; session++) {
                struct holder *holder = &pool->holders[session];
                const struct ledger_session *entry = &pool->ledger.sessions[session];
                if (ledger_load(&entry->state) >> 56 == SESSION_FREE)
                        continue;
                holder->account = account_join_locked(pool, entry->uid);
                atomic_fetch_add_explicit(&holder->account->clients, 1, memory_order_relaxed);
                pool->sessions_open++;
                spinlock_lock(&holder->lock);
                holder_unlock(holder);
        }
        for (uint32_t slot = 0; slot < pool->keys_used; slot++) {
                const struct ledger_key *key = &pool->ledger.keys[slot];
                struct block block;
                uint32_t owner;
                uint64_t range = ledger_load(&key->range), page = key_page(range);
                if (range != 0 && ledger_next_live(&pool->ledger, page + 1, &page, &block, &owner))
                        account_add_key(pool, key->uid, block_bytes(pool, block.order));
        }
}

int pool_recover(struct pool *pool, char *fault, size_t fault_bytes) {
        struct recovery recovery = {.pool = pool,
                .pages = pool_pages(pool),
                .fault = fault,
                .fault_bytes = fault_bytes};
        uint64_t holds = 0;
        int r = sessions_recover(&recovery);
        if (r == 0)
                r = holds_recover(&recovery, &holds);
        if (r == 0)
                r = keys_recover(&recovery, &holds);
        if (r == 0)
                r = blocks_recover(&recovery);
        if (r == 0 && recovery.holds_seen != holds)
                r = holds_fault(&recovery);
        if (r < 0)
                return r;
        progress_recover(pool);
        dead_records_free(&recovery);
        accounts_recover(pool);
        operator_open(pool);
        return 0;
}

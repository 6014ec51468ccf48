/* Sharing: further holds on a live block, moving a hold to a peer, and keys, which are holders too. */
#include "pool_private.h"

#include <errno.h>
#include <string.h>

/* Makes the session a holder of a block that is live. A block that only further holds keep gets an owner
 * again, which is one store on the record and no hold word, unless its record has its name. Needs session and stripe. */
static int hold_add_locked(
        struct pool *pool, uint32_t session, struct block block, struct ledger_record record) {
        if (!pool->holders[session].live)
                return -ESTALE;
        /* Who is gone holds nothing, even if it has not been returned yet. */
        if (record.owner != OWNER_NONE && pool->leases[block.page].holds == 0 &&
                ledger_load(&pool->ledger.sessions[record.owner].state) >> 56 == SESSION_CLOSING)
                return -ESTALE;
        if (record.owner == OWNER_NONE && record.use == 0) {
                record.owner = session;
                record.given = false;
                atomic_store_explicit(
                        &pool->leases[block.page].granted, pool_clock_s(), memory_order_relaxed);
                progress_begin_locked(pool, session, block.page, 0, true);
                ledger_store(
                        block_word(pool, block.page, block.order), ledger_pack(record, block.page));
                lease_link_locked(pool, session, block);
                progress_done_locked(pool, session);
                return 0;
        }
        uint32_t link;
        int r = hold_slot_take(pool, session, &link);
        if (r < 0)
                return r;
        pool->links[link].granted = pool_clock_s();
        progress_begin_locked(pool, session, block.page, link + 1, true);
        ledger_store(&pool->ledger.holds[link],
                hold_pack((struct ledger_hold){.session = session, .page = block.page}, link));
        hold_link_locked(pool, session, link, block);
        chain_add_locked(pool, block.page, link);
        index_add_locked(pool, link, session, false);
        progress_done_locked(pool, session);
        return 0;
}

static int hold_charged_add_locked(
        struct pool *pool, uint32_t session, struct block block, struct ledger_record record) {
        int r = account_charge_locked(pool, session, block_bytes(pool, block.order), 1);
        return r == 0 ? hold_add_locked(pool, session, block, record) : r;
}

/* owner: NULL: whoever that is. */
static int attach(struct pool *pool, uint32_t session, const uint32_t *owner, struct block block) {
        struct ledger_record record;
        spinlock_lock(&pool->holders[session].lock);
        spinlock_lock(stripe_of(pool, block.page));
        int r = block_state(pool, block, &record);
        if (r == 0 && owner && record.owner != *owner)
                r = -EAGAIN;
        if (r == 0)
                r = hold_charged_add_locked(pool, session, block, record);
        spinlock_unlock(stripe_of(pool, block.page));
        holder_unlock(&pool->holders[session]);
        return r;
}

int pool_attach(struct pool *pool, uint32_t session, struct block block) {
        return attach(pool, session, NULL, block);
}

int pool_attach_of(struct pool *pool, uint32_t session, uint32_t owner, struct block block) {
        return attach(pool, session, &owner, block);
}

/* ---- Giving ---- */

static void holders_lock(struct pool *pool, uint32_t a, uint32_t b) {
        spinlock_lock(&pool->holders[a < b ? a : b].lock);
        if (a != b)
                spinlock_lock(&pool->holders[a < b ? b : a].lock);
}

static void holders_unlock(struct pool *pool, uint32_t a, uint32_t b) {
        if (a != b)
                holder_unlock(&pool->holders[a < b ? b : a]);
        holder_unlock(&pool->holders[a < b ? a : b]);
}

/* Moves one hold with one store: the record's owner, or a hold word. Needs both sessions and the stripe. */
static void hold_give_locked(
        struct pool *pool, uint32_t session, struct block block, uint32_t peer) {
        _Atomic uint64_t *word = block_word(pool, block.page, block.order);
        struct ledger_record record = ledger_unpack(ledger_load(word));
        uint32_t at = hold_take_locked(pool, session, block.page, record);
        const struct gift gift = {block_bytes(pool, block.order), at != 0};
        holder_uncount_gift(&pool->holders[session], hold_is_given(pool, at, record), gift);
        holder_count_gift(&pool->holders[peer], true, gift);
        progress_begin_locked(pool, session, block.page, at, false);
        if (at == 0) {
                record.owner = peer;
                record.given = true;
                ledger_store(word, ledger_pack(record, block.page));
                lease_unlink_locked(pool, session, block.page, block.order);
                lease_link_locked(pool, peer, block);
                progress_done_locked(pool, session);
                return;
        }
        ledger_store(&pool->ledger.holds[at - 1],
                hold_pack((struct ledger_hold){.session = peer, .page = block.page, .given = true},
                        at - 1));
        hold_unlink_locked(pool, session, at - 1, block.order);
        hold_link_locked(pool, peer, at - 1, block);
        index_add_locked(pool, at - 1, peer, true);
        progress_done_locked(pool, session);
}

/* What a give of these takes from its receiver. As further holds count all of blocks that the session has such of: at most so
 * many of the ledger's table move. Needs the session. */
static struct pool_want gift_want_locked(
        struct pool *pool, uint32_t session, const struct block *blocks, size_t count) {
        struct pool_want want = {.ranges = count, .giver = session};
        for (size_t i = 0; i < count; i++) {
                uint32_t page = blocks[i].page;
                want.bytes += block_bytes(pool, blocks[i].order);
                spinlock_lock(stripe_of(pool, page));
                want.holds += pool->leases[page].holds &&
                              (index_find_locked(pool, session, page, false) ||
                                      index_find_locked(pool, session, page, true));
                spinlock_unlock(stripe_of(pool, page));
        }
        return want;
}

static int gift_charge_locked(struct pool *pool, uint32_t session, const struct block *blocks,
        size_t count, uint32_t peer) {
        const struct pool_want want = gift_want_locked(pool, session, blocks, count);
        return account_charge_gift_locked(pool, peer, &want);
}

int pool_give_many(struct pool *pool, uint32_t session, const struct block *blocks, size_t count,
        uint32_t peer, size_t *bad) {
        if (count == 0 || count > POOL_BATCH_MAX)
                return -EINVAL;
        if (peer <= SESSION_OPERATOR || peer >= LEDGER_SESSIONS)
                return -ENOENT;
        holders_lock(pool, session, peer);
        int r = pool->holders[peer].live ? 0 : -ENOENT;
        if (r == 0)
                r = batch_check_locked(pool, session, blocks, count, bad);
        if (r == 0)
                batch_unmark_locked(pool, session, blocks, count);
        if (r == 0 && session != peer)
                r = gift_charge_locked(pool, session, blocks, count, peer);
        for (size_t i = 0; i < count && r == 0 && session != peer; i++) {
                spinlock_lock(stripe_of(pool, blocks[i].page));
                hold_give_locked(pool, session, blocks[i], peer);
                spinlock_unlock(stripe_of(pool, blocks[i].page));
        }
        holders_unlock(pool, session, peer);
        return r;
}

/* ---- Keys ---- */

/* What is put under which key, by which name. */
struct publication {
        const char *key;
        struct block block;
        uint32_t use;
};

static uint32_t *key_bucket(struct pool *pool, const char *key) {
        uint32_t hash = UINT32_C(2166136261); /* Fowler, Noll and Vo's, 1a */
        for (const char *c = key; *c; c++)
                hash = (hash ^ (uint8_t)*c) * UINT32_C(16777619);
        return &pool->key_buckets[hash % KEY_BUCKETS];
}

/* Slot of a key, or LEDGER_KEYS. Needs the keys lock. */
static uint32_t key_find_locked(struct pool *pool, const char *key) {
        uint32_t at = *key_bucket(pool, key);
        while (at && strcmp(pool->ledger.keys[at - 1].name, key) != 0)
                at = pool->key_next[at - 1];
        return at ? at - 1 : LEDGER_KEYS;
}

void key_index_add_locked(struct pool *pool, uint32_t slot) {
        uint32_t *bucket = key_bucket(pool, pool->ledger.keys[slot].name);
        pool->key_next[slot] = *bucket;
        *bucket = slot + 1;
}

static void key_index_remove_locked(struct pool *pool, uint32_t slot) {
        uint32_t *place = key_bucket(pool, pool->ledger.keys[slot].name);
        while (*place != slot + 1)
                place = &pool->key_next[*place - 1];
        *place = pool->key_next[slot];
}

/* A slot for a new key, or LEDGER_KEYS. Needs the keys lock. */
static uint32_t key_slot_take_locked(struct pool *pool) {
        uint32_t slot = pool->free_key ? pool->free_key - 1 : pool->keys_used;
        if (pool->free_key)
                pool->free_key = pool->key_next[slot];
        else if (slot < LEDGER_KEYS)
                pool->keys_used++;
        return slot;
}

static void key_slot_put_locked(struct pool *pool, uint32_t slot) {
        pool->key_next[slot] = pool->free_key;
        pool->free_key = slot + 1;
}

/* The block under a key in use. A live block's order and generation are in its record. Needs the keys lock, under which
 * the key's hold keeps the block alive. */
static struct block key_block_locked(struct pool *pool, uint32_t slot) {
        uint32_t page = key_page(ledger_load(&pool->ledger.keys[slot].range));
        struct block block = {.page = page};
        uint64_t at = page;
        uint32_t owner;
        ledger_next_live(&pool->ledger, (uint64_t)page + 1, &at, &block, &owner);
        return block;
}

static void stripes_lock(struct spinlock *a, struct spinlock *b) {
        spinlock_lock(a < b ? a : b);
        if (a != b)
                spinlock_lock(a < b ? b : a);
}

static void stripes_unlock(struct spinlock *a, struct spinlock *b) {
        spinlock_unlock(a);
        if (a != b)
                spinlock_unlock(b);
}

/* A key slot as a step names it. */
static uint32_t key_step(const struct pool *pool, uint32_t slot) {
        return (uint32_t)pool->ledger.hold_count + slot + 1;
}

static void key_link_locked(struct pool *pool, uint32_t slot, uint32_t page) {
        uint32_t link = (uint32_t)pool->ledger.hold_count + slot;
        pool->links[link].session = 0;
        pool->links[link].granted = pool_clock_s();
        chain_add_locked(pool, page, link);
}

/* Takes the key's hold off a block, after the store that ended it. Needs the stripe. */
static void key_unlink_locked(
        struct pool *pool, uint32_t slot, struct block block, struct pool_freed *freed) {
        struct ledger_record record =
                ledger_unpack(ledger_load(block_word(pool, block.page, block.order)));
        chain_remove_locked(pool, block.page, (uint32_t)pool->ledger.hold_count + slot);
        block_free_if_dead_locked(pool, block, record.owner, freed);
}

/* One store moves the key: before it the old block is held, behind it the new one. Needs session and keys. */
static int key_move_locked(struct pool *pool, uint32_t session, uint32_t slot,
        const struct publication *publication, struct pool_freed *freed) {
        struct block block = publication->block;
        struct block old = key_block_locked(pool, slot);
        struct spinlock *a = stripe_of(pool, old.page);
        struct spinlock *b = stripe_of(pool, block.page);
        struct ledger_record record;
        stripes_lock(a, b);
        int r = block_state(pool, block, &record);
        if (r == 0 && !session_holds_locked(pool, session, block.page, record))
                r = -ESTALE;
        if (r == 0 && old.page == block.page)
                ledger_store(&pool->ledger.keys[slot].range,
                        key_pack(block.page, publication->use, slot));
        if (r == 0 && old.page != block.page) {
                progress_begin_locked(pool, session, block.page, key_step(pool, slot), true);
                ledger_store(&pool->ledger.keys[slot].range,
                        key_pack(block.page, publication->use, slot));
                progress_done_locked(pool, session);
                key_unlink_locked(pool, slot, old, freed);
                key_link_locked(pool, slot, block.page);
                account_move_key(pool, pool->ledger.keys[slot].uid, block_bytes(pool, old.order),
                        block_bytes(pool, block.order));
        }
        stripes_unlock(a, b);
        return r;
}

static void key_write_locked(
        struct pool *pool, uint32_t session, uint32_t slot, const struct publication *publication) {
        const char *key = publication->key;
        struct block block = publication->block;
        struct ledger_key *entry = &pool->ledger.keys[slot];
        memset(entry->name, 0, sizeof entry->name);
        memcpy(entry->name, key, strlen(key));
        entry->uid = pool->ledger.sessions[session].uid;
        entry->digest = ledger_key_digest(entry, slot);
        progress_begin_locked(pool, session, block.page, key_step(pool, slot), true);
        ledger_store(&entry->range, key_pack(block.page, publication->use, slot));
        key_link_locked(pool, slot, block.page);
        key_index_add_locked(pool, slot);
        progress_done_locked(pool, session);
}

/* Needs session and keys. */
static int key_create_locked(
        struct pool *pool, uint32_t session, const struct publication *publication) {
        struct block block = publication->block;
        uint32_t slot = key_slot_take_locked(pool);
        if (slot == LEDGER_KEYS)
                return -ENOSPC;
        struct ledger_record record;
        spinlock_lock(stripe_of(pool, block.page));
        int r = block_state(pool, block, &record);
        if (r == 0 && !session_holds_locked(pool, session, block.page, record))
                r = -ESTALE;
        if (r == 0)
                r = account_add_key(
                        pool, pool->ledger.sessions[session].uid, block_bytes(pool, block.order));
        if (r == 0)
                key_write_locked(pool, session, slot, publication);
        spinlock_unlock(stripe_of(pool, block.page));
        if (r < 0)
                key_slot_put_locked(pool, slot);
        return r;
}

static int key_access(const struct pool *pool, uint32_t session, uint32_t slot) {
        uint32_t uid = pool->ledger.sessions[session].uid;
        return uid == 0 || uid == pool->ledger.keys[slot].uid ? 0 : -EACCES;
}

static int key_name_check(const char *key) {
        return *key && strlen(key) < LEDGER_KEY_BYTES ? 0 : -EINVAL;
}

int pool_publish(
        struct pool *pool, uint32_t session, const char *key, struct block block, uint32_t use) {
        const struct publication publication = {key, block, use};
        int r = key_name_check(key);
        if (r < 0)
                return r;
        struct pool_freed freed = {.freed = false};
        spinlock_lock(&pool->holders[session].lock);
        spinlock_lock(&pool->keys_lock);
        uint32_t slot = key_find_locked(pool, key);
        if (slot < LEDGER_KEYS) {
                r = key_access(pool, session, slot);
                if (r == 0)
                        r = key_move_locked(pool, session, slot, &publication, &freed);
        } else {
                r = key_create_locked(pool, session, &publication);
        }
        spinlock_unlock(&pool->keys_lock);
        holder_unlock(&pool->holders[session]);
        pool_free_block(pool, &freed);
        return r;
}

int pool_lookup(
        struct pool *pool, uint32_t session, const char *key, struct block *out, uint32_t *use) {
        struct ledger_record record;
        int r = -ENOENT;
        spinlock_lock(&pool->holders[session].lock);
        spinlock_lock(&pool->keys_lock);
        uint32_t slot = key_find_locked(pool, key);
        if (slot < LEDGER_KEYS) {
                struct block block = key_block_locked(pool, slot);
                spinlock_lock(stripe_of(pool, block.page));
                r = block_state(pool, block, &record);
                if (r == 0)
                        r = hold_charged_add_locked(pool, session, block, record);
                spinlock_unlock(stripe_of(pool, block.page));
                if (r == 0)
                        *out = block;
                if (r == 0 && use)
                        *use = key_use(ledger_load(&pool->ledger.keys[slot].range));
        }
        spinlock_unlock(&pool->keys_lock);
        holder_unlock(&pool->holders[session]);
        return r;
}

int pool_key_block(struct pool *pool, const char *key, struct block *out) {
        spinlock_lock(&pool->keys_lock);
        uint32_t slot = key_find_locked(pool, key);
        int r = slot < LEDGER_KEYS ? 0 : -ENOENT;
        if (r == 0)
                *out = key_block_locked(pool, slot);
        spinlock_unlock(&pool->keys_lock);
        return r;
}

int pool_unpublish(struct pool *pool, uint32_t session, const char *key) {
        struct pool_freed freed = {.freed = false};
        spinlock_lock(&pool->holders[session].lock);
        spinlock_lock(&pool->keys_lock);
        uint32_t slot = key_find_locked(pool, key);
        int r = slot < LEDGER_KEYS ? key_access(pool, session, slot) : -ENOENT;
        if (r == 0) {
                struct block block = key_block_locked(pool, slot);
                spinlock_lock(stripe_of(pool, block.page));
                progress_begin_locked(pool, session, block.page, key_step(pool, slot), false);
                ledger_store(&pool->ledger.keys[slot].range, 0);
                key_unlink_locked(pool, slot, block, &freed);
                account_remove_key(
                        pool, pool->ledger.keys[slot].uid, block_bytes(pool, block.order));
                progress_done_locked(pool, session);
                spinlock_unlock(stripe_of(pool, block.page));
                key_index_remove_locked(pool, slot);
                key_slot_put_locked(pool, slot);
        }
        spinlock_unlock(&pool->keys_lock);
        holder_unlock(&pool->holders[session]);
        pool_free_block(pool, &freed);
        return r;
}

/* Sharing: further holds on a live block, moving a hold to a peer, and keys, which are holders too. */
#include "pool_private.h"

#include <errno.h>
#include <string.h>

/* Makes the session a holder of a block that is live. A block that only further holds keep gets an owner
 * again, which is one store on the record and no hold word. Needs session and stripe. */
static int hold_add_locked(
        struct pool *pool, uint32_t session, struct block block, struct ledger_record record) {
        if (!pool->holders[session].live)
                return -ESTALE;
        if (record.owner == OWNER_NONE) {
                record.owner = session;
                record.given = false;
                atomic_store_explicit(
                        &pool->leases[block.page].granted, pool_clock_s(), memory_order_relaxed);
                ledger_store(
                        block_word(pool, block.page, block.order), ledger_pack(record, block.page));
                lease_link_locked(pool, session, block);
                return 0;
        }
        uint32_t link;
        int r = hold_slot_take(pool, &link);
        if (r < 0)
                return r;
        struct hold_link *entry = &pool->links[link];
        entry->page = block.page;
        entry->mark = false;
        entry->granted = pool_clock_s();
        ledger_store(&pool->ledger.holds[link],
                hold_pack((struct ledger_hold){.session = session, .page = block.page}, link));
        hold_link_locked(pool, session, link, block);
        entry->page_next = pool->leases[block.page].holds;
        pool->leases[block.page].holds = link + 1;
        return 0;
}

int pool_attach(struct pool *pool, uint32_t session, struct block block) {
        struct ledger_record record;
        spinlock_lock(&pool->holders[session].lock);
        spinlock_lock(stripe_of(pool, block.page));
        int r = block_state(pool, block, &record);
        if (r == 0)
                r = hold_add_locked(pool, session, block, record);
        spinlock_unlock(stripe_of(pool, block.page));
        spinlock_unlock(&pool->holders[session].lock);
        return r;
}

/* ---- Giving ---- */

static void holders_lock(struct pool *pool, uint32_t a, uint32_t b) {
        spinlock_lock(&pool->holders[a < b ? a : b].lock);
        if (a != b)
                spinlock_lock(&pool->holders[a < b ? b : a].lock);
}

static void holders_unlock(struct pool *pool, uint32_t a, uint32_t b) {
        if (a != b)
                spinlock_unlock(&pool->holders[a < b ? b : a].lock);
        spinlock_unlock(&pool->holders[a < b ? a : b].lock);
}

/* Moves one hold with one store: the record's owner, or a hold word. Needs both sessions and the stripe. */
static void hold_give_locked(
        struct pool *pool, uint32_t session, struct block block, uint32_t peer) {
        _Atomic uint64_t *word = block_word(pool, block.page, block.order);
        struct ledger_record record = ledger_unpack(ledger_load(word));
        uint32_t at = hold_pick_locked(pool, session, block.page, record);
        if (at == 0) {
                record.owner = peer;
                record.given = true;
                ledger_store(word, ledger_pack(record, block.page));
                lease_unlink_locked(pool, session, block.page, block.order);
                lease_link_locked(pool, peer, block);
                return;
        }
        ledger_store(&pool->ledger.holds[at - 1],
                hold_pack((struct ledger_hold){.session = peer, .page = block.page, .given = true},
                        at - 1));
        hold_unlink_locked(pool, session, at - 1, block.order);
        hold_link_locked(pool, peer, at - 1, block);
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
        for (size_t i = 0; i < count && r == 0 && session != peer; i++) {
                spinlock_lock(stripe_of(pool, blocks[i].page));
                hold_give_locked(pool, session, blocks[i], peer);
                spinlock_unlock(stripe_of(pool, blocks[i].page));
        }
        holders_unlock(pool, session, peer);
        return r;
}

/* ---- Keys ---- */

static const char *key_name(const struct pool *pool, uint32_t slot) {
        return pool->ledger.keys[slot].name;
}

/* Slot of a key, or LEDGER_KEYS. *vacant: a slot for a new one, or LEDGER_KEYS. Needs the keys lock. */
static uint32_t key_find_locked(struct pool *pool, const char *key, uint32_t *vacant) {
        *vacant = LEDGER_KEYS;
        for (uint32_t slot = 0; slot < pool->keys_used; slot++) {
                if (ledger_load(&pool->ledger.keys[slot].range) == 0)
                        *vacant = *vacant == LEDGER_KEYS ? slot : *vacant;
                else if (strcmp(key_name(pool, slot), key) == 0)
                        return slot;
        }
        if (*vacant == LEDGER_KEYS && pool->keys_used < LEDGER_KEYS)
                *vacant = pool->keys_used;
        return LEDGER_KEYS;
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

static void key_link_locked(struct pool *pool, uint32_t slot, uint32_t page) {
        uint32_t link = (uint32_t)pool->ledger.hold_count + slot;
        struct hold_link *entry = &pool->links[link];
        entry->page = page;
        entry->session = 0;
        entry->granted = pool_clock_s();
        entry->page_next = pool->leases[page].holds;
        pool->leases[page].holds = link + 1;
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
static int key_move_locked(struct pool *pool, uint32_t session, uint32_t slot, struct block block,
        struct pool_freed *freed) {
        struct block old = key_block_locked(pool, slot);
        struct spinlock *a = stripe_of(pool, old.page);
        struct spinlock *b = stripe_of(pool, block.page);
        struct ledger_record record;
        stripes_lock(a, b);
        int r = block_state(pool, block, &record);
        if (r == 0 && record.owner != session && !chain_find_locked(pool, session, block.page))
                r = -ESTALE;
        if (r == 0 && old.page != block.page) {
                ledger_store(&pool->ledger.keys[slot].range, key_pack(block, slot));
                key_unlink_locked(pool, slot, old, freed);
                key_link_locked(pool, slot, block.page);
        }
        stripes_unlock(a, b);
        return r;
}

/* Needs session and keys. */
static int key_create_locked(
        struct pool *pool, uint32_t session, uint32_t slot, const char *key, struct block block) {
        struct ledger_key *entry = &pool->ledger.keys[slot];
        struct ledger_record record;
        spinlock_lock(stripe_of(pool, block.page));
        int r = block_state(pool, block, &record);
        if (r == 0 && record.owner != session && !chain_find_locked(pool, session, block.page))
                r = -ESTALE;
        if (r == 0) {
                memset(entry->name, 0, sizeof entry->name);
                memcpy(entry->name, key, strlen(key));
                entry->uid = pool->ledger.sessions[session].uid;
                entry->digest = ledger_key_digest(entry, slot);
                ledger_store(&entry->range, key_pack(block, slot));
                key_link_locked(pool, slot, block.page);
                if (slot == pool->keys_used)
                        pool->keys_used = slot + 1;
        }
        spinlock_unlock(stripe_of(pool, block.page));
        return r;
}

static int key_access(const struct pool *pool, uint32_t session, uint32_t slot) {
        uint32_t uid = pool->ledger.sessions[session].uid;
        return uid == 0 || uid == pool->ledger.keys[slot].uid ? 0 : -EACCES;
}

static int key_name_check(const char *key) {
        return *key && strlen(key) < LEDGER_KEY_BYTES ? 0 : -EINVAL;
}

int pool_publish(struct pool *pool, uint32_t session, const char *key, struct block block) {
        int r = key_name_check(key);
        if (r < 0)
                return r;
        struct pool_freed freed = {.freed = false};
        uint32_t vacant;
        spinlock_lock(&pool->holders[session].lock);
        spinlock_lock(&pool->keys_lock);
        uint32_t slot = key_find_locked(pool, key, &vacant);
        if (slot < LEDGER_KEYS) {
                r = key_access(pool, session, slot);
                if (r == 0)
                        r = key_move_locked(pool, session, slot, block, &freed);
        } else {
                r = vacant < LEDGER_KEYS ? key_create_locked(pool, session, vacant, key, block)
                                         : -ENOSPC;
        }
        spinlock_unlock(&pool->keys_lock);
        spinlock_unlock(&pool->holders[session].lock);
        pool_free_block(pool, &freed);
        return r;
}

int pool_lookup(struct pool *pool, uint32_t session, const char *key, struct block *out) {
        uint32_t vacant;
        struct ledger_record record;
        int r = -ENOENT;
        spinlock_lock(&pool->holders[session].lock);
        spinlock_lock(&pool->keys_lock);
        uint32_t slot = key_find_locked(pool, key, &vacant);
        if (slot < LEDGER_KEYS) {
                struct block block = key_block_locked(pool, slot);
                spinlock_lock(stripe_of(pool, block.page));
                r = block_state(pool, block, &record);
                if (r == 0)
                        r = hold_add_locked(pool, session, block, record);
                spinlock_unlock(stripe_of(pool, block.page));
                if (r == 0)
                        *out = block;
        }
        spinlock_unlock(&pool->keys_lock);
        spinlock_unlock(&pool->holders[session].lock);
        return r;
}

int pool_unpublish(struct pool *pool, uint32_t session, const char *key) {
        struct pool_freed freed = {.freed = false};
        uint32_t vacant;
        spinlock_lock(&pool->keys_lock);
        uint32_t slot = key_find_locked(pool, key, &vacant);
        int r = slot < LEDGER_KEYS ? key_access(pool, session, slot) : -ENOENT;
        if (r == 0) {
                struct block block = key_block_locked(pool, slot);
                spinlock_lock(stripe_of(pool, block.page));
                ledger_store(&pool->ledger.keys[slot].range, 0);
                key_unlink_locked(pool, slot, block, &freed);
                spinlock_unlock(stripe_of(pool, block.page));
        }
        spinlock_unlock(&pool->keys_lock);
        pool_free_block(pool, &freed);
        return r;
}

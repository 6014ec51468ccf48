/* See cache_share.h.
 *
 * A block is known to others by its owner's word, or, where that says "shared", by the name that the pool keeps (pool_name_block). So
 * while a block has no name in the pool, its owner's word is the only place that knows it, and only there "shared" may be
 * missing. Both change under the owner's cache_lock: an attach sets "shared" and the name before it adds the hold, and
 * the end of a give takes both away only if it finds no hold. Holds that come of a key find the block held by the key. */
#include "cache_share.h"

#include <errno.h>

#include "cache.h"
#include "core/ledger_word.h"
#include "proto/cache_area.h"
#include "served_pool.h"

/* A use is told from any other of the same life by what is kept of it. */
_Static_assert(CACHE_USE_MAX < 1u << OWNER_BITS, "uses fold alike");

/* Where a client's memory says what it does with a block; NULL: it is not here, and is looked through for this block when it comes. */
static _Atomic uint64_t *word_of_locked(struct presence *presence, struct block block) {
        if (presence->cache)
                return cache_word(presence->cache, block.page);
        presence->held_unseen = true;
        return NULL;
}

/* What a client's memory says of a block that it does not hold any more is over: it would be wrong when the block comes back by another
 * name. What it counts is not ours to change. Needs its cache lock, without which nothing is given to it. */
static void word_end_locked(struct served_pool *served, uint32_t session, struct block block) {
        _Atomic uint64_t *word = block.order < CACHE_ORDERS
                                         ? word_of_locked(&served->presence[session], block)
                                         : NULL;
        if (!word)
                return;
        uint64_t seen = atomic_load(word);
        if (!cache_word_is_of(seen, block.generation, block.order) ||
                pool_session_holds(served->pool, session, block))
                return;
        while (!(seen & CACHE_COUNTED) && !atomic_compare_exchange_weak(word, &seen, 0))
                continue;
}

/* A block that it is about to hold once more may have been its own before a kill. */
static void word_end(struct served_pool *served, uint32_t session, struct block block) {
        spinlock_lock(&served->presence[session].cache_lock);
        word_end_locked(served, session, block);
        spinlock_unlock(&served->presence[session].cache_lock);
}

/* ---- Attach, lookup and publish ---- */

/* Ends with the word marked as shared, or with the finding that this name is over. */
static bool word_share(_Atomic uint64_t *word, struct block block, uint64_t name) {
        uint64_t seen = atomic_load(word);
        for (;;) {
                if (!cache_word_is_of(seen, block.generation, block.order))
                        return true; /* its owner goes through the daemon with it */
                bool named = cache_word_name(seen) == name ||
                             ((seen & CACHE_SHARED) && name == block.generation);
                if (!(seen & CACHE_IN_USE) || !named)
                        return false;
                if ((seen & CACHE_SHARED) ||
                        atomic_compare_exchange_weak(word, &seen, seen | CACHE_SHARED))
                        return true;
        }
}

/* The name that its owner's memory has of a block; 0: none. Needs the cache lock. */
static uint64_t name_locked(const struct presence *presence, struct block block) {
        uint64_t word = 0;
        if (presence->cache)
                word = atomic_load(cache_word(presence->cache, block.page));
        return cache_word_is_of(word, block.generation, block.order) ? cache_word_name(word) : 0;
}

/* Only its owner's word names a block: whoever attaches might say anything. Needs the owner's cache lock. */
static bool share_locked(
        struct served_pool *served, uint32_t owner, struct block block, uint64_t name) {
        struct presence *presence = &served->presence[owner];
        if (!presence->cache) {
                atomic_store(&presence->shared_unseen, true);
                return true;
        }
        if (!word_share(cache_word(presence->cache, block.page), block, name))
                return false;
        uint64_t use = name_locked(presence, block) >> CACHE_USE_SHIFT;
        if (use != 0)
                pool_name_block(served->pool, block, (uint32_t)use);
        return true;
}

/* A block that is about to get one more holder, until share_end: its owner stays the same, but that it may go. */
struct share {
        struct served_pool *served;
        uint32_t owner; /* whose cache lock is held; 0: nobody's */
};

static struct share share_begin(struct served_pool *served, struct block block) {
        struct share share = {.served = served};
        uint32_t use, owner = pool_owner(served->pool, block, &use);
        while (owner != share.owner) {
                if (share.owner != 0)
                        spinlock_unlock(&served->presence[share.owner].cache_lock);
                share.owner = owner;
                if (owner != 0) {
                        cache_find(served, owner);
                        spinlock_lock(&served->presence[owner].cache_lock);
                }
                owner = pool_owner(served->pool, block, &use);
        }
        return share;
}

static void share_end(const struct share *share) {
        if (share->owner != 0)
                spinlock_unlock(&share->served->presence[share->owner].cache_lock);
}

/* Whether the block still has this name; then others may hold it, too. */
static bool share_allows(const struct share *share, struct block block, uint64_t name) {
        uint32_t named = (uint32_t)(name >> CACHE_USE_SHIFT), use;
        pool_owner(share->served->pool, block, &use);
        if (use != 0)
                return named == 0 || use_fold(named) == use;
        return share->owner == 0 || share_locked(share->served, share->owner, block, name);
}

/* Whose lock is held, or that there is nobody whose lock it could be, is still so when the hold is added. */
int cache_attach(struct served_pool *served, uint32_t session, struct block block, uint64_t name) {
        int error;
        word_end(served, session, block);
        do {
                struct share share = share_begin(served, block);
                error = share_allows(&share, block, name)
                                ? pool_attach_of(served->pool, session, share.owner, block)
                                : -ESTALE;
                share_end(&share);
        } while (error == -EAGAIN);
        return error;
}

int cache_lookup(struct served_pool *served, uint32_t session, const char *key, struct block *out,
        uint32_t *use) {
        struct block block;
        if (pool_key_block(served->pool, key, &block) == 0)
                word_end(served, session, block);
        return pool_lookup(served->pool, session, key, out, use);
}

int cache_publish(struct served_pool *served, uint32_t session, const char *key, struct block block,
        uint64_t name) {
        struct share share = share_begin(served, block);
        int error = share_allows(&share, block, name)
                            ? pool_publish(served->pool, session, key, block,
                                      (uint32_t)(name >> CACHE_USE_SHIFT))
                            : -ESTALE;
        share_end(&share);
        return error;
}

/* ---- Release ---- */

/* A client takes the mark off a gift before it asks to give that up. Where the mark is there, the client asked before it was, for a hold that
 * it had then. False: it has none. Needs the cache lock. */
static bool may_leave_locked(struct served_pool *served, uint32_t session, struct block block) {
        const struct presence *presence = &served->presence[session];
        uint64_t word = presence->cache ? atomic_load(cache_word(presence->cache, block.page)) : 0;
        return !(word & CACHE_GIFT) || !cache_word_is_of(word, block.generation, block.order) ||
               pool_session_shares(served->pool, session, block);
}

static int may_leave_all_locked(struct served_pool *served, uint32_t session,
        const struct block *blocks, size_t count, size_t *bad) {
        for (size_t i = 0; i < count; i++)
                if (!may_leave_locked(served, session, blocks[i])) {
                        *bad = i;
                        return -ESTALE;
                }
        return 0;
}

int cache_release(struct served_pool *served, uint32_t session, struct cache_return *back) {
        struct presence *presence = &served->presence[session];
        uint64_t freed_pages = 0;
        spinlock_lock(&presence->cache_lock);
        int error = may_leave_all_locked(served, session, back->blocks, back->count, &back->bad);
        if (!error && back->count == 1)
                error = pool_release(served->pool, session, back->blocks[0], &back->freed);
        else if (!error)
                error = pool_release_many(
                        served->pool, session, back->blocks, back->count, &back->bad, &freed_pages);
        for (size_t i = 0; i < back->count && !error; i++)
                word_end_locked(served, session, back->blocks[i]);
        spinlock_unlock(&presence->cache_lock);
        back->freed |= freed_pages > 0;
        return error;
}

/* ---- Give ---- */

struct giving {
        struct served_pool *served;
        uint32_t session, peer;
};

static void giving_lock(const struct giving *giving) {
        struct presence *presence = giving->served->presence;
        uint32_t a = giving->session, b = giving->peer;
        spinlock_lock(&presence[a < b ? a : b].cache_lock);
        spinlock_lock(&presence[a < b ? b : a].cache_lock);
}

static void giving_unlock(const struct giving *giving) {
        struct presence *presence = giving->served->presence;
        spinlock_unlock(&presence[giving->session].cache_lock);
        spinlock_unlock(&presence[giving->peer].cache_lock);
}

static _Atomic uint64_t *peer_word_locked(const struct giving *giving, struct block block) {
        return word_of_locked(&giving->served->presence[giving->peer], block);
}

/* What it counts is not ours to change. */
static void word_replace(_Atomic uint64_t *word, uint64_t by) {
        uint64_t seen = atomic_load(word);
        while (!(seen & CACHE_COUNTED) && !atomic_compare_exchange_weak(word, &seen, by))
                continue;
}

/* What the giver's memory says counts for what is its own alone. If it has no name, nor may the peer's memory have one. */
static void announce_locked(const struct giving *giving, struct block block) {
        struct pool *pool = giving->served->pool;
        _Atomic uint64_t *word = peer_word_locked(giving, block);
        uint64_t name = name_locked(&giving->served->presence[giving->session], block);
        uint32_t use;
        if (pool_owner(pool, block, &use) != giving->session)
                return;
        if (name >> CACHE_USE_SHIFT == 0 || block.order >= CACHE_ORDERS) {
                word_end_locked(giving->served, giving->peer, block);
                return;
        }
        pool_name_block(pool, block, (uint32_t)(name >> CACHE_USE_SHIFT));
        if (word)
                word_replace(word, cache_word_pack(name, block.order) | CACHE_IN_USE |
                                           CACHE_SHARED | CACHE_GIFT);
}

/* It has not become the peer's. */
static void withdraw_locked(const struct giving *giving, struct block block) {
        _Atomic uint64_t *word = peer_word_locked(giving, block);
        uint64_t seen = word ? atomic_load(word) : 0;
        uint32_t use;
        if ((seen & CACHE_GIFT) && cache_word_is_of(seen, block.generation, block.order) &&
                pool_owner(giving->served->pool, block, &use) == giving->session)
                word_replace(word, 0);
}

/* It is the peer's: if it is so alone, its memory is from here on the only place that knows the name. If the exchange fails the client
 * has taken the mark off its word, to go to the daemon with it; its name is there all the same. */
static void settle_locked(const struct giving *giving, struct block block) {
        const uint64_t flags = CACHE_IN_USE | CACHE_SHARED | CACHE_GIFT;
        _Atomic uint64_t *word = peer_word_locked(giving, block);
        uint64_t seen = word ? atomic_load(word) : 0;
        if (!cache_word_is_of(seen, block.generation, block.order) ||
                (seen & (flags | CACHE_COUNTED)) != flags ||
                !pool_unname_block(giving->served->pool, block, giving->peer))
                return;
        atomic_compare_exchange_strong(word, &seen, (seen & ~CACHE_SHARED) | CACHE_COUNTED);
}

int cache_give(
        struct served_pool *served, uint32_t session, const struct cache_gift *gift, size_t *bad) {
        const struct giving giving = {served, session, gift->peer};
        struct pool *pool = served->pool;
        if (gift->peer == session || gift->peer == 0 || gift->peer >= LEDGER_SESSIONS)
                return pool_give_many(pool, session, gift->blocks, gift->count, gift->peer, bad);
        cache_find(served, gift->peer);
        giving_lock(&giving);
        int error = may_leave_all_locked(served, session, gift->blocks, gift->count, bad);
        for (size_t i = 0; i < gift->count && !error; i++)
                announce_locked(&giving, gift->blocks[i]);
        if (!error)
                error = pool_give_many(pool, session, gift->blocks, gift->count, gift->peer, bad);
        for (size_t i = 0; i < gift->count; i++) {
                if (error) {
                        withdraw_locked(&giving, gift->blocks[i]);
                        continue;
                }
                settle_locked(&giving, gift->blocks[i]);
                word_end_locked(served, session, gift->blocks[i]);
        }
        giving_unlock(&giving);
        return error;
}

/* Ranges that get one more holder, or another one, or lose one by a request, while caches (cache.h) may keep them: what the ledger
 * does and what a client's memory says of it change together. An owner's cache_lock is held from the look at its word to the
 * change of the ledger, and a give holds those of both sessions, the lower id first; all come before the pool's locks. Any
 * thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/pool.h"

struct served_pool;

/* As pool_attach, pool_lookup and pool_publish, the first and the last for a block by its name (use << 32 | generation). -ESTALE also: its owner has returned it since
 * it had this name. From here on the owner may not take it as its own alone. */
int cache_attach(struct served_pool *served, uint32_t session, struct block block, uint64_t name);
int cache_lookup(struct served_pool *served, uint32_t session, const char *key, struct block *out,
        uint32_t *use);
int cache_publish(struct served_pool *served, uint32_t session, const char *key, struct block block,
        uint64_t name);

/* As pool_give_many. The name that the giver's memory has of a block goes along; what is then the peer's alone its cache may keep. */
struct cache_gift {
        const struct block *blocks;
        size_t count;
        uint32_t peer;
};
int cache_give(
        struct served_pool *served, uint32_t session, const struct cache_gift *gift, size_t *bad);

/* As pool_release_many. -ESTALE also: the client has returned it to its cache. */
struct cache_return {
        const struct block *blocks;
        size_t count;
        size_t bad;
        bool freed; /* any */
};
int cache_release(struct served_pool *served, uint32_t session, struct cache_return *back);

/* Which order has how many slots. Who misses gets some, twice as many each time, within the budget. Where that is used up, misses are
 * counted for a while; then orders that nobody used meanwhile lose theirs, and so do those of larger blocks that were of no
 * more use than the slots that were missed: so a single large block does not keep the small ones out, and who works with
 * large ones has them. Entered only by threads that go to the daemon anyway; the lock is the policy's. */
#include "cache.h"

#define LIMIT_FIRST 8u
#define WINDOW      4u /* misses without budget */

static uint64_t block_bytes(const struct cache *cache, unsigned order) {
        return UINT64_C(1) << (cache->page_shift + order);
}

static uint32_t limit_of(const struct cache *cache, unsigned order) {
        return atomic_load_explicit(&cache->limits[order], memory_order_relaxed);
}

static void set_limit_locked(struct cache *cache, unsigned order, uint32_t limit) {
        uint32_t old = limit_of(cache, order);
        cache->spent_bytes += ((uint64_t)limit - old) * block_bytes(cache, order);
        if (limit > atomic_load(&cache->area->used[order]))
                atomic_store(&cache->area->used[order], limit);
        atomic_store(&cache->limits[order], limit);
}

/* A limit is a power of two. False: there is no budget. */
static bool double_locked(struct cache *cache, unsigned order) {
        uint32_t limit = limit_of(cache, order);
        uint64_t left = cache->budget_bytes - cache->spent_bytes;
        uint32_t more = limit ? limit : LIMIT_FIRST;
        while (limit == 0 && more > 1 && more * block_bytes(cache, order) > left)
                more /= 2;
        if (more * block_bytes(cache, order) > left)
                return false;
        set_limit_locked(cache, order, limit + more);
        return true;
}

/* Doubles once, and goes on up to what is wanted. False: there is no budget for that. */
static bool grow_locked(struct cache *cache, unsigned order, size_t wanted) {
        bool room = true;
        do
                room = limit_of(cache, order) == CACHE_SLOTS || double_locked(cache, order);
        while (room && limit_of(cache, order) < wanted && limit_of(cache, order) < CACHE_SLOTS);
        return room;
}

/* How often an order was of use: what was taken out of its slots, and that they ran full. */
static uint64_t use_of(const struct cache *cache, unsigned order) {
        uint64_t use = cache->returned[order];
        for (unsigned slot = 0; slot < CACHE_SLOTS; slot++)
                use += atomic_load_explicit(&cache->area->hits[order][slot], memory_order_relaxed);
        return use;
}

static void begin_window_locked(struct cache *cache) {
        for (unsigned order = 0; order < CACHE_ORDERS; order++) {
                cache->used_seen[order] = use_of(cache, order);
                cache->misses[order] = 0;
        }
        cache->looks = 0;
}

/* At the end of a window: those that have to give way to this order. */
static uint32_t empty_others_locked(struct cache *cache, unsigned order) {
        uint32_t emptied = 0;
        cache->misses[order]++;
        if (++cache->looks < WINDOW)
                return 0;
        for (unsigned other = 0; other < CACHE_ORDERS; other++) {
                if (other == order || limit_of(cache, other) == 0)
                        continue;
                uint64_t used = use_of(cache, other) - cache->used_seen[other];
                if (used > 0 && (other < order || used > cache->misses[order]))
                        continue;
                set_limit_locked(cache, other, 0);
                emptied |= 1u << other;
        }
        begin_window_locked(cache);
        return emptied;
}

struct cache_shift cache_missed(struct cache *cache, unsigned order, size_t wanted) {
        struct cache_shift shift = {0};
        pthread_mutex_lock(&cache->lock);
        if (!grow_locked(cache, order, wanted))
                shift.emptied = empty_others_locked(cache, order);
        if (shift.emptied != 0)
                grow_locked(cache, order, wanted);
        uint32_t half = limit_of(cache, order) / 2;
        if (!cache->refilling[order] && wanted <= half) {
                shift.spare = half;
                cache->refilling[order] = true;
        }
        pthread_mutex_unlock(&cache->lock);
        return shift;
}

void cache_refilled(struct cache *cache, unsigned order) {
        pthread_mutex_lock(&cache->lock);
        cache->refilling[order] = false;
        pthread_mutex_unlock(&cache->lock);
}

bool cache_crowded(struct cache *cache, unsigned order, uint32_t *emptied) {
        pthread_mutex_lock(&cache->lock);
        uint32_t before = limit_of(cache, order);
        cache->returned[order]++;
        bool room = grow_locked(cache, order, 0);
        bool more = limit_of(cache, order) > before;
        if (emptied)
                *emptied = room ? 0 : empty_others_locked(cache, order);
        if (emptied && *emptied != 0)
                grow_locked(cache, order, 0);
        pthread_mutex_unlock(&cache->lock);
        return more;
}

unsigned cache_keep(const struct cache *cache, unsigned order) {
        return limit_of(cache, order) / 2;
}

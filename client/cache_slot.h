/* The steps of which taking a range out of the cache and returning it consist; inline, as they are what a pair costs. What the
 * shared memory is and who may change what in it stands in proto/cache_area.h. Any thread, no lock, no system call. */
#pragma once

#include "cache.h"

static inline unsigned cache_order(const struct cache *cache, uint64_t length) {
        uint64_t last_page = (length - 1) >> cache->page_shift;
        return last_page == 0 ? 0 : 64u - (unsigned)__builtin_clzll(last_page);
}

static inline bool cache_serves(const struct cache *cache, uint64_t length) {
        return length - 1 <
               cache->block_max_bytes; /* 0 is none of ours; without a cache nothing is */
}

static inline uint32_t cache_page(
        const struct cache *cache, const struct buddyclient_range *range) {
        return (uint32_t)(range->offset >> cache->page_shift);
}

/* Of a range that begins below size_bytes. */
static inline _Atomic uint64_t *cache_word_of(
        const struct cache *cache, const struct buddyclient_range *range) {
        return cache_word(cache->area, cache_page(cache, range));
}

/* Threads begin at different slots, whose words lie in different cache lines. */
static inline unsigned cache_first_slot(void) {
        uint64_t thread = (uint64_t)(uintptr_t)__builtin_thread_pointer();
        return (unsigned)((thread * UINT64_C(0x9e3779b97f4a7c15)) >> 61);
}

static inline const struct cache_pulse *cache_pulse_of(const struct cache *cache) {
        return atomic_load_explicit(&cache->pulse, memory_order_acquire);
}

static inline bool cache_pulse_is_open(const struct cache_pulse *pulse) {
        return cache_pulse_beats(pulse) &&
               atomic_load_explicit(&pulse->pressure, memory_order_relaxed) == 0;
}

/* ---- Taking ---- */

/* Empties a slot: what was in it is ours. False: nothing was. */
static inline bool cache_empty_slot(_Atomic uint64_t *at, uint64_t *value) {
        *value = atomic_load_explicit(at, memory_order_relaxed);
        return *value != 0 && !(*value & CACHE_TAKEN_BACK) &&
               atomic_compare_exchange_strong(at, value, 0);
}

/* The word of a range that came out of a slot becomes that of its next use. Whoever emptied the slot is the only one who changes the
 * word: a plain store will do. False: it is not to be used. */
static inline bool cache_use(struct cache *cache, unsigned order, unsigned slot, uint64_t value,
        struct buddyclient_range *out) {
        _Atomic uint64_t *word = cache_word(cache->area, (uint32_t)(value >> 32));
        _Atomic uint64_t *hits = &cache->area->hits[order][slot];
        if (atomic_load_explicit(&cache->area->closed, memory_order_relaxed))
                return false;
        uint64_t seen = atomic_load_explicit(word, memory_order_acquire);
        if (!cache_word_is_of(seen, (uint32_t)value, order) ||
                (seen & (CACHE_IN_USE | CACHE_SHARED | CACHE_COUNTED)) != CACHE_COUNTED)
                return false;
        seen += UINT64_C(1) << CACHE_USE_SHIFT;
        atomic_store_explicit(word, seen | CACHE_IN_USE, memory_order_release);
        atomic_store_explicit(
                hits, atomic_load_explicit(hits, memory_order_relaxed) + 1, memory_order_relaxed);
        *out = (struct buddyclient_range){
                .offset = (value >> 32) << cache->page_shift,
                .length = UINT64_C(1) << (cache->page_shift + order),
                .generation = cache_word_name(seen),
        };
        return true;
}

/* Takes up to count ranges out; how many. */
static inline __attribute__((always_inline)) size_t cache_take(
        struct cache *cache, uint64_t length, size_t count, struct buddyclient_range *out) {
        unsigned order = cache_order(cache, length), first = cache_first_slot();
        uint32_t limit = atomic_load_explicit(&cache->limits[order], memory_order_relaxed);
        size_t taken = 0;
        if (!cache_pulse_beats(cache_pulse_of(cache)))
                return 0;
        for (unsigned i = 0; i < limit; i++) {
                unsigned slot = cache_slot_index((first + i) & (limit - 1));
                uint64_t value;
                if (!cache_empty_slot(&cache->area->slots[order][slot], &value))
                        continue;
                if (!cache_use(cache, order, slot, value, &out[taken]))
                        return taken +
                               cache_take_others(cache, order, value, count - taken, &out[taken]);
                if (++taken == count)
                        break;
        }
        return taken;
}

/* ---- Returning ---- */

/* Whether a word is that of a range in use that is nobody else's, and can be used once more. All that a name must be is compared
 * with what the word has, whose range was granted: so it is a block, and aligned. */
static inline bool cache_word_is_mine(
        const struct cache *cache, const struct buddyclient_range *range, uint64_t word) {
        uint64_t order = cache_word_order(word);
        uint64_t name =
                (word & ~CACHE_GIFT) ^ order << CACHE_ORDER_SHIFT ^ (CACHE_IN_USE | CACHE_COUNTED);
        return name == range->generation && range->generation >> CACHE_USE_SHIFT < CACHE_USE_MAX &&
               range->length == UINT64_C(1) << (cache->page_shift + order) &&
               range->offset == (uint64_t)cache_page(cache, range) << cache->page_shift;
}

/* By the word as it was seen. False: it has changed. */
static inline bool cache_claim(_Atomic uint64_t *word, uint64_t seen) {
        return atomic_compare_exchange_strong(word, &seen, seen & ~CACHE_IN_USE);
}

/* What is put while somebody begins to wait, or the session ends: either that one sees it in the slot, or we see him. The pulse is
 * the one of before the claim: if it still beats there was one daemon all the while, to which a claimed range had no name, so
 * nobody else has become its holder. The next daemon may not have seen the claim. */
static inline bool cache_stays_put(const struct cache *cache, const struct cache_pulse *pulse,
        _Atomic uint64_t *at, uint64_t value) {
        /* Behind a sequentially consistent exchange. */
        bool open = cache_pulse_beats(pulse) && atomic_load(&pulse->pressure) == 0 &&
                    atomic_load(&cache->area->closed) == 0;
        return open || !atomic_compare_exchange_strong(at, &value, 0);
}

/* Puts a value into one of the slots that were not tried. CACHE_RELEASED, CACHE_RELEASED_FULL; CACHE_NO_ROOM; CACHE_BY_REQUEST:
 * it was put, and taken out again, as it is wanted elsewhere. */
static inline __attribute__((always_inline)) enum cache_release cache_fill(
        struct cache *cache, struct cache_putting *putting, uint64_t value) {
        uint32_t limit = atomic_load_explicit(&cache->limits[putting->order], memory_order_relaxed);
        unsigned first = cache_first_slot();
        while (putting->tried < limit) {
                unsigned slot = cache_slot_index((first + putting->tried++) & (limit - 1));
                _Atomic uint64_t *at = &cache->area->slots[putting->order][slot];
                uint64_t empty = 0;
                if (atomic_load_explicit(at, memory_order_relaxed) != 0 ||
                        !atomic_compare_exchange_strong(at, &empty, value))
                        continue;
                if (!cache_stays_put(cache, putting->pulse, at, value))
                        return CACHE_BY_REQUEST;
                return putting->tried == limit ? CACHE_RELEASED_FULL : CACHE_RELEASED;
        }
        return CACHE_NO_ROOM;
}

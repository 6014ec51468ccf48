/* One order of the allocator: its lock, and what changes its free set. Internal to core/buddy*.c.
 *
 * Invariant, whenever the lock is free: lowest[k] is the first page of the lowest set bit of order k,
 * or PAGE_NONE, and free_blocks is the number of set bits. All functions but order_lock need the lock,
 * and order_lowest without it is a hint. */
#pragma once

#include "buddy.h"

static inline void order_lock(struct buddy *buddy, unsigned order) {
        spinlock_lock(&buddy->orders[order].lock);
}

static inline void order_unlock(struct buddy *buddy, unsigned order) {
        spinlock_unlock(&buddy->orders[order].lock);
}

/* Locks first … last, upwards. */
static inline void order_lock_range(struct buddy *buddy, unsigned first, unsigned last) {
        for (unsigned order = first; order <= last; order++)
                order_lock(buddy, order);
}

static inline void order_unlock_range(struct buddy *buddy, unsigned first, unsigned last) {
        for (unsigned order = first; order <= last; order++)
                order_unlock(buddy, order);
}

static inline void order_lock_all(struct buddy *buddy) {
        order_lock_range(buddy, 0, buddy->order_count - 1);
}

static inline void order_unlock_all(struct buddy *buddy) {
        order_unlock_range(buddy, 0, buddy->order_count - 1);
}

/* What lowest[] holds: comparable by address, and says which order it is of. */
static inline uint64_t lowest_key(uint32_t page, unsigned order) {
        return (uint64_t)page << 8 | order;
}

static inline uint32_t lowest_key_page(uint64_t key) {
        return (uint32_t)(key >> 8);
}

static inline unsigned lowest_key_order(uint64_t key) {
        return (unsigned)key & 0xff;
}

static inline uint64_t order_lowest(const struct buddy *buddy, unsigned order) {
        return atomic_load_explicit(&buddy->lowest[order], memory_order_relaxed);
}

static inline void order_set_lowest(struct buddy *buddy, unsigned order, uint32_t page) {
        atomic_store_explicit(&buddy->lowest[order], lowest_key(page, order), memory_order_relaxed);
}

static inline uint32_t order_page(unsigned order, uint64_t block) {
        return (uint32_t)(block << order);
}

static inline bool order_has(const struct buddy *buddy, unsigned order, uint64_t block) {
        return bitmap_test(&buddy->orders[order].free, block);
}

static inline void order_push(struct buddy *buddy, unsigned order, uint64_t block) {
        struct buddy_order *set = &buddy->orders[order];
        bitmap_set(&set->free, block);
        set->free_blocks++;
        uint32_t page = order_page(order, block);
        if (lowest_key(page, order) < order_lowest(buddy, order))
                order_set_lowest(buddy, order, page);
}

/* Finds lowest again when everything below the given word of the bitmap is known to be clear. */
static inline void order_refresh_lowest(struct buddy *buddy, unsigned order, uint64_t word_index) {
        uint64_t next = bitmap_first_from_word(&buddy->orders[order].free, word_index);
        order_set_lowest(buddy, order, next == BITMAP_NONE ? PAGE_NONE : order_page(order, next));
}

/* Takes a free block out. */
static inline void order_remove(struct buddy *buddy, unsigned order, uint64_t block) {
        struct buddy_order *set = &buddy->orders[order];
        bitmap_clear(&set->free, block);
        set->free_blocks--;
        if (lowest_key(order_page(order, block), order) == order_lowest(buddy, order))
                order_refresh_lowest(buddy, order, block / BITMAP_WORD_BITS);
}

/* Puts a block in and merges it upwards; every order from this one up is locked. */
static inline void order_push_merging(struct buddy *buddy, unsigned order, uint64_t block) {
        for (; order_has(buddy, order, block ^ 1); order++, block /= 2)
                order_remove(buddy, order, block ^ 1);
        order_push(buddy, order, block);
}

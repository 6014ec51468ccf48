/* Units of a pool: pages, orders and blocks, and the arithmetic between them and bytes.
 *
 * A page is the smallest unit that is granted; its size is a power of two, 4 KiB or more. A block
 * of order k is 2^k pages that begin at a multiple of 2^k pages from the segment base. Page indexes
 * are 32 bits wide, so a pool has at most 2^32 - 1 pages (16 TiB of 4 KiB pages). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define ORDER_COUNT    32u        /* orders 0 … 31 */
#define PAGE_NONE      UINT32_MAX /* no page; also the largest possible page count */
#define PAGE_SHIFT_MIN 12u
#define PAGE_SHIFT_MAX 30u

/* One life of one block: where, how large, and which life. Plain data. */
struct block {
        uint32_t page;       /* index of the first page, a multiple of 2^order */
        uint32_t order;      /* log2 of the number of pages */
        uint32_t generation; /* which life of the block at this page; 0 is never granted */
};

/* log2 of the largest power of two <= n; n > 0. */
static inline unsigned log2_floor(uint64_t n) {
        return 63u - (unsigned)__builtin_clzll(n);
}

/* log2 of the smallest power of two >= n; n > 0. */
static inline unsigned log2_ceil(uint64_t n) {
        return n <= 1 ? 0u : log2_floor(n - 1) + 1u;
}

static inline bool is_power_of_two(uint64_t n) {
        return n != 0 && (n & (n - 1)) == 0;
}

/* Pages of a block of this order. */
static inline uint64_t order_pages(unsigned order) {
        return UINT64_C(1) << order;
}

/* Smallest order whose block holds length_bytes (> 0). May be >= ORDER_COUNT: check before use. */
static inline unsigned order_for_bytes(uint64_t length_bytes, unsigned page_shift) {
        unsigned shift = log2_ceil(length_bytes);
        return shift <= page_shift ? 0u : shift - page_shift;
}

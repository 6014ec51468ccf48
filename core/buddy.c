/* The allocator's life and its hot path: grant, batch, layout, return. Owns the mapping that holds the
 * bitmaps' words. Locks are taken upwards only; what each function holds is said where it is not
 * plain. The buddy of block i at order k is block i ^ 1; blocks outside of what was added are simply
 * never free, so no test for the ends of a region is needed when merging. */
#include "buddy.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "buddy_order.h"

#define CACHE_LINE 64u

/* One bit more than there are blocks: the block that the end of the pool cuts off can be asked for, and
 * is never free. */
static uint64_t order_bits(uint64_t pages_max, unsigned order) {
        return (pages_max >> order) + 1;
}

/* Bytes of one order's bitmap, in whole cache lines: no two locks guard words of one line. */
static size_t order_bytes(uint64_t pages_max, unsigned order) {
        size_t bytes = bitmap_bytes(order_bits(pages_max, order));
        return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

int buddy_init(struct buddy *buddy, uint64_t pages_max) {
        if (pages_max == 0 || pages_max > PAGE_NONE)
                return -EINVAL;
        unsigned order_count = log2_floor(pages_max) + 1;
        size_t memory_bytes = 0;
        for (unsigned order = 0; order < order_count; order++)
                memory_bytes += order_bytes(pages_max, order);
        char *memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
                return -ENOMEM;

        memset(buddy, 0, sizeof *buddy);
        buddy->pages_max = (uint32_t)pages_max;
        buddy->order_count = order_count;
        buddy->memory = memory;
        buddy->memory_bytes = memory_bytes;
        for (unsigned order = 0; order < ORDER_COUNT; order++)
                order_set_lowest(buddy, order, PAGE_NONE);
        for (unsigned order = 0; order < order_count; order++) {
                bitmap_init(&buddy->orders[order].free, order_bits(pages_max, order), memory);
                memory += order_bytes(pages_max, order);
        }
        return 0;
}

void buddy_deinit(struct buddy *buddy) {
        munmap(buddy->memory, buddy->memory_bytes);
        memset(buddy, 0, sizeof *buddy);
}

static inline uint64_t lesser(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

/* The least of the keys of orders first … last: where the lowest free block is. */
static inline uint64_t lowest_of(const struct buddy *buddy, unsigned first, unsigned last) {
        uint64_t best = order_lowest(buddy, first);
        for (unsigned order = first + 1; order <= last; order++)
                best = lesser(best, order_lowest(buddy, order));
        return best;
}

/* The same for all orders from first on, without locks: a hint. In groups of four, each with a running
 * minimum of its own: one chain of comparisons would be the longest part of a grant. */
static inline uint64_t lowest_hint(const struct buddy *buddy, unsigned first) {
        unsigned order = first & ~3u;
        uint64_t a = first > order ? UINT64_MAX : order_lowest(buddy, order);
        uint64_t b = first > order + 1 ? UINT64_MAX : order_lowest(buddy, order + 1);
        uint64_t c = first > order + 2 ? UINT64_MAX : order_lowest(buddy, order + 2);
        uint64_t d = order_lowest(buddy, order + 3);
        for (order += 4; order < buddy->order_count; order += 4) {
                a = lesser(a, order_lowest(buddy, order));
                b = lesser(b, order_lowest(buddy, order + 1));
                c = lesser(c, order_lowest(buddy, order + 2));
                d = lesser(d, order_lowest(buddy, order + 3));
        }
        return lesser(lesser(a, b), lesser(c, d));
}

/* Puts the upper halves of a block of order source into the orders below it, down to order, and
 * unlocks each as it is done. They are below all else that these orders hold. */
static void split_down(struct buddy *buddy, uint32_t page, unsigned source, unsigned order) {
        while (source-- > order) {
                order_push(buddy, source, (page >> source) + 1);
                order_unlock(buddy, source);
        }
}

int buddy_alloc(struct buddy *buddy, unsigned order, uint32_t *page) {
        if (order >= buddy->order_count)
                return -EINVAL;
        unsigned last = lowest_key_order(lowest_hint(buddy, order));
        order_lock_range(buddy, order, last);
        uint64_t key = lowest_of(buddy, order, last);
        while (lowest_key_page(key) == PAGE_NONE) {
                if (last + 1 == buddy->order_count) {
                        order_unlock_range(buddy, order, last);
                        return -ENOMEM;
                }
                order_lock(buddy, ++last);
                key = order_lowest(buddy, last);
        }

        uint32_t first_page = lowest_key_page(key);
        unsigned source = lowest_key_order(key);
        order_remove(buddy, source, first_page >> source);
        order_unlock_range(buddy, source, last);
        split_down(buddy, first_page, source, order);
        *page = first_page;
        return 0;
}

/* Locks upwards from order until what is free there is enough for count blocks, and says how far;
 * -ENOMEM, with nothing locked: all of it together is not. */
static int lock_enough(struct buddy *buddy, unsigned order, size_t count, unsigned *last) {
        uint64_t blocks = 0;
        for (unsigned k = order; k < buddy->order_count; k++) {
                order_lock(buddy, k);
                blocks += buddy->orders[k].free_blocks << (k - order);
                if (blocks >= count) {
                        *last = k;
                        return 0;
                }
        }
        order_unlock_range(buddy, order, buddy->order_count - 1);
        return -ENOMEM;
}

/* Takes up to count blocks out of the word of the bitmap with the lowest free block of this order, as far as
 * they lie below page limit. Returns how many. */
static size_t take_word(
        struct buddy *buddy, unsigned order, uint32_t limit, size_t count, uint32_t *pages) {
        struct buddy_order *set = &buddy->orders[order];
        uint64_t first = lowest_key_page(order_lowest(buddy, order)) >> order;
        uint64_t word_index = first / BITMAP_WORD_BITS;
        uint64_t word = bitmap_word(&set->free, 0, word_index);
        uint64_t taken = 0;
        size_t n = 0;
        while (word != 0 && n < count) {
                uint64_t block = word_index * BITMAP_WORD_BITS + (unsigned)__builtin_ctzll(word);
                uint32_t page = order_page(order, block);
                if (page > limit)
                        break;
                pages[n++] = page;
                taken |= word & -word;
                word &= word - 1;
        }
        bitmap_clear_mask(&set->free, word_index, taken);
        set->free_blocks -= n;
        order_refresh_lowest(buddy, order, word_index);
        return n;
}

/* Takes up to count blocks from the start of one larger block and puts what is left of it into the
 * orders between, each of which gets at most one piece. Returns how many. */
static size_t carve_block(
        struct buddy *buddy, unsigned source, unsigned order, size_t count, uint32_t *pages) {
        uint32_t first_page = lowest_key_page(order_lowest(buddy, source));
        size_t whole = (size_t)order_pages(source - order);
        size_t n = count < whole ? count : whole;
        order_remove(buddy, source, first_page >> source);
        for (size_t i = 0; i < n; i++)
                pages[i] = order_page(order, (first_page >> order) + i);
        for (uint64_t next = n; next < whole;) {
                unsigned piece = (unsigned)__builtin_ctzll(next);
                uint64_t block = (first_page >> order) + next;
                order_push(buddy, order + piece, block >> piece);
                next += order_pages(piece);
        }
        return n;
}

/* All locks from order up to what serves the whole batch are held throughout: that there is enough is
 * known before anything is taken, so nothing ever has to be given back. */
int buddy_alloc_many(struct buddy *buddy, unsigned order, size_t count, uint32_t *pages) {
        if (order >= buddy->order_count)
                return -EINVAL;
        unsigned last;
        int error = lock_enough(buddy, order, count, &last);
        if (error)
                return error;
        for (size_t done = 0; done < count;) {
                unsigned source = lowest_key_order(lowest_hint(buddy, order));
                if (source > last) {
                        order_lock_range(buddy, last + 1, source);
                        last = source;
                        source = lowest_key_order(lowest_of(buddy, order, last));
                }
                if (source > order) {
                        done += carve_block(buddy, source, order, count - done, pages + done);
                        continue;
                }
                uint32_t limit = PAGE_NONE;
                if (order + 1 < buddy->order_count)
                        limit = lowest_key_page(lowest_hint(buddy, order + 1));
                done += take_word(buddy, order, limit, count - done, pages + done);
        }
        order_unlock_range(buddy, order, last);
        return 0;
}

int buddy_alloc_layout(struct buddy *buddy, uint64_t page_count, uint64_t align_pages,
        uint32_t *page, unsigned *order) {
        if (page_count == 0 || !is_power_of_two(align_pages))
                return -EINVAL;
        unsigned fitting = log2_ceil(page_count > align_pages ? page_count : align_pages);
        if (fitting >= buddy->order_count)
                return -E2BIG;
        int error = buddy_alloc(buddy, fitting, page);
        if (error)
                return error;
        *order = fitting;
        return 0;
}

int buddy_free(struct buddy *buddy, uint32_t page, unsigned order) {
        if (order >= buddy->order_count || (page & (order_pages(order) - 1)) != 0 ||
                page + order_pages(order) > buddy->pages_max)
                return -EINVAL;
        uint64_t block = page >> order;
        order_lock(buddy, order);
        if (order_has(buddy, order, block)) {
                order_unlock(buddy, order);
                return -ESTALE;
        }
        while (order_has(buddy, order, block ^ 1)) {
                order_remove(buddy, order, block ^ 1);
                order_lock(buddy, order + 1);
                order_unlock(buddy, order);
                order++;
                block /= 2;
        }
        order_push(buddy, order, block);
        order_unlock(buddy, order);
        return 0;
}

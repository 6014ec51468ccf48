/* Looking at the allocator: totals, one block, the dump and the walk of all invariants. Every
 * function holds the locks of all orders it looks at, so what it sees is one instant. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "buddy_order.h"

void buddy_totals(struct buddy *buddy, struct buddy_totals *out) {
        struct buddy_totals totals = {.largest_free_order = -1};
        order_lock_all(buddy);
        totals.managed_pages = atomic_load_explicit(&buddy->managed_pages, memory_order_relaxed);
        for (unsigned order = 0; order < buddy->order_count; order++) {
                totals.free_blocks[order] = buddy->orders[order].free_blocks;
                totals.free_pages += totals.free_blocks[order] << order;
                if (totals.free_blocks[order] > 0)
                        totals.largest_free_order = (int)order;
        }
        order_unlock_all(buddy);
        *out = totals;
}

bool buddy_is_free(struct buddy *buddy, uint32_t page, unsigned order) {
        if (order >= buddy->order_count || page >= buddy->pages_max)
                return false;
        bool is_free = false;
        unsigned top = buddy->order_count - 1;
        order_lock_range(buddy, order, top);
        for (unsigned k = order; k <= top; k++)
                is_free = is_free || order_has(buddy, k, page >> k);
        order_unlock_range(buddy, order, top);
        return is_free;
}

/* Pages of a block that are from first on and before end. */
static uint64_t block_overlap(unsigned order, uint64_t block, uint64_t first, uint64_t end) {
        uint64_t begins = block << order, ends = (block + 1) << order;
        return (ends < end ? ends : end) - (begins > first ? begins : first);
}

/* Free pages of one order from first on and before end: only the blocks at both ends can stick out. */
static uint64_t order_free_pages_locked(
        const struct buddy *buddy, unsigned order, uint64_t first, uint64_t end) {
        uint64_t low = first >> order, high = (end - 1) >> order;
        uint64_t pages = 0;
        if (order_has(buddy, order, low))
                pages += block_overlap(order, low, first, end);
        if (high > low && order_has(buddy, order, high))
                pages += block_overlap(order, high, first, end);
        if (high > low + 1)
                pages += bitmap_count(&buddy->orders[order].free, low + 1, high) << order;
        return pages;
}

void buddy_count_free(
        struct buddy *buddy, const uint64_t *bounds, size_t count, uint64_t *free_pages) {
        order_lock_all(buddy);
        for (size_t i = 0; i < count; i++) {
                free_pages[i] = 0;
                for (unsigned order = 0; bounds[i] < bounds[i + 1] && order < buddy->order_count;
                        order++)
                        free_pages[i] +=
                                order_free_pages_locked(buddy, order, bounds[i], bounds[i + 1]);
        }
        order_unlock_all(buddy);
}

void buddy_dump(struct buddy *buddy, buddy_visit *visit, void *context) {
        order_lock_all(buddy);
        for (unsigned order = 0; order < buddy->order_count; order++) {
                const struct bitmap *set = &buddy->orders[order].free;
                for (uint64_t block = bitmap_find(set, 0); block != BITMAP_NONE;
                        block = bitmap_find(set, block + 1))
                        visit(context, order_page(order, block), order);
        }
        order_unlock_all(buddy);
}

/* Where the walk's verdict goes; the first fault stays. */
struct verdict {
        char *fault;
        size_t fault_bytes;
        uint64_t free_pages;
        int error;
};

__attribute__((format(printf, 2, 3))) static void verdict_fault(
        struct verdict *verdict, const char *format, ...) {
        if (verdict->error)
                return;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(verdict->fault, verdict->fault_bytes, format, arguments);
        va_end(arguments);
        verdict->error = -EUCLEAN;
}

/* One free block: its buddy is not free, and it lies in no larger free one. */
static void check_block(
        const struct buddy *buddy, unsigned order, uint64_t block, struct verdict *verdict) {
        uint64_t page = block << order;
        if (page + order_pages(order) > buddy->pages_max)
                verdict_fault(verdict,
                        "order %u: block at page %" PRIu64 " ends behind the last page", order,
                        page);
        if (order_has(buddy, order, block ^ 1))
                verdict_fault(verdict,
                        "order %u: block at page %" PRIu64 " is not merged with its buddy", order,
                        page);
        for (unsigned k = order + 1; k < buddy->order_count; k++) {
                if (order_has(buddy, k, page >> k))
                        verdict_fault(verdict,
                                "order %u: block at page %" PRIu64
                                " lies in a free block of order %u",
                                order, page, k);
        }
}

static void check_order(const struct buddy *buddy, unsigned order, struct verdict *verdict) {
        const struct buddy_order *set = &buddy->orders[order];
        if (!bitmap_consistent(&set->free)) {
                verdict_fault(
                        verdict, "order %u: the bitmap's summaries disagree with its words", order);
                return; /* a search in it could lead astray */
        }
        uint64_t blocks = 0;
        uint64_t first = bitmap_find(&set->free, 0);
        for (uint64_t block = first; block != BITMAP_NONE && !verdict->error;
                block = bitmap_find(&set->free, block + 1)) {
                check_block(buddy, order, block, verdict);
                blocks++;
        }
        uint32_t page = first == BITMAP_NONE ? PAGE_NONE : order_page(order, first);
        if (order_lowest(buddy, order) != lowest_key(page, order))
                verdict_fault(verdict,
                        "order %u: the hint is not the lowest free block, page %" PRIu32, order,
                        page);
        if (blocks != set->free_blocks)
                verdict_fault(verdict,
                        "order %u: %" PRIu64 " blocks are free, %" PRIu64 " are counted", order,
                        blocks, set->free_blocks);
        verdict->free_pages += blocks << order;
}

int buddy_check(struct buddy *buddy, char *fault, size_t fault_bytes) {
        struct verdict verdict = {.fault = fault, .fault_bytes = fault_bytes};
        order_lock_all(buddy);
        for (unsigned order = 0; order < buddy->order_count && !verdict.error; order++)
                check_order(buddy, order, &verdict);
        uint64_t managed_pages = atomic_load_explicit(&buddy->managed_pages, memory_order_relaxed);
        if (verdict.free_pages > managed_pages)
                verdict_fault(&verdict, "%" PRIu64 " pages are free, only %" PRIu64 " were added",
                        verdict.free_pages, managed_pages);
        order_unlock_all(buddy);
        return verdict.error;
}

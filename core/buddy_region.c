/* Runs of pages of any position and length: adding, claiming and returning them as aligned pieces.
 * Everything here holds every order's lock, looks at the whole run first and changes it only then,
 * so a refusal changes nothing. */
#include <errno.h>

#include "buddy_order.h"

/* Order of the largest aligned block that begins at page and fits in page_count pages. */
static unsigned piece_order(const struct buddy *buddy, uint64_t page, uint64_t page_count) {
        unsigned order = log2_floor(page_count);
        if (page != 0 && (unsigned)__builtin_ctzll(page) < order)
                order = (unsigned)__builtin_ctzll(page);
        return order < buddy->order_count ? order : buddy->order_count - 1;
}

static bool run_in_range(const struct buddy *buddy, uint64_t first_page, uint64_t page_count) {
        return page_count != 0 && page_count <= buddy->pages_max &&
               first_page <= buddy->pages_max - page_count;
}

/* The order of the free block that a page lies in; ORDER_COUNT: it is not free. */
static unsigned free_order_at(const struct buddy *buddy, uint64_t page) {
        for (unsigned order = 0; order < buddy->order_count; order++) {
                if (order_has(buddy, order, page >> order))
                        return order;
        }
        return ORDER_COUNT;
}

/* Whether any page of the run is free: its first one is, or a free block begins inside of it. */
static bool any_free(const struct buddy *buddy, uint64_t first_page, uint64_t page_count) {
        if (free_order_at(buddy, first_page) != ORDER_COUNT)
                return true;
        uint64_t end = first_page + page_count;
        for (unsigned order = 0; order < buddy->order_count; order++) {
                uint64_t next = (first_page + order_pages(order) - 1) >> order;
                if (next << order >= end)
                        break; /* so does every larger block */
                uint64_t found = bitmap_find(&buddy->orders[order].free, next);
                if (found != BITMAP_NONE && found << order < end)
                        return true;
        }
        return false;
}

/* Puts a run in as aligned pieces, each merged with what is free beside it. */
static void push_run_locked(struct buddy *buddy, uint64_t first_page, uint64_t page_count) {
        while (page_count > 0) {
                unsigned order = piece_order(buddy, first_page, page_count);
                order_push_merging(buddy, order, first_page >> order);
                first_page += order_pages(order);
                page_count -= order_pages(order);
        }
}

/* Puts a run in unless a page of it is free already, which is answered with taken_error. */
static int push_run(
        struct buddy *buddy, uint64_t first_page, uint64_t page_count, bool adds, int taken_error) {
        if (!run_in_range(buddy, first_page, page_count))
                return -EINVAL;
        int error = 0;
        order_lock_all(buddy);
        if (any_free(buddy, first_page, page_count)) {
                error = taken_error;
        } else {
                if (adds)
                        atomic_fetch_add_explicit(
                                &buddy->managed_pages, page_count, memory_order_relaxed);
                push_run_locked(buddy, first_page, page_count);
        }
        order_unlock_all(buddy);
        return error;
}

int buddy_add_region(struct buddy *buddy, uint64_t first_page, uint64_t page_count) {
        return push_run(buddy, first_page, page_count, true, -EEXIST);
}

void buddy_add_granted(struct buddy *buddy, uint64_t page_count) {
        atomic_fetch_add_explicit(&buddy->managed_pages, page_count, memory_order_relaxed);
}

int buddy_free_range(struct buddy *buddy, uint64_t first_page, uint64_t page_count) {
        return push_run(buddy, first_page, page_count, false, -ESTALE);
}

/* Whether every page of the run is free. */
static bool all_free(const struct buddy *buddy, uint64_t first_page, uint64_t page_count) {
        uint64_t end = first_page + page_count;
        for (uint64_t page = first_page; page < end;) {
                unsigned order = free_order_at(buddy, page);
                if (order == ORDER_COUNT)
                        return false;
                page = ((page >> order) + 1) << order;
        }
        return true;
}

bool buddy_run_is_free(struct buddy *buddy, uint64_t first_page, uint64_t page_count) {
        if (!run_in_range(buddy, first_page, page_count))
                return false;
        order_lock_all(buddy);
        bool is_free = all_free(buddy, first_page, page_count);
        order_unlock_all(buddy);
        return is_free;
}

int buddy_claim(struct buddy *buddy, uint64_t first_page, uint64_t page_count) {
        if (!run_in_range(buddy, first_page, page_count))
                return -EINVAL;
        order_lock_all(buddy);
        if (!all_free(buddy, first_page, page_count)) {
                order_unlock_all(buddy);
                return -EBUSY;
        }
        uint64_t end = first_page + page_count;
        for (uint64_t page = first_page; page < end;) {
                unsigned order = free_order_at(buddy, page);
                uint64_t block_page = page >> order << order;
                uint64_t block_end = block_page + order_pages(order);
                order_remove(buddy, order, page >> order);
                push_run_locked(buddy, block_page, page - block_page);
                if (block_end > end)
                        push_run_locked(buddy, end, block_end - end);
                page = block_end;
        }
        order_unlock_all(buddy);
        return 0;
}

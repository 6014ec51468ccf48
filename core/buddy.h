/* The buddy allocator: which page ranges of a segment are free. It knows page indexes only, keeps
 * its free sets in private memory outside the segment, and never touches a page.
 *
 * Per order there is one lock, one free count and one hierarchical bitmap of free blocks. Locks are
 * taken only upwards (order k before k + 1), so there is no deadlock, and a block that is being
 * split or merged is always under a held lock, so -ENOMEM is exact: it is answered only if at one
 * instant no free block of the order or above existed.
 *
 * Every function may be called from any thread at any time, but for init and deinit. The caller
 * owns what it was granted: that a block is freed once, whole and by its owner is the ledger's to
 * check (pool.h). Here a free is refused where that costs nothing, a run always, and what went
 * wrong nevertheless is found by buddy_check. */
#pragma once

#include <stdalign.h>
#include <stddef.h>

#include "bitmap.h"
#include "geometry.h"
#include "spinlock.h"

struct buddy_order {
        alignas(64) struct spinlock lock; /* guards the fields below */
        uint64_t free_blocks;             /* number of bits set */
        struct bitmap free;               /* bit i: block i of this order is free */
};

struct buddy {
        /* Per order: page << 8 | order of the lowest free block, page PAGE_NONE if there is none, so that the
         * least of several says which order it is of. Written under the order's lock, read without as a hint. */
        alignas(64) _Atomic uint64_t lowest[ORDER_COUNT];
        struct buddy_order orders[ORDER_COUNT];
        uint32_t pages_max;             /* page indexes are below this; fixed */
        unsigned order_count;           /* orders that can exist below pages_max; fixed */
        _Atomic uint64_t managed_pages; /* pages added so far */
        void *memory;                   /* the bitmaps' words, one sparse private mapping; owned */
        size_t memory_bytes;
};

/* State of the free sets at one instant. */
struct buddy_totals {
        uint64_t managed_pages;
        uint64_t free_pages;
        uint64_t free_blocks[ORDER_COUNT];
        int largest_free_order; /* -1: nothing is free */
};

/* Prepares an allocator for page indexes 0 … pages_max - 1; nothing is managed yet. Takes 2 bits a
 * page of address space, touched only where used. -EINVAL: pages_max is 0 or over 2^32 - 1;
 * -ENOMEM. */
int buddy_init(struct buddy *buddy, uint64_t pages_max);
void buddy_deinit(struct buddy *buddy);

/* Adds free pages of any position and count, in aligned pieces that merge with what is there.
 * -EINVAL: empty or beyond pages_max; -EEXIST: a page of it is free already. */
int buddy_add_region(struct buddy *buddy, uint64_t first_page, uint64_t page_count);

/* Counts pages as managed and granted, for an allocator that is rebuilt: those of them that are free
 * are returned with buddy_free then. */
void buddy_add_granted(struct buddy *buddy, uint64_t page_count);

/* Grants one block of 2^order pages, the one at the lowest address that serves.
 * -EINVAL: no such order; -ENOMEM: none is free now. */
int buddy_alloc(struct buddy *buddy, unsigned order, uint32_t *page);

/* Grants count blocks of one order or none: the pages, in ascending order, that as many single grants would give.
 * Each lock is taken at most once and kept until the end, so whether there is enough is known before
 * anything is taken. pages is not written unless it is. Errors as buddy_alloc. */
int buddy_alloc_many(struct buddy *buddy, unsigned order, size_t count, uint32_t *pages);

/* Grants the smallest block that holds page_count pages at an alignment of align_pages (a power of
 * two; 1 for none). *order is the order to free it with. -EINVAL, -E2BIG: no order is that large,
 * -ENOMEM. */
int buddy_alloc_layout(struct buddy *buddy, uint64_t page_count, uint64_t align_pages,
        uint32_t *page, unsigned *order);

/* Takes exactly the pages first_page … first_page + page_count - 1 out of the free sets, splitting
 * what sticks out. -EINVAL: empty or out of range; -EBUSY: a page of it is not free (nothing is
 * changed). Holds every order's lock. */
int buddy_claim(struct buddy *buddy, uint64_t first_page, uint64_t page_count);

/* Returns one block and merges it upwards as far as its buddies are free.
 * -EINVAL: no such order, or a page that is not a multiple of its size or out of range;
 * -ESTALE: exactly this block is free (nothing is changed). Pages that are free in another shape, as
 * part of a larger block, are not noticed: who cannot be sure asks buddy_is_free or uses buddy_free_range. */
int buddy_free(struct buddy *buddy, uint32_t page, unsigned order);

/* Returns a run of pages that was claimed or granted, of any position and length. -EINVAL: empty or out
 * of range; -ESTALE: a page of it is free (nothing is changed). Holds every order's lock, so buddy_free
 * is the faster way back for what is one block. */
int buddy_free_range(struct buddy *buddy, uint64_t first_page, uint64_t page_count);

/* Consistent totals of all orders at one instant; holds every order's lock. */
void buddy_totals(struct buddy *buddy, struct buddy_totals *out);

/* True if the whole block is free (as itself or inside a larger free block). */
bool buddy_is_free(struct buddy *buddy, uint32_t page, unsigned order);

/* True if every page of the run is free, in whatever blocks, at one instant; holds every order's lock. False for an empty
 * run or one out of range. */
bool buddy_run_is_free(struct buddy *buddy, uint64_t first_page, uint64_t page_count);

/* How many pages of each of count cells are free: cell i is the pages from bounds[i] on and before bounds[i + 1], at most
 * pages_max. One instant; holds every order's lock, so the caller keeps the cells to some 2^15 pages in all. */
void buddy_count_free(
        struct buddy *buddy, const uint64_t *bounds, size_t count, uint64_t *free_pages);

/* Visits every free block in ascending page order within each order; holds every order's lock
 * during the walk, so the visitor must not call the allocator. */
typedef void buddy_visit(void *context, uint32_t page, unsigned order);
void buddy_dump(struct buddy *buddy, buddy_visit *visit, void *context);

/* Walks every invariant: summaries agree with words, counts with bits, hints with the lowest bit, no
 * two free blocks overlap, no two free buddies are unmerged, all below pages_max, free <= managed.
 * Returns 0, or -EUCLEAN with what is wrong in words. Holds every order's lock. */
int buddy_check(struct buddy *buddy, char *fault, size_t fault_bytes);

/* Linux's indexes over the totals. unusable: share of free memory that is not in blocks of at least
 * this order, 0 … 1 (0 when nothing is free). fragmentation: -1 if a block of this order is free, else 0 … 1
 * where 0 means a failure would be for lack of memory and 1 for fragmentation. */
double buddy_unusable_index(const struct buddy_totals *totals, unsigned order);
double buddy_fragmentation_index(const struct buddy_totals *totals, unsigned order);

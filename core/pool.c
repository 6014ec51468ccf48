/* Making and looking at a pool; its units. */
#include "pool_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int pool_fault(char *fault, size_t fault_bytes, const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(fault, fault_bytes, format, arguments);
        va_end(arguments);
        return -EUCLEAN;
}

/* Zeroed memory that costs nothing until it is touched; NULL when there is none. */
static void *sparse_new(size_t count, size_t size) {
        void *memory = mmap(NULL, count * size, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return memory == MAP_FAILED ? NULL : memory;
}

static void sparse_free(void *memory, size_t count, size_t size) {
        if (memory)
                munmap(memory, count * size);
}

static size_t chunk_count(const struct pool *pool) {
        return (size_t)((pool->pages_max + CHUNK_PAGES - 1) / CHUNK_PAGES);
}

static size_t link_count(const struct pool *pool) {
        return (size_t)pool->ledger.hold_count + LEDGER_KEYS;
}

static int pool_allocate(struct pool *pool) {
        pool->leases = sparse_new((size_t)pool->pages_max, sizeof *pool->leases);
        pool->links = sparse_new(link_count(pool), sizeof *pool->links);
        pool->holders = sparse_new(LEDGER_SESSIONS, sizeof *pool->holders);
        pool->backed = sparse_new(chunk_count(pool), sizeof *pool->backed);
        pool->buckets = sparse_new(STRIPE_COUNT * STRIPE_BUCKETS, sizeof *pool->buckets);
        pool->accounts = sparse_new(ACCOUNT_COUNT, sizeof *pool->accounts);
        if (!pool->leases || !pool->links || !pool->holders || !pool->backed || !pool->buckets ||
                !pool->accounts)
                return -ENOMEM;
        if (!pool->backing.commit_ledger)
                memset((void *)pool->backed, 1, chunk_count(pool));
        return 0;
}

int pool_new(const struct ledger *ledger, const struct pool_backing *backing, struct pool **out,
        char *fault, size_t fault_bytes) {
        struct pool *pool = aligned_alloc(alignof(struct pool), sizeof *pool);
        if (!pool)
                return -ENOMEM;
        memset(pool, 0, sizeof *pool);
        pool->ledger = *ledger;
        if (backing)
                pool->backing = *backing;
        pool->page_shift = ledger->header->page_shift;
        pool->pages_max = ledger->header->pages_max;
        pool->limits = (struct pool_limits){LIMIT_NONE, LIMIT_NONE, LIMIT_NONE, LIMIT_NONE,
                LIMIT_NONE, LIMIT_NONE, LIMIT_NONE, 0};
        int r = buddy_init(&pool->buddy, pool->pages_max);
        if (r < 0) {
                free(pool);
                return r;
        }
        r = pool_allocate(pool);
        if (r == 0)
                r = pool_recover(pool, fault, fault_bytes);
        if (r < 0) {
                pool_free(pool);
                return r;
        }
        *out = pool;
        return 0;
}

void pool_free(struct pool *pool) {
        if (!pool)
                return;
        sparse_free(pool->leases, (size_t)pool->pages_max, sizeof *pool->leases);
        sparse_free(pool->links, link_count(pool), sizeof *pool->links);
        sparse_free(pool->holders, LEDGER_SESSIONS, sizeof *pool->holders);
        sparse_free((void *)pool->backed, chunk_count(pool), sizeof *pool->backed);
        sparse_free(pool->buckets, STRIPE_COUNT * STRIPE_BUCKETS, sizeof *pool->buckets);
        sparse_free(pool->accounts, ACCOUNT_COUNT, sizeof *pool->accounts);
        buddy_deinit(&pool->buddy);
        free(pool);
}

uint64_t pool_pages(const struct pool *pool) {
        return ledger_load(&pool->ledger.header->pages);
}

uint64_t pool_pages_max(const struct pool *pool) {
        return pool->pages_max;
}

unsigned pool_page_shift(const struct pool *pool) {
        return pool->page_shift;
}

/* The header's figure is the commit: a kill behind it recovers to the larger pool. */
int pool_grow(struct pool *pool, uint64_t pages) {
        int r = -EINVAL;
        spinlock_lock(&pool->table_lock);
        uint64_t now = pool_pages(pool);
        if (pages > now && pages <= pool->pages_max) {
                ledger_store(&pool->ledger.header->pages_limit, pages);
                ledger_store(&pool->ledger.header->pages, pages);
                r = buddy_add_region(&pool->buddy, now, pages - now);
        }
        spinlock_unlock(&pool->table_lock);
        return r;
}

/* Pages that were added meanwhile were not looked at. */
bool pool_run_is_free(struct pool *pool, uint64_t first_page, uint64_t page_count) {
        uint64_t pages = pool_pages(pool);
        if (first_page >= pages)
                return false;
        uint64_t there = pages - first_page;
        return buddy_run_is_free(
                       &pool->buddy, first_page, page_count < there ? page_count : there) &&
               pool_pages(pool) == pages;
}

int pool_order_for(const struct pool *pool, uint64_t length_bytes, unsigned *order) {
        if (length_bytes == 0)
                return -EINVAL;
        unsigned wanted = order_for_bytes(length_bytes, pool->page_shift);
        if (wanted > log2_floor(pool->pages_max))
                return -E2BIG;
        *order = wanted;
        return 0;
}

int pool_block_of(const struct pool *pool, uint64_t offset_bytes, unsigned order,
        uint64_t generation, struct block *out) {
        uint64_t pages = pool_pages(pool), page = offset_bytes >> pool->page_shift;
        if (order >= ORDER_COUNT || order_pages(order) > pages ||
                page > pages - order_pages(order) ||
                (offset_bytes & (block_bytes(pool, order) - 1)) != 0 || generation == 0 ||
                generation > UINT32_MAX)
                return -EINVAL;
        *out = (struct block){
                .page = (uint32_t)page, .order = order, .generation = (uint32_t)generation};
        return 0;
}

int pool_block_at(const struct pool *pool, uint64_t offset_bytes, uint64_t length_bytes,
        uint64_t generation, struct block *out) {
        if (!is_power_of_two(length_bytes) || length_bytes >> pool->page_shift == 0)
                return -EINVAL;
        return pool_block_of(
                pool, offset_bytes, log2_floor(length_bytes) - pool->page_shift, generation, out);
}

void pool_totals(struct pool *pool, struct buddy_totals *out) {
        buddy_totals(&pool->buddy, out);
}

void pool_held_blocks(struct pool *pool, uint64_t held_blocks[ORDER_COUNT]) {
        for (unsigned order = 0; order < ORDER_COUNT; order++)
                held_blocks[order] =
                        atomic_load_explicit(&pool->held[order].blocks, memory_order_relaxed);
}

/* ---- Listing holds ---- */

struct hold_list {
        struct pool_hold *out;
        size_t count, max;
        uint32_t session;
        uint32_t now_s;
        bool full;
};

/* Blocks that one call looks at, at most: with a filter it might look at the whole pool for one hold. */
#define LIST_LOOK_MAX (64u * 1024)

/* A block that was granted after the listing began has a later clock. */
static uint32_t hold_age(const struct hold_list *list, uint32_t granted) {
        uint32_t since = granted & ~LEASE_MARK;
        return since < list->now_s ? list->now_s - since : 0;
}

static void hold_list_add(struct hold_list *list, const struct pool_hold *hold) {
        if (list->session && list->session != hold->session)
                return;
        if (list->count == list->max)
                list->full = true;
        else
                list->out[list->count++] = *hold;
}

static void hold_list_link_locked(
        const struct pool *pool, struct hold_list *list, struct block block, uint32_t index) {
        const struct hold_link *link = &pool->links[index];
        struct pool_hold hold = {
                .block = block, .session = link->session, .age_s = hold_age(list, link->granted)};
        if (index < pool->ledger.hold_count)
                hold.given = hold_unpack(ledger_load(&pool->ledger.holds[index])).given;
        else
                snprintf(hold.key, sizeof hold.key, "%s",
                        pool->ledger.keys[index - pool->ledger.hold_count].name);
        hold_list_add(list, &hold);
}

/* All holds of one block that is live in the life that was seen. Needs the stripe. */
static void hold_list_block_locked(struct pool *pool, struct hold_list *list, struct block block) {
        struct ledger_record record;
        if (block_state(pool, block, &record) < 0)
                return;
        uint32_t granted =
                atomic_load_explicit(&pool->leases[block.page].granted, memory_order_relaxed);
        struct pool_hold hold = {.block = block,
                .session = record.owner,
                .given = record.given,
                .age_s = hold_age(list, granted)};
        if (record.owner != OWNER_NONE)
                hold_list_add(list, &hold);
        for (uint32_t at = pool->leases[block.page].holds; at; at = pool->links[at - 1].page_next)
                hold_list_link_locked(pool, list, block, at - 1);
}

size_t pool_list_holds(
        struct pool *pool, uint32_t session, uint32_t *cursor, struct pool_hold *out, size_t max) {
        struct hold_list list = {
                .out = out, .max = max, .session = session, .now_s = pool_clock_s()};
        uint64_t pages = pool_pages(pool);
        uint64_t page = *cursor;
        struct block block;
        uint32_t owner;
        for (uint32_t looked = 0;; looked++) {
                if (looked == LIST_LOOK_MAX && page < pages) {
                        *cursor = (uint32_t)page;
                        return list.count;
                }
                if (!ledger_next_live(&pool->ledger, pages, &page, &block, &owner))
                        break;
                size_t before = list.count;
                spinlock_lock(stripe_of(pool, block.page));
                hold_list_block_locked(pool, &list, block);
                spinlock_unlock(stripe_of(pool, block.page));
                if (list.full && before > 0) {
                        *cursor = block.page;
                        return before;
                }
                list.full = false;
        }
        *cursor = PAGE_NONE;
        return list.count;
}

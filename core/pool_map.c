/* The pool as cells: how much of each is granted, and whose it is. Owns nothing.
 *
 * Anybody who may connect may ask for this, and a pool may have 2^32 pages. So each call is bounded by what it looks at and says
 * where the next one goes on. What is granted comes from the free sets, a few words of each order for thousands of
 * pages; whose it is comes from the ledger's records, read without any lock. */
#include "pool_private.h"

#define PAGES_A_CALL  (UINT64_C(1) << 22)
#define PAGES_A_LOCK  (UINT64_C(1) << 15)
#define CELLS_A_LOCK  64u
#define WORDS_A_CALL  (1u << 16)
#define HOLDS_SEEN    64u /* of a block without an owner, in search of one by a session */
#define SESSIONS_SEEN 16u /* of one cell, that are added up before they are told */

static uint64_t lesser(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

/* Behind the last page that there is of the cells. */
static uint64_t cells_end(const struct pool *pool, const struct pool_map_cells *cells) {
        return lesser(pool_pages(pool), cells->first + cells->count * cells->cell_pages);
}

static size_t cell_of(const struct pool_map_cells *cells, uint64_t page) {
        return (size_t)((page - cells->first) / cells->cell_pages);
}

static uint64_t cell_end(const struct pool_map_cells *cells, uint64_t page) {
        return cells->first + (cell_of(cells, page) + 1) * cells->cell_pages;
}

/* ---- From the free sets ---- */

/* Cells and parts of cells from page at on, as many as one holding of the locks may look at. */
static size_t pieces_from(const struct pool_map_cells *cells, uint64_t at, uint64_t end,
        uint64_t bounds[CELLS_A_LOCK + 1]) {
        size_t count = 0;
        end = lesser(end, at + PAGES_A_LOCK);
        bounds[0] = at;
        while (count < CELLS_A_LOCK && at < end) {
                at = lesser(end, cell_end(cells, at));
                bounds[++count] = at;
        }
        return count;
}

bool pool_map_granted(struct pool *pool, const struct pool_map_cells *cells, uint64_t *cursor,
        uint64_t *granted) {
        uint64_t end = cells_end(pool, cells), at = *cursor;
        uint64_t stop = lesser(end, at + PAGES_A_CALL);
        while (at < stop) {
                uint64_t bounds[CELLS_A_LOCK + 1], free_pages[CELLS_A_LOCK];
                size_t count = pieces_from(cells, at, stop, bounds);
                buddy_count_free(&pool->buddy, bounds, count, free_pages);
                for (size_t i = 0; i < count; i++)
                        granted[cell_of(cells, bounds[i])] +=
                                bounds[i + 1] - bounds[i] - free_pages[i];
                at = bounds[count];
        }
        *cursor = at;
        return at >= end;
}

/* ---- From the ledger ---- */

struct share_list {
        const struct pool_map_cells *cells;
        struct pool_map_share *shares;
        size_t count, max;
};

/* Room for one more, or that of the same session and cell among the last few. NULL: full. */
static struct pool_map_share *share_find(struct share_list *list, uint32_t cell, uint32_t session) {
        for (size_t back = 1; back <= list->count && back <= SESSIONS_SEEN; back++) {
                struct pool_map_share *share = &list->shares[list->count - back];
                if (share->cell == cell && share->session == session)
                        return share;
                if (share->cell != cell)
                        break;
        }
        if (list->count == list->max)
                return NULL;
        struct pool_map_share *share = &list->shares[list->count++];
        *share = (struct pool_map_share){.cell = cell, .session = session};
        return share;
}

/* Adds pages of one holder. Returns where it stopped: at end, or before where the list is full. */
static uint64_t shares_add(struct share_list *list, uint64_t page, uint64_t end, uint32_t session) {
        while (page < end) {
                uint64_t stop = lesser(end, cell_end(list->cells, page));
                struct pool_map_share *share =
                        share_find(list, (uint32_t)cell_of(list->cells, page), session);
                if (!share)
                        break;
                share->pages += stop - page;
                page = stop;
        }
        return page;
}

/* Whose a block is that has no owner: one of its further holders, a session before a key. */
static uint32_t holder_of(struct pool *pool, struct block block, uint32_t owner) {
        if (owner != OWNER_NONE)
                return owner;
        struct ledger_record record;
        uint32_t session = 0;
        spinlock_lock(stripe_of(pool, block.page));
        uint32_t link = block_state(pool, block, &record) == 0 ? pool->leases[block.page].holds : 0;
        for (unsigned i = 0; session == 0 && link != 0 && i < HOLDS_SEEN; i++) {
                session = pool->links[link - 1].session;
                link = pool->links[link - 1].page_next;
        }
        spinlock_unlock(stripe_of(pool, block.page));
        return session;
}

/* The head of the large block that a page lies in, else the start of its chunk: where a walk to that page begins. The words
 * inside a large block are free ones, so nothing in there looks like a head. */
static uint64_t walk_start(const struct pool *pool, uint64_t page) {
        for (unsigned order = pool->buddy.order_count; order-- > CHUNK_ORDER;) {
                uint64_t head = page >> order << order;
                uint64_t word = ledger_load(&pool->ledger.chunks[head >> CHUNK_ORDER]);
                if (ledger_unpack(word).order_plus_1 == order + 1)
                        return head;
        }
        return page >> CHUNK_ORDER << CHUNK_ORDER;
}

/* Lists what is live of one chunk, or of the large block that begins there, from page from on and before end. Returns
 * where to go on. */
static uint64_t shares_of_chunk(
        struct pool *pool, struct share_list *list, uint64_t at, uint64_t from, uint64_t end) {
        uint64_t chunk_end = (at | (CHUNK_PAGES - 1)) + 1;
        uint64_t limit = lesser(end, chunk_end);
        struct block block;
        uint32_t owner;
        while (ledger_next_live(&pool->ledger, limit, &at, &block, &owner)) {
                uint64_t begins = block.page > from ? block.page : from;
                uint64_t ends = lesser(end, block.page + order_pages(block.order));
                uint64_t done = begins < ends ? shares_add(list, begins, ends,
                                                        holder_of(pool, block, owner))
                                              : ends;
                if (done < ends)
                        return done;
        }
        return at > limit ? at : limit;
}

bool pool_map_shares(struct pool *pool, const struct pool_map_cells *cells, uint64_t *cursor,
        struct pool_map_share *shares, size_t max, size_t *count) {
        struct share_list list = {.cells = cells, .shares = shares, .max = max};
        uint64_t end = cells_end(pool, cells), from = *cursor;
        uint64_t at = from < end ? walk_start(pool, from) : from;
        for (unsigned words = 0; words < WORDS_A_CALL && at < end;) {
                uint64_t word = ledger_load(&pool->ledger.chunks[at >> CHUNK_ORDER]);
                words += ledger_unpack(word).order_plus_1 == CHUNK_SPLIT ? CHUNK_PAGES : 1;
                at = shares_of_chunk(pool, &list, at, from, end);
                if (list.count == max)
                        break;
        }
        *cursor = lesser(end, at > from ? at : from);
        *count = list.count;
        return at >= end;
}

/* A pool: the buddy allocator and the ledger as one thing. Sessions are granted blocks, hold them,
 * share them and return them; every operation either happens, also across a kill of the process, or
 * is refused and changes nothing. It knows no I/O: the caller maps the ledger's memory and backs it.
 *
 * Threads: every function but pool_init, pool_deinit and pool_check may be called from any thread; the
 * operations of one session may come from several threads. pool_check needs that nobody else is in
 * here.
 *
 * Locks, in this order: session (guards its lists of leases and holds and its counters; two sessions in the
 * order of their ids) → keys (guards the key slots) → stripe (by page; guards the transitions of a live
 * block and its chain of holds; two stripes in the order of their index) → table (guards the free slots of sessions and
 * holds, and the page count) → the buddy's order locks, upwards.
 *
 * Order of stores: a grant takes the block from the free sets, then writes the record (its commit), and links
 * it to the session last. A return writes the record free (its commit), then gives the block to the free
 * sets. So a record in the ledger is never also free, and what a kill leaves is what the records say. */
#pragma once

#include "buddy.h"
#include "ledger.h"

struct pool;

#define POOL_BATCH_MAX 4096u /* blocks in one call */

/* Backs memory before it is first used. Return 0 or a negative errno, which fails the grant with
 * -ENOSPC. NULL members: everything is backed already. Called without any lock of the pool's held. */
struct pool_backing {
        int (*commit_segment)(void *context, uint64_t offset_bytes, uint64_t length_bytes);
        int (*commit_ledger)(void *context, uint64_t offset_bytes, uint64_t length_bytes);
        void *context;
};

/* Takes a pool over as its ledger says: an empty one, or one that a predecessor left. The ledger is
 * validated as a whole before anything is changed. 0; -ENOMEM; -EUCLEAN: records contradict each
 * other, with what and where in fault; nothing was changed. */
int pool_new(const struct ledger *ledger, const struct pool_backing *backing, struct pool **out,
        char *fault, size_t fault_bytes);
void pool_free(struct pool *pool);

uint64_t pool_pages(const struct pool *pool);
uint64_t pool_pages_max(const struct pool *pool);
unsigned pool_page_shift(const struct pool *pool);

/* Whether nobody has a page of a run: each that the pool has was free at one instant during the call. False for a run behind the
 * pool's end. Whoever is granted one of the pages later finds all that was stored before this call. */
bool pool_run_is_free(struct pool *pool, uint64_t first_page, uint64_t page_count);

/* Adds pages up to pages_max. -EINVAL: not larger than now, or over pages_max. */
int pool_grow(struct pool *pool, uint64_t pages);

/* ---- Units: what a client names and what a block is ---- */

/* Order for a length. -EINVAL: zero; -E2BIG: longer than this pool can ever grant. */
int pool_order_for(const struct pool *pool, uint64_t length_bytes, unsigned *order);

/* The block that (offset, length, generation) can name. -EINVAL: not a block of this pool. */
int pool_block_at(const struct pool *pool, uint64_t offset_bytes, uint64_t length_bytes,
        uint64_t generation, struct block *out);

/* The same for one that is named by its order. */
int pool_block_of(const struct pool *pool, uint64_t offset_bytes, unsigned order,
        uint64_t generation, struct block *out);

/* ---- Sessions ---- */

struct pool_session_identity {
        uint8_t token[16];
        uint32_t pid, uid, gid;
        uint64_t start_time;
        bool read_only;
        char name[LEDGER_NAME_BYTES];
};

struct pool_session_info {
        struct pool_session_identity identity;
        uint32_t session;
        enum ledger_session_state state;
        uint64_t held_bytes;   /* of blocks that it holds, each counted once per hold */
        uint64_t held_ranges;  /* number of holds */
        uint64_t given_ranges; /* of them, such as peers gave */
};

/* Opens a session. It outlives this process only once it is confirmed: its client knows of it. Ids are not used again
 * until all others have been. -EAGAIN: no free slot. */
int pool_session_open(
        struct pool *pool, const struct pool_session_identity *identity, uint32_t *session);

void pool_session_confirm(struct pool *pool, uint32_t session);

/* What is known of a session. -ENOENT: no such session. */
int pool_session_info(struct pool *pool, uint32_t session, struct pool_session_info *out);

/* Next session in use after this id (0 to begin), or 0. */
uint32_t pool_session_next(struct pool *pool, uint32_t after);

/* Next live session of this name after this id (0 to begin), or 0. */
uint32_t pool_session_find(struct pool *pool, const char *name, uint32_t after);

/* Ends a session: from this store on it is granted nothing and recovery will finish the job. */
void pool_session_close(struct pool *pool, uint32_t session);

struct pool_reclaimed {
        uint64_t holds, bytes; /* holds dropped; bytes that became free */
};

/* Returns up to max_holds holds of a closing session; adds to *sum. True: nothing is left and the
 * slot is free. Cost in proportion to what was held. */
bool pool_session_reclaim(
        struct pool *pool, uint32_t session, size_t max_holds, struct pool_reclaimed *sum);

/* ---- Requests ---- */

/* Names the request of a session that is run next: every hold that a release, give, attach, lookup, publish or unpublish
 * changes from here on is a step of it, in the order of its blocks. Ids go up within a session; 0: no request. For the
 * thread that runs the session's requests. */
void pool_session_request(struct pool *pool, uint32_t session, uint64_t request);

/* How far they have come, also over a kill: the first `done` ranges of this request were changed, and all of every request
 * before it that was not refused. */
struct pool_progress {
        uint64_t request; /* modulo 2^41; 0: none yet */
        uint32_t done;
        bool has_block;
        struct block block; /* of the last of them, while the session holds it */
        uint32_t use;       /* that it is published by, if it is */
};
void pool_session_progress(struct pool *pool, uint32_t session, struct pool_progress *out);

/* ---- Grants and returns ---- */

/* Grants one block of this order. -ENOMEM: none is free now; -ENOSPC: one is, but there is no memory to back it;
 * -ESTALE: the session is closing. */
int pool_grant(struct pool *pool, uint32_t session, unsigned order, struct block *out);

/* Grants count blocks of one order, or none. */
int pool_grant_many(
        struct pool *pool, uint32_t session, unsigned order, size_t count, struct block *out);

/* Drops one hold of the session, one that it was granted or attached before one that it was given; the last one frees the
 * block (*freed). -EINVAL: never granted so, or an interior
 * page; -ESTALE: not held by this session (any more). */
int pool_release(struct pool *pool, uint32_t session, struct block block, bool *freed);

/* Drops one hold of each, or of none: all are looked at first. *bad is the index of the refused one. *freed: pages freed. */
int pool_release_many(struct pool *pool, uint32_t session, const struct block *blocks, size_t count,
        size_t *bad, uint64_t *freed_pages);

/* Whose record a live block's is: a session, or 0 if it is nobody's, or no such block lives. It may change at any time.
 * use: folded, by which name others know it; 0: that is not known. */
uint32_t pool_owner(struct pool *pool, struct block block, uint32_t *use);

/* Whether a session holds a block, as its owner or further. It may change at any time by requests of the session's, and by gifts. */
bool pool_session_holds(struct pool *pool, uint32_t session, struct block block);

/* Whether a session has a further hold of a block: one that does not come of its being the owner. */
bool pool_session_shares(struct pool *pool, uint32_t session, struct block block);

/* By which name others know a block that has an owner, from here on. */
void pool_name_block(struct pool *pool, struct block block, uint32_t use);

/* A block that is this session's alone, no further holder's and no key's, is known by no name any more. False: it is not. */
bool pool_unname_block(struct pool *pool, struct block block, uint32_t session);

/* Takes the owner's hold of a block from a session that does not use it; not a step of a request of its. -EINVAL, -ESTALE: the
 * record is not this session's. */
int pool_take_back(struct pool *pool, uint32_t session, struct block block, bool *freed);

/* Calls found for each block of which a session has a hold, as often as it has, with the use that pool_owner tells. With the session's
 * lock held: found may call pool_name_block alone. */
typedef void pool_found(void *context, struct block block, uint32_t use);
void pool_each_held(struct pool *pool, uint32_t session, pool_found *found, void *context);

/* The same for those whose record is this session's and that others hold, too: a client's return is not to wait for a look at all
 * that it holds. */
void pool_each_shared(struct pool *pool, uint32_t session, pool_found *found, void *context);

/* ---- Sharing ---- */

/* One more hold for this session on a live block. -EINVAL, -ESTALE as above; -ENOSPC: the hold table is full. */
int pool_attach(struct pool *pool, uint32_t session, struct block block);

/* The same, if the block is still of this owner, 0 being nobody. -EAGAIN: it is not. */
int pool_attach_of(struct pool *pool, uint32_t session, uint32_t owner, struct block block);

/* Moves one hold from a session to another; all or none. -ENOENT: no such peer. */
int pool_give_many(struct pool *pool, uint32_t session, const struct block *blocks, size_t count,
        uint32_t peer, size_t *bad);

/* Puts a block that the session holds under a key, which becomes a holder; a key that exists is moved to
 * the new block with one store. use: kept for whoever looks it up. -EACCES: it is another uid's; -EINVAL: name empty or too long; -ENOSPC. */
int pool_publish(
        struct pool *pool, uint32_t session, const char *key, struct block block, uint32_t use);

/* What a key names, at this moment. -ENOENT. */
int pool_key_block(struct pool *pool, const char *key, struct block *out);

/* Attaches the session to what is under the key. use may be NULL. -ENOENT. */
int pool_lookup(
        struct pool *pool, uint32_t session, const char *key, struct block *out, uint32_t *use);

/* Removes the key and its hold. -ENOENT, -EACCES. */
int pool_unpublish(struct pool *pool, uint32_t session, const char *key);

/* ---- Looking ---- */

/* A consistent look at the free sets; held = managed - free. */
void pool_totals(struct pool *pool, struct buddy_totals *out);

/* Live blocks per order, from counters: exact when nothing is under way. */
void pool_held_blocks(struct pool *pool, uint64_t held_blocks[ORDER_COUNT]);

/* One hold of a live block, as an operator sees it. */
struct pool_hold {
        struct block block;
        uint32_t session; /* 0: held by a key */
        bool given;       /* by a peer, not granted or attached */
        uint32_t age_s;   /* since it was granted, or since this daemon took the pool over */
        char key[LEDGER_KEY_BYTES]; /* empty unless held by a key */
};

/* Lists holds from page *cursor on, at most max (>= 64); session != 0: only this one's. The holds of
 * one block stay together: a block whose holds do not fit begins the next call. Moves *cursor
 * behind what was looked at, to PAGE_NONE at the end. A call looks at 65,536 blocks at most, so it may list
 * nothing and not be at the end. */
size_t pool_list_holds(
        struct pool *pool, uint32_t session, uint32_t *cursor, struct pool_hold *out, size_t max);

/* The pool as cells of cell_pages pages each, from page first on; the last ones may lie at or beyond the pool's end. */
struct pool_map_cells {
        uint64_t first, cell_pages;
        size_t count; /* first + count * cell_pages does not overflow */
};

/* So much of a cell is a session's; 0: a key's, of what no session holds. */
struct pool_map_share {
        uint32_t cell, session;
        uint64_t pages;
};

/* Adds to granted[cell] the pages that are granted, from page *cursor on, and moves *cursor behind what it looked at. A call looks at
 * 2^22 pages at most, and holds the order locks for 2^15 of them at a time: those are as at one instant. True: that was the
 * end of the cells or of the pool. */
bool pool_map_granted(
        struct pool *pool, const struct pool_map_cells *cells, uint64_t *cursor, uint64_t *granted);

/* The same from the ledger, with whose it is: who owns a block, else one of those who attached to it. A call reads 2^16 words at
 * most, and less if *count, of room for max (2 at least), is reached first. A cell's shares may come in several parts, by one session
 * more than once over several calls. */
bool pool_map_shares(struct pool *pool, const struct pool_map_cells *cells, uint64_t *cursor,
        struct pool_map_share *shares, size_t max, size_t *count);

/* What the walk looked at. */
struct pool_check_report {
        uint64_t pages, chunks, records, live_blocks, holds, keys, sessions, free_blocks;
        char fault[256]; /* empty: everything holds */
};

/* Walks every invariant of ledger, free sets and lists: each page is free or held, never both and never
 * twice; each live block has a holder; each list entry has its record and the other way round; counters agree.
 * 0 or -EUCLEAN. Nobody else may be in the pool. */
int pool_check(struct pool *pool, struct pool_check_report *report);

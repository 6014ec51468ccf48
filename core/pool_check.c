/* The walk of every invariant. Two passes: over the ledger, where each live block must be out of the free sets
 * and have its holders listed and what lies between them must be free blocks end to end; and over the lists, where each
 * entry must have its word. Counts tie the two to the free sets: held and free pages are disjoint and add up to all. */
#include "pool_private.h"

#include <errno.h>
#include <string.h>

struct pool_check {
        struct pool *pool;
        struct pool_check_report *report;
        uint64_t live_pages;
        uint64_t owned_blocks; /* live blocks whose record has an owner */
        uint64_t held_blocks[ORDER_COUNT];
};

#define CHECK_FAULT(check, ...)                                                                    \
        pool_fault((check)->report->fault, sizeof(check)->report->fault, __VA_ARGS__)

/* The pages between two held blocks are covered by free blocks, end to end. A free block that is not met so lies
 * elsewhere than in a gap, and then the pages do not add up. */
static int gap_check(struct pool_check *check, uint64_t page, uint64_t end) {
        struct buddy *buddy = &check->pool->buddy;
        while (page < end) {
                unsigned order = log2_floor(end - page);
                if (page != 0 && (unsigned)__builtin_ctzll(page) < order)
                        order = (unsigned)__builtin_ctzll(page);
                while (order > 0 && !bitmap_test(&buddy->orders[order].free, page >> order))
                        order--;
                if (!bitmap_test(&buddy->orders[order].free, page >> order))
                        return CHECK_FAULT(check, "page %llu: neither held nor free",
                                (unsigned long long)page);
                page += order_pages(order);
                check->report->free_blocks++;
        }
        return 0;
}

static int chain_check(struct pool_check *check, struct block block) {
        struct pool *pool = check->pool;
        for (uint32_t at = pool->leases[block.page].holds; at; at = pool->links[at - 1].page_next) {
                const struct hold_link *link = &pool->links[at - 1];
                bool key = at - 1 >= pool->ledger.hold_count;
                uint64_t word =
                        key ? ledger_load(
                                      &pool->ledger.keys[at - 1 - pool->ledger.hold_count].range)
                            : ledger_load(&pool->ledger.holds[at - 1]);
                uint64_t want = key ? key_pack(block.page, key_use(word),
                                              at - 1 - (uint32_t)pool->ledger.hold_count)
                                    : hold_pack((struct ledger_hold){.session = link->session,
                                                        .page = block.page,
                                                        .given = hold_unpack(word).given},
                                              at - 1);
                if (word != want || link->page != block.page)
                        return CHECK_FAULT(check, "hold %u of page %u: word is %#llx, not %#llx",
                                at - 1, block.page, (unsigned long long)word,
                                (unsigned long long)want);
                check->report->holds += !key;
                check->report->keys += key;
        }
        return 0;
}

static int block_check(struct pool_check *check, struct block block, uint32_t owner) {
        struct pool *pool = check->pool;
        if (owner == OWNER_NONE && !pool->leases[block.page].holds)
                return CHECK_FAULT(check, "page %u, order %u: live, but nobody holds it",
                        block.page, block.order);
        check->report->live_blocks++;
        check->live_pages += order_pages(block.order);
        check->held_blocks[block.order]++;
        check->owned_blocks += owner != OWNER_NONE;
        return chain_check(check, block);
}

static int blocks_check(struct pool_check *check) {
        struct pool *pool = check->pool;
        uint64_t pages = pool_pages(pool);
        uint64_t page = 0, behind = 0;
        struct block block;
        uint32_t owner;
        while (ledger_next_live(&pool->ledger, pages, &page, &block, &owner)) {
                if (block.page < behind)
                        return CHECK_FAULT(check, "page %u: inside another held block", block.page);
                int r = gap_check(check, behind, block.page);
                behind = block.page + order_pages(block.order);
                if (r == 0 && behind > pages)
                        r = CHECK_FAULT(check, "page %u, order %u: beyond the pool's %llu pages",
                                block.page, block.order, (unsigned long long)pages);
                if (r == 0)
                        r = block_check(check, block, owner);
                if (r < 0)
                        return r;
        }
        int r = gap_check(check, behind, pages);
        if (r < 0)
                return r;
        check->report->pages = pages;
        check->report->chunks = (pages + CHUNK_PAGES - 1) >> CHUNK_ORDER;
        for (uint64_t chunk = 0; chunk < check->report->chunks; chunk++)
                if (ledger_load(&pool->ledger.chunks[chunk]) >> 58 == CHUNK_SPLIT)
                        check->report->records += CHUNK_PAGES;
        return 0;
}

/* ---- Lists ---- */

struct session_sum {
        uint64_t bytes, leases, holds, given, given_bytes, given_holds;
};

/* The live block whose head is at page, if there is one. */
static bool head_at(const struct pool *pool, uint32_t page, struct block *block, uint32_t *owner) {
        uint64_t at = page;
        return ledger_next_live(&pool->ledger, (uint64_t)page + 1, &at, block, owner);
}

static int leases_check(struct pool_check *check, uint32_t session, struct session_sum *sum) {
        struct pool *pool = check->pool;
        uint32_t previous = 0;
        for (uint32_t at = pool->holders[session].first_lease; at; at = pool->leases[at - 1].next) {
                struct block block;
                uint32_t owner;
                if (!head_at(pool, at - 1, &block, &owner) || owner != session)
                        return CHECK_FAULT(check,
                                "session %u: lists page %u, which it does not own", session,
                                at - 1);
                if (pool->leases[at - 1].prev != previous || sum->leases > check->owned_blocks)
                        return CHECK_FAULT(
                                check, "session %u: broken list at page %u", session, at - 1);
                previous = at;
                sum->leases++;
                bool given =
                        ledger_unpack(ledger_load(block_word(pool, block.page, block.order))).given;
                sum->given += given;
                sum->given_bytes += given ? block_bytes(pool, block.order) : 0;
                sum->bytes += block_bytes(pool, block.order);
        }
        return 0;
}

static int holds_check(struct pool_check *check, uint32_t session, struct session_sum *sum) {
        struct pool *pool = check->pool;
        uint32_t previous = 0;
        for (uint32_t at = pool->holders[session].first_hold; at; at = pool->links[at - 1].next) {
                const struct hold_link *link = &pool->links[at - 1];
                struct block block;
                uint32_t owner;
                uint64_t word = ledger_load(&pool->ledger.holds[at - 1]);
                if (word == 0 || hold_unpack(word).session != session ||
                        hold_unpack(word).page != link->page ||
                        !head_at(pool, link->page, &block, &owner))
                        return CHECK_FAULT(check, "session %u: lists hold %u, which is not its",
                                session, at - 1);
                if (link->prev != previous || sum->holds > check->report->holds)
                        return CHECK_FAULT(
                                check, "session %u: broken list at hold %u", session, at - 1);
                previous = at;
                sum->holds++;
                bool given = hold_unpack(word).given;
                sum->given += given;
                sum->given_holds += given;
                sum->given_bytes += given ? block_bytes(pool, block.order) : 0;
                sum->bytes += block_bytes(pool, block.order);
        }
        return 0;
}

static int session_check(struct pool_check *check, uint32_t session, struct session_sum *total) {
        const struct holder *holder = &check->pool->holders[session];
        struct session_sum sum = {0};
        int r = leases_check(check, session, &sum);
        if (r == 0)
                r = holds_check(check, session, &sum);
        if (r < 0)
                return r;
        if (sum.bytes != holder->held_bytes || sum.leases + sum.holds != holder->held_ranges)
                return CHECK_FAULT(check,
                        "session %u: counts %llu bytes in %llu ranges, lists %llu in %llu", session,
                        (unsigned long long)holder->held_bytes,
                        (unsigned long long)holder->held_ranges, (unsigned long long)sum.bytes,
                        (unsigned long long)(sum.leases + sum.holds));
        if (sum.given != holder->given_ranges || sum.given_bytes != holder->given_bytes ||
                sum.given_holds != holder->given_holds || sum.holds != holder->hold_words)
                return CHECK_FAULT(check,
                        "session %u: counts %llu gifts of %llu bytes, lists %llu of %llu", session,
                        (unsigned long long)holder->given_ranges,
                        (unsigned long long)holder->given_bytes, (unsigned long long)sum.given,
                        (unsigned long long)sum.given_bytes);
        total->leases += sum.leases;
        total->holds += sum.holds;
        return 0;
}

static int sessions_check(struct pool_check *check) {
        struct session_sum total = {0};
        for (uint32_t session = 1; session < LEDGER_SESSIONS; session++) {
                if (ledger_load(&check->pool->ledger.sessions[session].state) >> 56 == SESSION_FREE)
                        continue;
                check->report->sessions++;
                int r = session_check(check, session, &total);
                if (r < 0)
                        return r;
        }
        if (total.leases != check->owned_blocks || total.holds != check->report->holds)
                return CHECK_FAULT(check,
                        "%llu owned blocks and %llu holds, %llu and %llu of them listed",
                        (unsigned long long)check->owned_blocks,
                        (unsigned long long)check->report->holds, (unsigned long long)total.leases,
                        (unsigned long long)total.holds);
        return 0;
}

static int totals_check(struct pool_check *check) {
        struct buddy_totals totals;
        buddy_totals(&check->pool->buddy, &totals);
        for (unsigned order = 0; order < ORDER_COUNT; order++) {
                uint64_t counted = atomic_load_explicit(
                        &check->pool->held[order].blocks, memory_order_relaxed);
                if (counted != check->held_blocks[order])
                        return CHECK_FAULT(check,
                                "order %u: counts %llu held blocks, the ledger has %llu", order,
                                (unsigned long long)counted,
                                (unsigned long long)check->held_blocks[order]);
        }
        if (totals.free_pages + check->live_pages != check->report->pages ||
                totals.managed_pages != check->report->pages)
                return CHECK_FAULT(check, "%llu free and %llu held pages of %llu",
                        (unsigned long long)totals.free_pages,
                        (unsigned long long)check->live_pages,
                        (unsigned long long)check->report->pages);
        return 0;
}

/* Adds up, by uid, what sessions and keys hold. */
static int accounts_find_sessions(struct pool_check *check) {
        struct pool *pool = check->pool;
        for (uint32_t session = SESSION_OPERATOR + 1; session < pool->sessions_used; session++) {
                const struct holder *holder = &pool->holders[session];
                if (!holder->account)
                        continue;
                if (holder->account->uid != pool->ledger.sessions[session].uid)
                        return CHECK_FAULT(check, "session %u: is charged to uid %u, not to its %u",
                                session, holder->account->uid, pool->ledger.sessions[session].uid);
                struct account_found *found = &holder->account->found;
                found->bytes += holder->held_bytes;
                found->ranges += holder->held_ranges;
                found->given_bytes += holder->given_bytes;
                found->given_ranges += holder->given_ranges;
                found->holds += holder->hold_words;
                found->given_holds += holder->given_holds;
                found->clients++;
        }
        return 0;
}

static int accounts_find_keys(struct pool_check *check) {
        struct pool *pool = check->pool;
        for (uint32_t slot = 0; slot < pool->keys_used; slot++) {
                const struct ledger_key *key = &pool->ledger.keys[slot];
                uint64_t range = ledger_load(&key->range);
                struct block block;
                uint32_t owner;
                if (range == 0 || !head_at(pool, key_page(range), &block, &owner))
                        continue;
                struct account *account = account_find_locked(pool, key->uid);
                if (!account)
                        return CHECK_FAULT(check, "key %u: uid %u has no account", slot, key->uid);
                account->found.bytes += block_bytes(pool, block.order);
                account->found.ranges++;
                account->found.keys++;
        }
        return 0;
}

static int account_check(struct pool_check *check, const struct account *account) {
        const struct account_found *found = &account->found;
        if (account->bytes == found->bytes && account->ranges == found->ranges &&
                account->given_bytes == found->given_bytes &&
                account->given_ranges == found->given_ranges && account->holds == found->holds &&
                account->given_holds == found->given_holds && account->keys == found->keys &&
                account->clients == found->clients)
                return 0;
        return CHECK_FAULT(check,
                "uid %u: is charged %llu bytes in %llu ranges, %llu further holds, %llu clients "
                "and "
                "%llu keys, and has %llu in %llu, %llu, %llu and %llu (gifts: %llu bytes, %llu)",
                account->uid, (unsigned long long)account->bytes,
                (unsigned long long)account->ranges, (unsigned long long)account->holds,
                (unsigned long long)account->clients, (unsigned long long)account->keys,
                (unsigned long long)found->bytes, (unsigned long long)found->ranges,
                (unsigned long long)found->holds, (unsigned long long)found->clients,
                (unsigned long long)found->keys, (unsigned long long)account->given_bytes,
                (unsigned long long)found->given_bytes);
}

static int accounts_check(struct pool_check *check) {
        struct pool *pool = check->pool;
        for (uint32_t slot = 0; slot < pool->accounts_used; slot++)
                pool->accounts[slot].found = (struct account_found){0};
        int r = accounts_find_sessions(check);
        if (r == 0)
                r = accounts_find_keys(check);
        for (uint32_t slot = 0; slot < pool->accounts_used && r == 0; slot++)
                r = account_check(check, &pool->accounts[slot]);
        return r;
}

int pool_check(struct pool *pool, struct pool_check_report *report) {
        struct pool_check check = {.pool = pool, .report = report};
        memset(report, 0, sizeof *report);
        int r = buddy_check(&pool->buddy, report->fault, sizeof report->fault);
        if (r == 0)
                r = blocks_check(&check);
        if (r == 0)
                r = sessions_check(&check);
        if (r == 0)
                r = totals_check(&check);
        if (r == 0)
                r = accounts_check(&check);
        return r;
}

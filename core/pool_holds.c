/* Lists of leases and holds, all intrusive and by index, so that nothing here can fail for lack of memory
 * and nothing costs more than a few steps, however often a block is shared:
 *
 *   a session's leases, and its hold words   doubly linked; the session's lock
 *   a page's chain: hold words and keys      doubly linked; the stripe
 *   the index: groups by (page, session, given), in buckets that belong to one stripe each; the stripe
 *
 * Hold words of one group are interchangeable. Its head is in the bucket and counts them, the others hang on the head. */
#include "pool_private.h"

#include <errno.h>

/* ---- A session's leases ---- */

void lease_link_locked(struct pool *pool, uint32_t session, struct block block) {
        struct holder *holder = &pool->holders[session];
        struct lease *lease = &pool->leases[block.page];
        lease->prev = 0;
        lease->next = holder->first_lease;
        if (lease->next)
                pool->leases[lease->next - 1].prev = block.page + 1;
        holder->first_lease = block.page + 1;
        holder->held_bytes += block_bytes(pool, block.order);
        holder->held_ranges++;
}

void lease_unlink_locked(struct pool *pool, uint32_t session, uint32_t page, unsigned order) {
        struct holder *holder = &pool->holders[session];
        struct lease *lease = &pool->leases[page];
        if (lease->prev)
                pool->leases[lease->prev - 1].next = lease->next;
        else
                holder->first_lease = lease->next;
        if (lease->next)
                pool->leases[lease->next - 1].prev = lease->prev;
        lease->next = lease->prev = 0;
        holder->held_bytes -= block_bytes(pool, order);
        holder->held_ranges--;
}

/* ---- A session's hold words ---- */

void hold_link_locked(struct pool *pool, uint32_t session, uint32_t link, struct block block) {
        struct holder *holder = &pool->holders[session];
        struct hold_link *entry = &pool->links[link];
        entry->prev = 0;
        entry->next = holder->first_hold;
        if (entry->next)
                pool->links[entry->next - 1].prev = link + 1;
        holder->first_hold = link + 1;
        holder->hold_words++;
        holder->held_bytes += block_bytes(pool, block.order);
        holder->held_ranges++;
}

void hold_unlink_locked(struct pool *pool, uint32_t session, uint32_t link, unsigned order) {
        struct holder *holder = &pool->holders[session];
        struct hold_link *entry = &pool->links[link];
        if (entry->prev)
                pool->links[entry->prev - 1].next = entry->next;
        else
                holder->first_hold = entry->next;
        if (entry->next)
                pool->links[entry->next - 1].prev = entry->prev;
        holder->hold_words--;
        holder->held_bytes -= block_bytes(pool, order);
        holder->held_ranges--;
}

/* ---- A page's chain ---- */

void chain_add_locked(struct pool *pool, uint32_t page, uint32_t link) {
        struct hold_link *entry = &pool->links[link];
        entry->page = page;
        entry->page_prev = 0;
        entry->page_next = pool->leases[page].holds;
        if (entry->page_next)
                pool->links[entry->page_next - 1].page_prev = link + 1;
        pool->leases[page].holds = link + 1;
}

void chain_remove_locked(struct pool *pool, uint32_t page, uint32_t link) {
        struct hold_link *entry = &pool->links[link];
        if (entry->page_prev)
                pool->links[entry->page_prev - 1].page_next = entry->page_next;
        else
                pool->leases[page].holds = entry->page_next;
        if (entry->page_next)
                pool->links[entry->page_next - 1].page_prev = entry->page_prev;
}

/* ---- The index ---- */

static uint32_t *bucket_of(struct pool *pool, uint32_t page, uint32_t session, bool given) {
        uint32_t hash =
                (page ^ (session << 1 | given) * UINT32_C(0x9e3779b1)) * UINT32_C(0x85ebca6b);
        return &pool->buckets[stripe_index(page) * STRIPE_BUCKETS + (hash >> 24) % STRIPE_BUCKETS];
}

static bool group_is(const struct hold_link *entry, uint32_t page, uint32_t session, bool given) {
        return entry->page == page && entry->session == session && entry->given == given;
}

/* Where the head of a group is linked from; *place is 0 if there is no such group. */
static uint32_t *group_find(struct pool *pool, uint32_t page, uint32_t session, bool given) {
        uint32_t *place = bucket_of(pool, page, session, given);
        while (*place && !group_is(&pool->links[*place - 1], page, session, given))
                place = &pool->links[*place - 1].bucket_next;
        return place;
}

void index_add_locked(struct pool *pool, uint32_t link, uint32_t session, bool given) {
        struct hold_link *entry = &pool->links[link];
        uint32_t *place = group_find(pool, entry->page, session, given);
        entry->session = session;
        entry->given = given;
        entry->named = 0;
        entry->group_next = entry->bucket_next = 0;
        entry->group_count = 1;
        if (!*place) {
                *place = link + 1;
                return;
        }
        struct hold_link *head = &pool->links[*place - 1];
        entry->group_next = head->group_next;
        head->group_next = link + 1;
        head->group_count++;
}

/* Takes one of a group out, the head last: link + 1. 0: there is no such group. */
static uint32_t group_take(struct pool *pool, uint32_t page, uint32_t session, bool given) {
        uint32_t *place = group_find(pool, page, session, given);
        if (!*place)
                return 0;
        struct hold_link *head = &pool->links[*place - 1];
        uint32_t taken = head->group_next;
        if (taken) {
                head->group_next = pool->links[taken - 1].group_next;
                head->group_count--;
        } else {
                taken = *place;
                *place = head->bucket_next;
        }
        return taken;
}

uint32_t index_find_locked(struct pool *pool, uint32_t session, uint32_t page, bool given) {
        return *group_find(pool, page, session, given);
}

uint32_t hold_take_locked(
        struct pool *pool, uint32_t session, uint32_t page, struct ledger_record record) {
        if (record.owner == session && !record.given)
                return 0;
        uint32_t taken = group_take(pool, page, session, false);
        return taken ? taken : group_take(pool, page, session, true);
}

/* ---- Slots of hold words ---- */

int hold_slot_take(struct pool *pool, uint32_t session, uint32_t *link) {
        int r = 0;
        spinlock_lock(&pool->table_lock);
        if (pool->holds_taken < pool->ledger.hold_count)
                r = account_charge_hold_locked(pool, &pool->holders[session]);
        if (r == 0 && pool->free_hold) {
                *link = pool->free_hold - 1;
                pool->free_hold = pool->links[*link].page_next;
        } else if (r == 0 && pool->holds_used < pool->ledger.hold_count) {
                *link = pool->holds_used++;
        } else if (r == 0) {
                r = -ENOSPC;
        }
        pool->holds_taken += r == 0;
        spinlock_unlock(&pool->table_lock);
        return r;
}

void hold_slot_put(struct pool *pool, uint32_t link) {
        spinlock_lock(&pool->table_lock);
        pool->links[link].page_next = pool->free_hold;
        pool->links[link].session = 0;
        pool->free_hold = link + 1;
        pool->holds_taken--;
        spinlock_unlock(&pool->table_lock);
}

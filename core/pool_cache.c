/* What the daemon needs of the pool for ranges that their holders keep without using them: whose a block is, taking it back,
 * and which of a session's blocks others hold, too. */
#include "pool_private.h"

#include <errno.h>

uint32_t pool_owner(struct pool *pool, struct block block, uint32_t *use) {
        struct ledger_record record = {.owner = OWNER_NONE};
        spinlock_lock(stripe_of(pool, block.page));
        if (block_state(pool, block, &record) != 0)
                record = (struct ledger_record){.owner = OWNER_NONE};
        *use = record.owner == OWNER_NONE ? record.use : pool->leases[block.page].use;
        spinlock_unlock(stripe_of(pool, block.page));
        return record.owner;
}

bool pool_session_holds(struct pool *pool, uint32_t session, struct block block) {
        struct ledger_record record;
        spinlock_lock(stripe_of(pool, block.page));
        bool holds = block_state(pool, block, &record) == 0 &&
                     session_holds_locked(pool, session, block.page, record);
        spinlock_unlock(stripe_of(pool, block.page));
        return holds;
}

bool pool_session_shares(struct pool *pool, uint32_t session, struct block block) {
        struct ledger_record record;
        spinlock_lock(stripe_of(pool, block.page));
        bool shares = block_state(pool, block, &record) == 0 &&
                      (index_find_locked(pool, session, block.page, false) ||
                              index_find_locked(pool, session, block.page, true));
        spinlock_unlock(stripe_of(pool, block.page));
        return shares;
}

void pool_name_block(struct pool *pool, struct block block, uint32_t use) {
        struct ledger_record record;
        spinlock_lock(stripe_of(pool, block.page));
        if (block_state(pool, block, &record) == 0 && record.owner != OWNER_NONE)
                pool->leases[block.page].use = use_fold(use);
        spinlock_unlock(stripe_of(pool, block.page));
}

bool pool_unname_block(struct pool *pool, struct block block, uint32_t session) {
        struct ledger_record record;
        spinlock_lock(stripe_of(pool, block.page));
        bool sole = block_state(pool, block, &record) == 0 && record.owner == session &&
                    pool->leases[block.page].holds == 0;
        if (sole)
                pool->leases[block.page].use = 0;
        spinlock_unlock(stripe_of(pool, block.page));
        return sole;
}

/* No step of a request: the session does not know of it. */
int pool_take_back(struct pool *pool, uint32_t session, struct block block, bool *freed) {
        struct holder *holder = &pool->holders[session];
        struct pool_freed result = {.freed = false};
        struct ledger_record record;
        spinlock_lock(&holder->lock);
        spinlock_lock(stripe_of(pool, block.page));
        int r = block_state(pool, block, &record);
        if (r == 0 && record.owner != session)
                r = -ESTALE;
        if (r == 0) {
                holder_uncount_gift(holder, record.given,
                        (struct gift){.bytes = block_bytes(pool, block.order)});
                owner_drop_locked(pool, session, block, &result);
        }
        spinlock_unlock(stripe_of(pool, block.page));
        holder_unlock(holder);
        if (r < 0)
                return r;
        pool_free_block(pool, &result);
        *freed = result.freed;
        return 0;
}

/* What a session's list names lives, as its lock is held. */
static void found_tell(struct pool *pool, uint64_t page, pool_found *found, void *context) {
        struct block block;
        uint64_t at = page;
        uint32_t owner, use;
        if (!ledger_next_live(&pool->ledger, page + 1, &at, &block, &owner))
                return;
        pool_owner(pool, block, &use);
        found(context, block, use);
}

static bool page_is_shared(struct pool *pool, uint32_t page) {
        spinlock_lock(stripe_of(pool, page));
        bool shared = pool->leases[page].holds != 0;
        spinlock_unlock(stripe_of(pool, page));
        return shared;
}

void pool_each_held(struct pool *pool, uint32_t session, pool_found *found, void *context) {
        struct holder *holder = &pool->holders[session];
        spinlock_lock(&holder->lock);
        for (uint32_t at = holder->first_lease; at; at = pool->leases[at - 1].next)
                found_tell(pool, at - 1, found, context);
        for (uint32_t at = holder->first_hold; at; at = pool->links[at - 1].next)
                found_tell(pool, pool->links[at - 1].page, found, context);
        holder_unlock(holder);
}

void pool_each_shared(struct pool *pool, uint32_t session, pool_found *found, void *context) {
        struct holder *holder = &pool->holders[session];
        spinlock_lock(&holder->lock);
        for (uint32_t at = holder->first_lease; at; at = pool->leases[at - 1].next)
                if (page_is_shared(pool, at - 1))
                        found_tell(pool, at - 1, found, context);
        holder_unlock(holder);
}

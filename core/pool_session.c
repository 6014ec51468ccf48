/* Sessions: who holds. A slot is filled first and made valid by one store of its state; it is closing from
 * one store on, and free again once nothing names it. */
#include "pool_private.h"

#include <errno.h>
#include <string.h>

#define STATE_REST_MASK ((UINT64_C(1) << 56) - 1) /* flags and serial */

static uint64_t session_state_word(
        enum ledger_session_state state, unsigned flags, uint64_t serial) {
        return (uint64_t)state << 56 | (uint64_t)flags << 48 | (serial & ((UINT64_C(1) << 48) - 1));
}

static enum ledger_session_state session_state(const struct pool *pool, uint32_t session) {
        return (enum ledger_session_state)(
                ledger_load(&pool->ledger.sessions[session].state) >> 56);
}

static void session_set_state(
        struct pool *pool, uint32_t session, enum ledger_session_state state) {
        _Atomic uint64_t *word = &pool->ledger.sessions[session].state;
        ledger_store(word, (uint64_t)state << 56 | (ledger_load(word) & STATE_REST_MASK));
}

/* First free slot from where the serial points, and the serial that points there: an id comes back as late as
 * possible, also when daemons come and go in between, since the serial is in the ledger. 0: none is free. */
static uint32_t session_slot_find_locked(struct pool *pool, uint64_t *serial) {
        const uint32_t first = SESSION_OPERATOR + 1, count = LEDGER_SESSIONS - first;
        uint64_t next = ledger_load(&pool->ledger.header->next_serial);
        for (uint32_t i = 0; i < count; i++) {
                *serial = next + i;
                uint32_t slot = first + (uint32_t)((*serial - 1) % count);
                if (session_state(pool, slot) == SESSION_FREE)
                        return slot;
        }
        return 0;
}

static void session_write_locked(struct pool *pool, uint32_t slot, uint64_t serial,
        const struct pool_session_identity *identity) {
        struct ledger_session *entry = &pool->ledger.sessions[slot];
        memcpy(entry->token, identity->token, sizeof entry->token);
        entry->pid = identity->pid;
        entry->uid = identity->uid;
        entry->gid = identity->gid;
        entry->start_time = identity->start_time;
        memcpy(entry->name, identity->name, sizeof entry->name);
        entry->name[sizeof entry->name - 1] = 0;
        unsigned flags = identity->read_only ? SESSION_READ_ONLY : 0;
        entry->digest = ledger_session_digest(entry, flags, slot);
        atomic_store_explicit(&entry->progress, 0, memory_order_relaxed);
        atomic_store_explicit(&entry->step, 0, memory_order_relaxed);
        ledger_store(&pool->ledger.header->next_serial, serial + 1);
        ledger_store(&entry->state, session_state_word(SESSION_OPENING, flags, serial));
        if (slot >= pool->sessions_used)
                pool->sessions_used = slot + 1;
}

int pool_session_open(
        struct pool *pool, const struct pool_session_identity *identity, uint32_t *session) {
        spinlock_lock(&pool->table_lock);
        uint64_t serial;
        uint32_t slot = session_slot_find_locked(pool, &serial);
        int r = slot ? account_admit_session_locked(pool, identity->uid) : -EAGAIN;
        struct account *account = NULL;
        if (r == 0) {
                session_write_locked(pool, slot, serial, identity);
                account = account_join_locked(pool, identity->uid);
                atomic_fetch_add_explicit(&account->clients, 1, memory_order_relaxed);
                pool->sessions_open++;
        }
        spinlock_unlock(&pool->table_lock);
        if (r < 0)
                return r;
        spinlock_lock(&pool->holders[slot].lock);
        pool->holders[slot].account = account;
        pool->holders[slot].progress = (struct ledger_progress){0};
        pool->holders[slot].live = true;
        holder_unlock(&pool->holders[slot]);
        *session = slot;
        return 0;
}

int pool_session_info(struct pool *pool, uint32_t session, struct pool_session_info *out) {
        if (session == 0 || session >= LEDGER_SESSIONS)
                return -ENOENT;
        const struct ledger_session *entry = &pool->ledger.sessions[session];
        struct holder *holder = &pool->holders[session];
        spinlock_lock(&pool->table_lock);
        struct pool_session_info info = {.session = session, .state = session_state(pool, session)};
        if (info.state != SESSION_FREE) {
                memcpy(info.identity.token, entry->token, sizeof entry->token);
                memcpy(info.identity.name, entry->name, sizeof entry->name);
                info.identity.pid = entry->pid;
                info.identity.uid = entry->uid;
                info.identity.gid = entry->gid;
                info.identity.start_time = entry->start_time;
                info.identity.read_only = ledger_load(&entry->state) >> 48 & SESSION_READ_ONLY;
        }
        spinlock_unlock(&pool->table_lock);
        if (info.state == SESSION_FREE)
                return -ENOENT;
        spinlock_lock(&holder->lock);
        info.held_bytes = holder->held_bytes;
        info.held_ranges = holder->held_ranges;
        info.given_ranges = holder->given_ranges;
        holder_unlock(holder);
        *out = info;
        return 0;
}

uint32_t pool_session_next(struct pool *pool, uint32_t after) {
        spinlock_lock(&pool->table_lock);
        uint32_t slot = after + 1;
        while (slot < pool->sessions_used && session_state(pool, slot) == SESSION_FREE)
                slot++;
        if (slot >= pool->sessions_used)
                slot = 0;
        spinlock_unlock(&pool->table_lock);
        return slot;
}

void pool_session_confirm(struct pool *pool, uint32_t session) {
        struct holder *holder = &pool->holders[session];
        spinlock_lock(&holder->lock);
        if (session_state(pool, session) == SESSION_OPENING)
                session_set_state(pool, session, SESSION_LIVE);
        holder_unlock(holder);
}

uint32_t pool_session_find(struct pool *pool, const char *name, uint32_t after) {
        uint32_t found = 0;
        if (after < SESSION_OPERATOR)
                after = SESSION_OPERATOR;
        spinlock_lock(&pool->table_lock);
        for (uint32_t slot = after + 1; slot < pool->sessions_used && !found; slot++)
                if (session_state(pool, slot) == SESSION_LIVE &&
                        strcmp(pool->ledger.sessions[slot].name, name) == 0)
                        found = slot;
        spinlock_unlock(&pool->table_lock);
        return found;
}

void pool_session_close(struct pool *pool, uint32_t session) {
        struct holder *holder = &pool->holders[session];
        spinlock_lock(&holder->lock);
        atomic_store_explicit(&holder->request, 0, memory_order_relaxed);
        holder->live = false;
        if (session_state(pool, session) == SESSION_LIVE ||
                session_state(pool, session) == SESSION_OPENING)
                session_set_state(pool, session, SESSION_CLOSING);
        holder_unlock(holder);
}

/* Drops whichever hold comes first. False: the session has none. Needs the session. */
static bool session_drop_one_locked(struct pool *pool, uint32_t session, struct pool_freed *freed) {
        const struct holder *holder = &pool->holders[session];
        uint32_t page;
        if (holder->first_hold)
                page = pool->links[holder->first_hold - 1].page;
        else if (holder->first_lease)
                page = holder->first_lease - 1;
        else
                return false;
        spinlock_lock(stripe_of(pool, page));
        struct block block;
        uint32_t owner;
        uint64_t at = page;
        if (ledger_next_live(&pool->ledger, (uint64_t)page + 1, &at, &block, &owner))
                hold_drop_locked(pool, session, block, freed);
        spinlock_unlock(stripe_of(pool, page));
        return true;
}

/* Nothing is left of what it held. Needs the session and the table. */
static void session_leave_account_locked(struct pool *pool, struct holder *holder) {
        struct account *account = holder->account;
        if (!account)
                return;
        holder->account = NULL;
        atomic_fetch_sub_explicit(&account->clients, 1, memory_order_relaxed);
        account_leave_locked(pool, account);
        pool->sessions_open--;
}

bool pool_session_reclaim(
        struct pool *pool, uint32_t session, size_t max_holds, struct pool_reclaimed *sum) {
        struct holder *holder = &pool->holders[session];
        for (size_t i = 0; i < max_holds; i++) {
                struct pool_freed freed = {.freed = false};
                spinlock_lock(&holder->lock);
                bool dropped = session_drop_one_locked(pool, session, &freed);
                holder_unlock(holder);
                if (!dropped) {
                        spinlock_lock(&holder->lock);
                        spinlock_lock(&pool->table_lock);
                        session_leave_account_locked(pool, holder);
                        session_set_state(pool, session, SESSION_FREE);
                        spinlock_unlock(&pool->table_lock);
                        holder_unlock(holder);
                        return true;
                }
                pool_free_block(pool, &freed);
                sum->holds++;
                sum->bytes += freed.freed ? block_bytes(pool, freed.order) : 0;
        }
        return false;
}

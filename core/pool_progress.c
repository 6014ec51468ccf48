/* How far a session's requests have come, so that a client which lost the reply learns what has happened, each
 * range of it, whatever others do with the same ranges meanwhile.
 *
 * Of one step: (progress {request, 0}, if the request is new), step {word, page}, the store that changes the hold, progress
 * {request, done + 1}; all under the session's lock. The step counts only while its sequence is the progress's. A kill
 * before the change leaves the word as the step found it, a kill behind it as the step made it, and a hold changes
 * hands only under the lock of whoever has it: so the word tells which it was. */
#include "pool_private.h"

void pool_session_request(struct pool *pool, uint32_t session, uint64_t request) {
        atomic_store_explicit(&pool->holders[session].request, request & PROGRESS_REQUEST_MASK,
                memory_order_relaxed);
}

static void progress_store(struct pool *pool, uint32_t session, struct ledger_progress progress) {
        progress.sequence++;
        pool->holders[session].progress = progress;
        ledger_store(&pool->ledger.sessions[session].progress, progress_pack(progress, session));
}

void progress_begin_locked(
        struct pool *pool, uint32_t session, uint32_t page, uint32_t link_plus_1, bool taking) {
        struct holder *holder = &pool->holders[session];
        uint64_t request = atomic_load_explicit(&holder->request, memory_order_relaxed);
        if (request == 0)
                return;
        struct ledger_progress progress = holder->progress;
        if (progress.request != request) {
                progress.request = request;
                progress.done = 0;
                progress_store(pool, session, progress);
        }
        struct ledger_step step = {.page = page,
                .link_plus_1 = link_plus_1,
                .sequence = holder->progress.sequence,
                .taking = taking};
        ledger_store(&pool->ledger.sessions[session].step, step_pack(step, session));
}

void progress_done_locked(struct pool *pool, uint32_t session) {
        struct holder *holder = &pool->holders[session];
        if (atomic_load_explicit(&holder->request, memory_order_relaxed) == 0)
                return;
        struct ledger_progress progress = holder->progress;
        progress.done++;
        progress_store(pool, session, progress);
}

/* ---- After a kill ---- */

static uint64_t progress_word(const struct pool *pool, uint32_t session) {
        return ledger_load(&pool->ledger.sessions[session].progress);
}

static uint64_t step_word(const struct pool *pool, uint32_t session) {
        return ledger_load(&pool->ledger.sessions[session].step);
}

bool progress_is_sound(const struct pool *pool, uint32_t session) {
        uint64_t word = progress_word(pool, session), step = step_word(pool, session);
        struct ledger_progress progress = progress_unpack(word);
        if (word == 0)
                return step == 0;
        if (word != progress_pack(progress, session) || (step == 0 && progress.done > 0))
                return false;
        return step == 0 ||
               (step == step_pack(step_unpack(step), session) &&
                       step_unpack(step).page < pool_pages(pool) &&
                       step_unpack(step).link_plus_1 <= pool->ledger.hold_count + LEDGER_KEYS);
}

static bool record_is_sessions(const struct pool *pool, uint32_t page, uint32_t session) {
        uint64_t at = page;
        struct block block;
        uint32_t owner;
        return ledger_next_live(&pool->ledger, (uint64_t)page + 1, &at, &block, &owner) &&
               owner == session;
}

/* Whether the word that a step names has the hold that it takes or drops. */
static bool step_has_hold(const struct pool *pool, uint32_t session, struct ledger_step step) {
        if (step.link_plus_1 == 0)
                return record_is_sessions(pool, step.page, session);
        uint32_t link = step.link_plus_1 - 1;
        if (link >= pool->ledger.hold_count) {
                uint64_t range =
                        ledger_load(&pool->ledger.keys[link - pool->ledger.hold_count].range);
                return range != 0 && key_page(range) == step.page;
        }
        uint64_t word = ledger_load(&pool->ledger.holds[link]);
        struct ledger_hold hold = hold_unpack(word);
        return word != 0 && hold.session == session && hold.page == step.page;
}

static void session_progress_recover(struct pool *pool, uint32_t session) {
        uint64_t word = progress_word(pool, session);
        struct ledger_step step = step_unpack(step_word(pool, session));
        struct ledger_progress progress = progress_unpack(word);
        pool->holders[session].progress = progress;
        if (word == 0 || step_word(pool, session) == 0 || step.sequence != progress.sequence ||
                step_has_hold(pool, session, step) != step.taking)
                return;
        progress.done++;
        progress_store(pool, session, progress);
}

void progress_recover(struct pool *pool) {
        for (uint32_t session = 1; session < pool->sessions_used; session++)
                if (ledger_load(&pool->ledger.sessions[session].state) >> 56 != SESSION_FREE)
                        session_progress_recover(pool, session);
}

/* A lookup whose reply was lost found it under one of these keys. Needs the stripe. */
static uint32_t published_use_locked(const struct pool *pool, uint32_t page) {
        for (uint32_t at = pool->leases[page].holds; at; at = pool->links[at - 1].page_next)
                if (at - 1 >= pool->ledger.hold_count)
                        return key_use(ledger_load(
                                &pool->ledger.keys[at - 1 - pool->ledger.hold_count].range));
        return 0;
}

void pool_session_progress(struct pool *pool, uint32_t session, struct pool_progress *out) {
        struct holder *holder = &pool->holders[session];
        spinlock_lock(&holder->lock);
        uint64_t word = progress_word(pool, session), step = step_word(pool, session);
        struct ledger_progress progress = progress_unpack(word);
        *out = (struct pool_progress){.request = progress.request, .done = progress.done};
        uint32_t page = step_unpack(step).page, owner;
        uint64_t at = page;
        struct ledger_record record;
        spinlock_lock(stripe_of(pool, page));
        out->has_block = step != 0 && ledger_next_live(&pool->ledger, (uint64_t)page + 1, &at,
                                              &out->block, &owner);
        if (out->has_block && (block_state(pool, out->block, &record) != 0 ||
                                      !session_holds_locked(pool, session, page, record)))
                out->has_block = false;
        if (out->has_block)
                out->use = published_use_locked(pool, page);
        spinlock_unlock(stripe_of(pool, page));
        holder_unlock(holder);
}

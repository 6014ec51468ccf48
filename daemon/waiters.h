/* Those who wait for memory of one pool. One line per uid, first come first served; the lines take
 * turns, and a line whose head cannot be served now does not hold up the others.
 *
 * No wake-up is lost: who waits is counted before it tries once more, and who returns memory does so
 * before it looks at the count; both are sequentially consistent, so one of the two sees the other.
 *
 * Everything is guarded by the lock, which is held around pool_grant and so comes before the pool's. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "core/pool.h"
#include "list.h"

enum waiter_state {
        WAITER_OUT, /* in no line and not granted anything */
        WAITER_QUEUED,
        WAITER_GRANTED,     /* block is its session's */
        WAITER_TURNED_AWAY, /* nothing is granted any more */
        WAITER_REFUSED,     /* its turn came, and it may not have a block that is free: see error */
};

struct waiter {
        struct link in_line;
        struct waiter_line *line; /* while queued */
        enum waiter_state state;
        uint32_t session;
        unsigned order;
        uint64_t waited_ms; /* before it came here, in the line of an earlier daemon */
        uint64_t since_ms;  /* its place in its line; while queued */
        struct block block; /* once granted */
        int error;          /* once refused: -ENOSPC, no memory behind the block; -EDQUOT */
        /* Called with the lock held and possibly on another thread, once, when it was granted or refused later
         * than by waiters_enter itself. It may only hand the waiter on. */
        void (*settled)(struct waiter *waiter);
};

struct waiters {
        pthread_mutex_t lock;
        struct pool *pool;
        struct link lines;         /* of struct waiter_line; the first one's turn is next */
        _Atomic uint32_t count;    /* queued waiters; written under the lock */
        _Atomic uint64_t user_max; /* of one uid: QUOTA_NONE, QUOTA_SHARE or a figure */
};

int waiters_init(struct waiters *waiters, struct pool *pool);
void waiters_deinit(struct waiters *waiters);

/* Queues a waiter whose session, order and settled are set behind its uid's others, and serves whom it can.
 * 1: it was granted at once (and settled is not called); 0: it waits, and its memory must stay until it is settled or
 * withdrawn; -ENOSPC: refused, for want of memory behind a free block; -EDQUOT: over a limit of what it may hold;
 * -EUSERS: too many of its uid wait; -ESTALE: its session is closing; -ENOMEM. */
int waiters_enter(struct waiters *waiters, struct waiter *waiter, uint32_t uid);

#define WAITERS_AHEAD_MAX 100u /* no more are counted */

/* Takes a waiter out of its line. True: it had been settled before. Else *ahead, unless NULL, is how many of its
 * uid were in line before it, WAITERS_AHEAD_MAX at most. */
bool waiters_withdraw(struct waiters *waiters, struct waiter *waiter, unsigned *ahead);

/* Settles all who are queued without a grant. */
void waiters_turn_away(struct waiters *waiters);

/* For how long the one that waits longest has, with what it waited before it came here. 0: nobody waits. */
uint64_t waiters_oldest_ms(struct waiters *waiters);
/* How many of a uid wait. */
uint32_t waiters_of(struct waiters *waiters, uint32_t uid);

/* Whether anybody waits who is not of this uid. */
bool waiters_has_others(struct waiters *waiters, uint32_t uid);

/* Serves whom it can; to be called after memory was returned. */
void waiters_serve_now(struct waiters *waiters);

static inline uint32_t waiters_count(struct waiters *waiters) {
        return atomic_load_explicit(&waiters->count, memory_order_relaxed);
}

/* Orders what came before against the count. */
static inline void waiters_fence(struct waiters *waiters) {
#ifdef __SANITIZE_THREAD__ /* knows no fences; a read-modify-write of the count itself does as well */
        atomic_fetch_add(&waiters->count, 0);
#else
        (void)waiters;
        atomic_thread_fence(memory_order_seq_cst);
#endif
}

static inline void waiters_serve(struct waiters *waiters) {
        waiters_fence(waiters);
        if (atomic_load_explicit(&waiters->count, memory_order_seq_cst) != 0)
                waiters_serve_now(waiters);
}

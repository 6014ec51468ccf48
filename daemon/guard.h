/* Looks whether the segments are what the daemon made them: a client that may write to one can punch holes into it, and cut one short that
 * is in POSIX shared memory. What is missing is said and put back; the bytes that were there are lost. And gives the memory
 * back to the system that a crowd has left.
 *
 * It looks once a second while clients ask for anything, and then sleeps: until one asks again, or the kernel tells (inotify) that a file
 * has changed, which it does not of holes in a memfd. Runs on the main loop, but for guard_notice, and touches no pool. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct served_pool;
struct users;

enum guard_state {
        GUARD_ASLEEP,
        GUARD_QUIET, /* nobody asked since it looked */
        GUARD_BUSY,
};

struct guard {
        uv_timer_t timer;
        uv_async_t asked;
        uv_poll_t changed;
        int changes_fd; /* owned; -1: the kernel tells of nothing */
        bool blind;     /* not of a segment that can be cut: such a guard never sleeps */
        _Atomic(enum guard_state) state;
        struct served_pool *pools; /* the caller's */
        size_t pool_count;
        struct users *users;
};

/* With its last three fields set. 0 or -errno. */
int guard_init(struct guard *guard, uv_loop_t *loop);

/* Somebody is about to be served: it looks at once if it slept, or if the kernel has told of a change since it looked, and from
 * here on again. */
void guard_wake(struct guard *guard);

void guard_rouse(struct guard *guard);

/* The same from any thread, where it need not have looked when this returns. */
static inline void guard_notice(struct guard *guard) {
        if (atomic_load_explicit(&guard->state, memory_order_relaxed) != GUARD_BUSY)
                guard_rouse(guard);
}

/* Looks no more. */
void guard_stop(struct guard *guard);

/* When nobody notices anything any more. Its handles are closed once the loop has run. */
void guard_deinit(struct guard *guard);

/* Looks once a second, while anybody is connected, whether the segments are what the daemon made them: a client that may write to one can punch
 * holes into it, and cut one short that is in POSIX shared memory. What is missing is said and put back; the bytes that
 * were there are lost. And gives the memory back to the system that a crowd has left. Runs on the main loop, and touches no pool. */
#pragma once

#include <stddef.h>
#include <uv.h>

struct served_pool;
struct users;

struct guard {
        uv_timer_t timer;
        struct served_pool *pools; /* the caller's */
        size_t pool_count;
        struct users *users;
};

/* With its fields set, but for the timer. */
void guard_init(struct guard *guard, uv_loop_t *loop);

/* Somebody is about to be served: if nobody was there before, it looks at once, and from here on again. */
void guard_wake(struct guard *guard);

/* Its handle is closed once the loop has run. */
void guard_deinit(struct guard *guard);

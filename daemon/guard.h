/* Looks once a second whether the segments are what the daemon made them: a client that may write to one can punch
 * holes into it, and cut one short that is in POSIX shared memory. What is missing is said and put back; the bytes that
 * were there are lost. Runs on the main loop, and touches no pool. */
#pragma once

#include <stddef.h>
#include <uv.h>

struct served_pool;

struct guard {
        uv_timer_t timer;
        struct served_pool *pools; /* the caller's */
        size_t pool_count;
};

/* -errno of libuv. */
int guard_start(struct guard *guard, uv_loop_t *loop, struct served_pool *pools, size_t pool_count);

/* Its handle is closed once the loop has run. */
void guard_stop(struct guard *guard);

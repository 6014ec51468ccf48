/* Trims lazy pools by itself: what was free for longer than trim-after says. Belongs to the main thread, whose loop has the
 * timers; the work is done on a thread of libuv's. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

struct served_pool;

struct trimmer {
        struct served_pool *served;
        uv_timer_t timer;
        uv_work_t work;
        bool busy;              /* the work is under way */
        _Atomic bool cancelled; /* the daemon stops */
        uint32_t idle_s;        /* of the work under way */
        bool open;
};

/* Begins, if the pool is to be trimmed; the loop is the main thread's. */
void trimmer_start(struct trimmer *trimmer, uv_loop_t *loop, struct served_pool *served);

/* The pool's setting has changed. */
void trimmer_adjust(struct trimmer *trimmer);

/* Ends it; the loop then has to run once more. One that was never started is fine. */
void trimmer_stop(struct trimmer *trimmer);

/* The service manager's watchdog: it is told that the daemon is alive as long as every loop goes round. Each
 * loop is asked for a sign of life; once all have given it, the manager is notified, and at the next turn they are asked
 * again. One that hangs gives none, and the notifications end.
 *
 * Lives on the main loop, whose own turns are the timer's; the others answer from their threads. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct watchdog {
        uv_timer_t timer;
        bool active;
        unsigned loops;               /* how many are asked */
        _Atomic unsigned silent;      /* how many have not answered yet */
        void (*ask)(void *context);   /* makes each loop call watchdog_answer once, soon */
        void (*alive)(void *context); /* all have answered */
        void *context;
};

/* The interval that the service manager asks for, in milliseconds; 0: it has no watchdog on us. */
uint64_t watchdog_interval_ms(void);

/* Begins, with the first question asked at once; ask, alive, context and loops are set. 0 or -errno. */
int watchdog_start(struct watchdog *watchdog, uv_loop_t *loop, uint64_t interval_ms);

/* On a loop that was asked; its thread. */
void watchdog_answer(struct watchdog *watchdog);

/* Ends it, if it was started; the loop then has to run once more. */
void watchdog_stop(struct watchdog *watchdog);

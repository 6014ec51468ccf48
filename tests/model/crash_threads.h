/* Two operations on one scene as two threads of a controlled scheduler: coroutines in one OS thread. Each stops before every
 * store to the ledger, and where it waits for a lock or, if that is wanted, takes one; who goes on is the caller's choice, so that a run can be
 * repeated and varied at will. */
#pragma once

#include "crash_scene.h"

#define THREADS 2

/* Prepares to run the two; nothing of them has happened yet. */
void threads_start(
        struct scene *scene, const struct operation *const pair[THREADS], bool stop_at_locks);

/* Whether a thread can go on: it has not ended, and the lock that it waits for is free. */
bool thread_can_go_on(unsigned thread);

/* Whether it makes a difference that the other one goes on instead. It makes none between two notes of a session's
 * progress, which only a take-over reads: what the other would do there, it can do before or behind them. */
bool thread_has_choice(unsigned thread);

/* Runs a thread up to its next stop. True: it has made a store since. */
bool thread_go_on(unsigned thread);

/* Both ended. */
bool threads_ended(void);
int thread_result(unsigned thread);

/* Threads that wait for pages, give up and return them, all at once: nobody waits for ever while pages
 * are free, and nothing is left behind. Run it with -DBUDDYD_SANITIZE=thread to look for races. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "../core/pool_fixture.h"
#include "daemon/waiters.h"

#define THREADS 6
#define PAGES   4
#define TURNS   20000

struct sleeper {
        struct waiter waiter;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool granted; /* guarded by lock */
};

static struct pool_fixture fixture;
static struct waiters waiters;
static _Atomic unsigned grants, withdrawals;

static void sleeper_wake(struct waiter *waiter) {
        struct sleeper *sleeper = LINK_OWNER(waiter, struct sleeper, waiter);
        pthread_mutex_lock(&sleeper->lock);
        sleeper->granted = true;
        pthread_cond_signal(&sleeper->changed);
        pthread_mutex_unlock(&sleeper->lock);
}

static void sleeper_wait(struct sleeper *sleeper) {
        pthread_mutex_lock(&sleeper->lock);
        while (!sleeper->granted)
                pthread_cond_wait(&sleeper->changed, &sleeper->lock);
        pthread_mutex_unlock(&sleeper->lock);
}

/* True: the waiter was granted its block. */
static bool sleeper_turn(struct sleeper *sleeper, uint32_t uid, bool gives_up) {
        sleeper->granted = false;
        int result = waiters_enter(&waiters, &sleeper->waiter, uid);
        if (result != 0)
                return result == 1;
        if (gives_up && !waiters_withdraw(&waiters, &sleeper->waiter, NULL)) {
                atomic_fetch_add(&withdrawals, 1);
                return false;
        }
        sleeper_wait(sleeper);
        return true;
}

static void *thread_main(void *argument) {
        uint32_t self = (uint32_t)(size_t)argument;
        struct sleeper sleeper = {
                .waiter = {.session = fixture_session(&fixture, "sleeper", self % 3),
                        .settled = sleeper_wake},
                .lock = PTHREAD_MUTEX_INITIALIZER,
                .changed = PTHREAD_COND_INITIALIZER,
        };
        for (unsigned turn = 0; turn < TURNS; turn++) {
                sleeper.waiter.order = (turn + self) % 5 == 0 ? 1 : 0;
                if (!sleeper_turn(&sleeper, self % 3, (turn + self) % 7 == 0))
                        continue;
                sched_yield(); /* with the block in hand, so that others have to wait */
                bool freed;
                if (pool_release(fixture.pool, sleeper.waiter.session, sleeper.waiter.block,
                            &freed) != 0)
                        abort();
                waiters_serve(&waiters);
                atomic_fetch_add(&grants, 1);
        }
        return NULL;
}

int main(void) {
        pthread_t threads[THREADS];
        fixture_init(&fixture, PAGES, PAGES);
        if (waiters_init(&waiters, fixture.pool) != 0)
                return EXIT_FAILURE;
        for (size_t i = 0; i < THREADS; i++)
                if (pthread_create(&threads[i], NULL, thread_main, (void *)i) != 0)
                        return EXIT_FAILURE;
        for (size_t i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);

        struct pool_check_report report;
        struct buddy_totals totals;
        int fault = pool_check(fixture.pool, &report);
        pool_totals(fixture.pool, &totals);
        printf("%u grants, %u withdrawals; %u wait, %lu of %u pages free; %s\n", grants,
                withdrawals, waiters_count(&waiters), totals.free_pages, PAGES,
                fault ? report.fault : "sound");
        bool whole = grants + withdrawals == THREADS * TURNS && waiters_count(&waiters) == 0 &&
                     !link_used(&waiters.lines) && totals.free_pages == PAGES;
        waiters_deinit(&waiters);
        fixture_deinit(&fixture);
        return whole && fault == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

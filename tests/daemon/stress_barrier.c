/* Threads that ask for the barrier while others ask too: whoever has it is alone. */
#include "daemon/barrier.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 4
#define TURNS   20000

static struct barrier barrier;
static _Atomic bool asked[THREADS];
static _Atomic unsigned working, checks, violations;

static void work(unsigned self, unsigned turn) {
        atomic_fetch_add(&working, 1);
        if ((turn + self) % 64 == 0)
                sched_yield();
        atomic_fetch_sub(&working, 1);
}

static void check_alone(unsigned self) {
        barrier_claim(&barrier);
        for (unsigned i = 0; i < THREADS; i++)
                if (i != self)
                        atomic_store(&asked[i], true);
        barrier_await(&barrier);
        for (int i = 0; i < 10; i++)
                if (atomic_load(&working) != 0)
                        atomic_fetch_add(&violations, 1);
        atomic_fetch_add(&checks, 1);
        barrier_release(&barrier);
}

static void *thread_main(void *argument) {
        unsigned self = (unsigned)(size_t)argument;
        /* The first ends early: those that go on must not wait for it. */
        unsigned turns = self == 0 ? TURNS / 10 : TURNS;
        for (unsigned turn = 0; turn < turns; turn++) {
                if (atomic_exchange(&asked[self], false))
                        barrier_park(&barrier);
                work(self, turn);
                if (turn % 50 == 0)
                        check_alone(self);
        }
        barrier_retire(&barrier);
        return NULL;
}

int main(void) {
        pthread_t threads[THREADS];
        if (barrier_init(&barrier, THREADS) != 0)
                return 1;
        for (size_t i = 0; i < THREADS; i++)
                if (pthread_create(&threads[i], NULL, thread_main, (void *)i) != 0)
                        return 1;
        for (size_t i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        barrier_deinit(&barrier);
        unsigned expected = (THREADS - 1) * (TURNS / 50) + TURNS / 500;
        printf("%u checks of %u, %u found others at work\n", checks, expected, violations);
        return checks == expected && violations == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

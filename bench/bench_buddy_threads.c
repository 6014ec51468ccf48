#include "bench_buddy_threads.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS     2u
#define PAIRS       100000u
#define HELD        16u
#define HELD_ORDERS 5u

struct racer {
        pthread_t thread;
        unsigned cpu;
        uint64_t random;
        uint64_t allocations; /* to be made */
        uint64_t refused;
        double elapsed_ns;
};

static pthread_barrier_t start;

static void *run_pairs(void *context) {
        struct racer *racer = context;
        pin_thread(racer->cpu);
        pthread_barrier_wait(&start);
        double started_ns = clock_ns();
        for (uint64_t i = 0; i < racer->allocations; i++) {
                uint32_t page;
                if (buddy_alloc(&bench_buddy, 0, &page) == 0)
                        buddy_free(&bench_buddy, page, 0);
                else
                        racer->refused++;
        }
        racer->elapsed_ns = clock_ns() - started_ns;
        return NULL;
}

static void *run_mixed(void *context) {
        struct racer *racer = context;
        uint32_t pages[HELD];
        unsigned orders[HELD];
        size_t held = 0;
        pin_thread(racer->cpu);
        pthread_barrier_wait(&start);
        for (uint64_t done = 0; done < racer->allocations;) {
                if (held == HELD || (held > 0 && random_step(&racer->random) & 1)) {
                        held--;
                        buddy_free(&bench_buddy, pages[held], orders[held]);
                        continue;
                }
                orders[held] = (unsigned)(random_step(&racer->random) % HELD_ORDERS);
                if (buddy_alloc(&bench_buddy, orders[held], &pages[held]) == 0)
                        held++;
                else
                        racer->refused++;
                done++;
        }
        while (held-- > 0)
                buddy_free(&bench_buddy, pages[held], orders[held]);
        return NULL;
}

static void race(void *(*body)(void *), struct racer *racers, uint64_t allocations, uint64_t seed) {
        pthread_barrier_init(&start, NULL, THREADS);
        for (unsigned i = 0; i < THREADS; i++) {
                racers[i] =
                        (struct racer){.cpu = i, .random = seed + i, .allocations = allocations};
                if (pthread_create(&racers[i].thread, NULL, body, &racers[i]) != 0) {
                        fputs("bench_buddy: cannot start a thread\n", stderr);
                        exit(1);
                }
        }
        for (unsigned i = 0; i < THREADS; i++)
                pthread_join(racers[i].thread, NULL);
        pthread_barrier_destroy(&start);
}

struct measure case_two_threads(double held_share, uint64_t seed) {
        contender_buddy.open(BENCH_PAGES);
        uint32_t *pages = malloc(BENCH_PAGES * sizeof *pages);
        size_t held = 0;
        while (pages && held_share > 0 && buddy_alloc(&bench_buddy, 0, &pages[held]) == 0)
                held++;
        for (size_t rest = (size_t)((double)held * held_share); held > rest;) {
                size_t index = random_step(&seed) % held;
                buddy_free(&bench_buddy, pages[index], 0);
                pages[index] = pages[--held];
        }
        free(pages);
        struct racer racers[THREADS];
        race(run_pairs, racers, PAIRS, seed);
        contender_buddy.close();
        double ns = (racers[0].elapsed_ns + racers[1].elapsed_ns) / (2.0 * PAIRS);
        return (struct measure){.ns = ns};
}

uint64_t case_false_no_memory(uint64_t allocations, uint64_t seed) {
        contender_buddy.open(BENCH_PAGES);
        struct racer racers[THREADS];
        race(run_mixed, racers, allocations / THREADS, seed);
        contender_buddy.close();
        return racers[0].refused + racers[1].refused;
}

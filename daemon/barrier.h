/* Brings all workers but one to a halt outside of every pool, so that this one can look at a pool at
 * rest. Several may ask at once: they take turns, each standing still for the others. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

struct barrier {
        pthread_mutex_t lock; /* guards the fields below */
        pthread_cond_t changed;
        bool active;      /* somebody wants or has the others at rest */
        unsigned running; /* workers that take part */
        unsigned parked;  /* of those, how many stand still */
};

int barrier_init(struct barrier *barrier, unsigned workers);
void barrier_deinit(struct barrier *barrier);

/* Waits for its turn; from then on the caller must make the others call barrier_park soon. */
void barrier_claim(struct barrier *barrier);

/* Returns once all others stand still. */
void barrier_await(struct barrier *barrier);

/* Lets the others go on. */
void barrier_release(struct barrier *barrier);

/* Stands still while somebody has claimed the barrier. The caller is in no pool. */
void barrier_park(struct barrier *barrier);

/* A worker has ended and will not be in a pool again. */
void barrier_retire(struct barrier *barrier);

/* See barrier.h. */
#include "barrier.h"

int barrier_init(struct barrier *barrier, unsigned workers) {
        *barrier = (struct barrier){.running = workers};
        int error = pthread_mutex_init(&barrier->lock, NULL);
        if (error)
                return -error;
        error = pthread_cond_init(&barrier->changed, NULL);
        if (error)
                pthread_mutex_destroy(&barrier->lock);
        return -error;
}

void barrier_deinit(struct barrier *barrier) {
        pthread_cond_destroy(&barrier->changed);
        pthread_mutex_destroy(&barrier->lock);
}

static void barrier_park_locked(struct barrier *barrier) {
        if (!barrier->active)
                return;
        barrier->parked++;
        pthread_cond_broadcast(&barrier->changed);
        while (barrier->active)
                pthread_cond_wait(&barrier->changed, &barrier->lock);
        barrier->parked--;
}

void barrier_claim(struct barrier *barrier) {
        pthread_mutex_lock(&barrier->lock);
        barrier_park_locked(barrier);
        barrier->active = true;
        pthread_mutex_unlock(&barrier->lock);
}

void barrier_await(struct barrier *barrier) {
        pthread_mutex_lock(&barrier->lock);
        while (barrier->parked + 1 < barrier->running)
                pthread_cond_wait(&barrier->changed, &barrier->lock);
        pthread_mutex_unlock(&barrier->lock);
}

void barrier_release(struct barrier *barrier) {
        pthread_mutex_lock(&barrier->lock);
        barrier->active = false;
        pthread_cond_broadcast(&barrier->changed);
        pthread_mutex_unlock(&barrier->lock);
}

void barrier_park(struct barrier *barrier) {
        pthread_mutex_lock(&barrier->lock);
        barrier_park_locked(barrier);
        pthread_mutex_unlock(&barrier->lock);
}

void barrier_retire(struct barrier *barrier) {
        pthread_mutex_lock(&barrier->lock);
        barrier->running--;
        pthread_cond_broadcast(&barrier->changed);
        pthread_mutex_unlock(&barrier->lock);
}

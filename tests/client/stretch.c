/* See stretch.h. The counts are written by the one thread that beats, for as long as the process lives. */
#include "stretch.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define BEAT_MS 5
#define LATE_MS 20 /* that a busy machine may be with a beat */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Atomic int64_t still_ms;
static atomic_uint beats;

static int64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void pause_ms(long ms) {
        nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static void *beat(void *none) {
        for (int64_t last = now_ms(), now;; last = now) {
                pause_ms(BEAT_MS);
                now = now_ms();
                if (now - last > BEAT_MS + LATE_MS)
                        atomic_fetch_add(&still_ms, now - last - BEAT_MS);
                atomic_fetch_add(&beats, 1);
        }
        return none;
}

/* Returns when it beats. The program's signals are not for it. */
static void start(void) {
        pthread_t thread;
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        if (pthread_create(&thread, NULL, beat, NULL) != 0)
                abort();
        pthread_detach(thread);
        while (atomic_load(&beats) == 0)
                pause_ms(1);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct stretch stretch_begin(void) {
        pthread_once(&once, start);
        return (struct stretch){now_ms(), atomic_load(&still_ms)};
}

/* The beat that is under way has to end, which tells of a stall just now. */
uint64_t stretch_ms(const struct stretch *stretch) {
        int64_t took = now_ms() - stretch->begin_ms;
        if (took > LATE_MS) {
                for (unsigned seen = atomic_load(&beats); atomic_load(&beats) == seen;)
                        pause_ms(1);
                took -= atomic_load(&still_ms) - stretch->still_ms;
        }
        return took > 0 ? (uint64_t)took : 0;
}

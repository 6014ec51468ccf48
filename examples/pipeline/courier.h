/* The reader's courier thread: hands files to workers, takes answers from workers and writer, returns ranges to the
 * pool and draws the picture. It never waits for memory, and for nothing else but the next event. */
#pragma once

#include <pthread.h>

#include "flight.h"

struct courier {
        struct flight *flight;
        struct buddyclient *client; /* the reader's */
        int control;                /* to and from the supervisor */
        int settled;                /* from the writer */
        bool drill;                 /* still to be done, once … */
        uint64_t drill_after;       /* … so many answers have come */
        uint64_t answers;
        pthread_t thread;
};

/* Starts the thread. 0 or -errno. */
int courier_start(struct courier *courier);

/* Nothing is in flight: returns the last ranges and ends the thread. */
void courier_finish(struct courier *courier);

/* Tells the supervisor that all is done. 0, or -errno after one line. */
int courier_report(int control, const struct report *report);

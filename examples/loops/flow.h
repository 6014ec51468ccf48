/* Buffers that are taken, filled, checked and returned, many at a time, by a program that never waits: what both loops drive. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct buddyclient;

struct flow {
        struct buddyclient *client;
        uint64_t bytes; /* of a buffer */
        uint64_t left;  /* buffers that are still to be taken */
        uint64_t done;
        unsigned under_way;
        int error; /* the first, or 0 */
        /* Of the metronome, which shows whether the loop was ever held up. */
        struct timespec last_beat;
        double longest_pause_ms;
};

#define FLOW_BEAT_MS 10

/* Connects to the pool and begins with `at_once` of `count` buffers. 0 or a negative errno, which has been said. */
int flow_begin(struct flow *flow, const char *pool, uint64_t count, unsigned at_once);

/* To be called when the client's descriptor is readable. False: the flow has ended. */
bool flow_dispatch(struct flow *flow);

/* To be called every FLOW_BEAT_MS. */
void flow_beat(struct flow *flow);

/* Prints what was done. The exit status. */
int flow_end(struct flow *flow);

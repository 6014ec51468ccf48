/* Time of short slices of work, each beside slices of a yardstick: glibc's malloc + free of 4 KiB. The
 * machine's speed changes from one millisecond to the next, the ratio of neighbours does not. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define METER_SLICES_MAX 4096u

struct meter {
        double slices[METER_SLICES_MAX]; /* ns per operation */
        double yardsticks[METER_SLICES_MAX];
        size_t slice_count;
        size_t yardstick_count;
        double started_ns;
};

/* What one run came to: medians over its slices. */
struct measure {
        double ns;    /* per operation */
        double ratio; /* to the yardstick beside it; 0: there was none */
};

double clock_ns(void);
double median(double *values, size_t count); /* sorts values */

void meter_reset(struct meter *meter);

/* Brackets one slice. Slices beyond METER_SLICES_MAX replace earlier ones. */
void meter_start(struct meter *meter);
void meter_stop(struct meter *meter, size_t operations);

struct measure meter_result(struct meter *meter);

/* ns of one malloc + free of 4 KiB over a slice, measured here and now. */
double yardstick_slice(void);

/* Pins the calling thread to one CPU; silently leaves it where it is if that CPU does not exist. */
void pin_thread(unsigned cpu);

/* A small fast generator (xorshift); the state must not be 0. */
static inline uint64_t random_step(uint64_t *state) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

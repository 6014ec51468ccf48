/* Points in time on CLOCK_MONOTONIC, in nanoseconds, and how far off they are. */
#pragma once

#include <stdint.h>
#include <time.h>

#define DEADLINE_NONE   INT64_MAX
#define DEADLINE_PASSED INT64_C(0) /* one look, no waiting */

static inline int64_t deadline_now(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* timeout_ms from now; -1: never; 0 counts as 1, so that there is always one look. */
static inline int64_t deadline_after(int64_t timeout_ms) {
        if (timeout_ms < 0)
                return DEADLINE_NONE;
        return deadline_now() + (timeout_ms > 0 ? timeout_ms : 1) * 1000000;
}

/* Milliseconds until then, rounded up; 0: it has passed; -1: never. */
static inline int64_t deadline_left_ms(int64_t deadline) {
        if (deadline == DEADLINE_NONE)
                return -1;
        int64_t left = deadline - deadline_now();
        return left <= 0 ? 0 : (left + 999999) / 1000000;
}

/* For one that has passed: as long again as it passed unnoticed, at most a second. Who slept too long was stopped, and so
 * were those it depends on. */
static inline int64_t deadline_linger(int64_t deadline) {
        int64_t now = deadline_now(), late = now - deadline;
        return now + (late < 1000000000 ? late : 1000000000);
}

static inline struct timespec deadline_timespec(int64_t deadline) {
        return (struct timespec){
                .tv_sec = (time_t)(deadline / 1000000000),
                .tv_nsec = (long)(deadline % 1000000000),
        };
}

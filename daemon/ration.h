/* Warnings that a stranger can cause as often as it likes: a few at once, then one a second, with a count of those
 * that were left out. One ration for the whole daemon. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "log.h"
#include <stdint.h>

#define RATION_BURST 20u

struct ration {
        uint64_t full_ns;  /* when the whole burst is there again; monotonic clock */
        uint64_t left_out; /* since the last one that was let through */
};

/* True: one may be written now, and *left_out were not written since the last. Begins with zeroes. No lock. */
bool ration_take(struct ration *ration, uint64_t now_ns, uint64_t *left_out);

/* log_event, rationed. Any thread. */
void ration_event(enum log_event event, const struct log_subject *about, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Logs how many were left out and not told of yet, if any. */
void ration_end(void);

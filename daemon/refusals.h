/* Requests that a pool refused, by the peer's uid and by why. Counted where a refusal is sent, which a request that
 * succeeds never comes by. What was counted stays for the daemon's life.
 *
 * Everything is guarded by the lock, the innermost. */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/status.h"

#define REFUSALS_STATUSES 16u /* more than there are */

struct refusals_row {
        uint32_t uid;
        uint64_t since_ms; /* when it was first refused something; wall clock */
        uint64_t counts[REFUSALS_STATUSES];
};

struct refusals {
        pthread_mutex_t lock;
        struct refusals_row *rows; /* owned; by uid, ascending */
        size_t count, capacity;
};

/* 0 or -errno. */
int refusals_init(struct refusals *refusals);
void refusals_deinit(struct refusals *refusals);

/* Counts one. It is forgotten if there is no memory for the row of a uid that was never refused before. Any thread. */
void refusals_count(struct refusals *refusals, uint32_t uid, enum status status);

/* A copy of all rows, which the caller frees. -ENOMEM. Any thread. */
int refusals_copy(struct refusals *refusals, struct refusals_row **out, size_t *count);

/* See refusals.h. */
#include "refusals.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void refusals_deinit(struct refusals *refusals) {
        pthread_mutex_destroy(&refusals->lock);
        free(refusals->rows);
}

/* Index of the first row whose uid is not below this one. */
static size_t refusals_place(const struct refusals *refusals, uint32_t uid) {
        size_t low = 0, high = refusals->count;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (refusals->rows[middle].uid < uid)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static int refusals_reserve_locked(struct refusals *refusals) {
        if (refusals->count < refusals->capacity)
                return 0;
        size_t capacity = refusals->capacity ? 2 * refusals->capacity : 8;
        struct refusals_row *rows = reallocarray(refusals->rows, capacity, sizeof(*refusals->rows));
        if (!rows)
                return -ENOMEM;
        refusals->rows = rows;
        refusals->capacity = capacity;
        return 0;
}

/* With room for the first rows, so that a refusal takes no memory that is not given back. */
int refusals_init(struct refusals *refusals) {
        *refusals = (struct refusals){0};
        int error = -pthread_mutex_init(&refusals->lock, NULL);
        if (error)
                return error;
        error = refusals_reserve_locked(refusals);
        if (error)
                pthread_mutex_destroy(&refusals->lock);
        return error;
}

static uint64_t wall_clock_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct refusals_row *refusals_row_locked(struct refusals *refusals, uint32_t uid) {
        size_t place = refusals_place(refusals, uid);
        if (place < refusals->count && refusals->rows[place].uid == uid)
                return &refusals->rows[place];
        if (refusals_reserve_locked(refusals) != 0)
                return NULL;
        struct refusals_row *row = &refusals->rows[place];
        memmove(row + 1, row, (refusals->count - place) * sizeof(*row));
        *row = (struct refusals_row){.uid = uid, .since_ms = wall_clock_ms()};
        refusals->count++;
        return row;
}

void refusals_count(struct refusals *refusals, uint32_t uid, enum status status) {
        pthread_mutex_lock(&refusals->lock);
        struct refusals_row *row = refusals_row_locked(refusals, uid);
        if (row && (unsigned)status < REFUSALS_STATUSES)
                row->counts[status]++;
        pthread_mutex_unlock(&refusals->lock);
}

int refusals_copy(struct refusals *refusals, struct refusals_row **out, size_t *count) {
        int error = 0;
        pthread_mutex_lock(&refusals->lock);
        size_t bytes = refusals->count * sizeof(*refusals->rows);
        struct refusals_row *rows = malloc(bytes ? bytes : 1);
        if (!rows) {
                error = -ENOMEM;
        } else {
                if (bytes)
                        memcpy(rows, refusals->rows, bytes);
                *count = refusals->count;
                *out = rows;
        }
        pthread_mutex_unlock(&refusals->lock);
        return error;
}

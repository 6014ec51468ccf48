/* The ranges that this client holds, as the daemon's replies told it: by offset, with the number
 * of holds. Needed to look at many ranges before any is returned, and to tell a daemon that lost
 * the connection what is really held.
 *
 * Room is reserved before a request is made, so that recording what was granted cannot fail for
 * lack of memory. Any thread; the lock is the table's own, taken under the
 * channel's; only the mapping's is taken under it. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOLDING_ANY_USE UINT32_MAX

struct holding {
        uint64_t offset;
        uint64_t length;
        uint32_t generation;
        uint32_t count; /* holds; 0: the slot is empty */
        uint32_t
                use; /* the upper half of the generation that users name it by, or HOLDING_ANY_USE */
};

struct holdings {
        pthread_mutex_t lock;  /* guards everything below */
        struct holding *slots; /* open addressing, linear probing; owned; NULL while never used */
        size_t slot_count;     /* 0 or a power of two; at most half is used or reserved */
        size_t used;
        size_t reserved;
        uint64_t holds; /* sum of the counts */
};

/* Fibonacci hashing of the page number: neighbours spread over a whole table. */
static inline size_t holding_hash(uint64_t offset) {
        return (size_t)(((offset >> 12) * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
}

void holdings_init(struct holdings *holdings);
void holdings_deinit(struct holdings *holdings);

/* Makes room for count more ranges. Each is given back by holdings_add or holdings_unreserve.
 * -ENOMEM. */
int holdings_reserve(struct holdings *holdings, size_t count);
void holdings_unreserve(struct holdings *holdings, size_t count);

/* For the two below, which many ranges may need at once. */
void holdings_lock(struct holdings *holdings);
void holdings_unlock(struct holdings *holdings);

/* Records one more hold, in room that was reserved. -EEXIST: another range is held at this offset
 * (the reservation is kept). */
int holdings_add_locked(struct holdings *holdings, const struct holding *range);

/* Forgets one hold of a range. -ENOENT: there is none. */
int holdings_drop_locked(struct holdings *holdings, const struct holding *range);

/* Whether all of these can be dropped together; a range may be named as often as it is held.
 * -ENOENT: not so, and *bad is the first that cannot. */
int holdings_cover(
        struct holdings *holdings, const struct holding *ranges, size_t count, size_t *bad);

/* False: the range is held, but under another name: it is of another use. One of use 0 is named as the daemon names it, which
 * is always right. */
bool holdings_name_is_right(struct holdings *holdings, const struct holding *range);

/* Number of different ranges that are held, and of holds of them. */
size_t holdings_count(struct holdings *holdings);
uint64_t holdings_holds(struct holdings *holdings);

/* Ranges that this client holds and does not use, kept so that the next alloc need not ask for them. What the shared memory is and
 * who may change what in it stands in proto/cache_area.h.
 *
 * Any thread, no lock, no system call, but for the policy (how many slots an order gets), which only those enter who go to the
 * daemon anyway. While the daemon is gone, or somebody waits for memory, nothing is taken or put. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "buddyclient.h"
#include "proto/cache_area.h"

struct stream;
struct stream_descriptors;
struct cache_page;

struct cache {
        struct cache_area *area; /* owned mapping; NULL: there is no cache */
        uint64_t area_bytes;
        int fd;                                    /* of the area; owned */
        _Atomic(const struct cache_pulse *) pulse; /* of the last of the pages below */
        uint64_t size_bytes;                       /* ranges below this have words */
        unsigned page_shift;
        uint64_t block_max_bytes;
        _Atomic uint32_t limits
                [CACHE_ORDERS]; /* slots in use: 0 or a power of two; written under the lock */
        pthread_mutex_t lock;   /* guards the rest */
        uint64_t budget_bytes, spent_bytes;
        uint64_t hits_seen[CACHE_ORDERS];
        bool refilling[CACHE_ORDERS];
        struct cache_page
                *pages; /* of the daemons so far: a thread may still look at an old one; owned */
};

/* Whose ranges it keeps. */
struct cache_pool {
        uint64_t page_bytes, max_size_bytes;
        const uint8_t *token; /* of the session */
};

/* Makes the memory. False: there will be no cache. */
bool cache_init(struct cache *cache, const struct cache_pool *pool, uint64_t budget_bytes);
void cache_deinit(struct cache *cache);

/* Hands the memory to the daemon, as the only exchange on a connection, under this id. 0; -EAGAIN: the daemon has no use for it
 * now; -EPROTO, -ENOTCONN. */
int cache_hand_over(struct cache *cache, struct stream *stream, uint64_t id, int64_t deadline);

/* The two halves of it; -ETIMEDOUT as hello_receive has it. */
int cache_hand_over_send(const struct cache *cache, struct stream *stream, uint64_t id);
int cache_hand_over_receive(struct cache *cache, struct stream *stream, uint64_t id,
        int64_t deadline, struct stream_descriptors *descriptors);

/* Whether ranges of this length may be cached, and the order that a length needs. */
bool cache_serves(const struct cache *cache, uint64_t length);
unsigned cache_order(const struct cache *cache, uint64_t length);

/* Takes a range out. False: there is none. */
bool cache_take(struct cache *cache, uint64_t length, struct buddyclient_range *out);

/* What a range's word says of it. */
enum cache_verdict {
        CACHE_UNKNOWN, /* nothing: it is not one of the cache's */
        CACHE_STALE,   /* it was returned since it had this name */
        CACHE_MINE,    /* in use, and nobody else's */
        CACHE_OTHERS,  /* in use, and maybe others hold it, too: it goes back by a request */
};
enum cache_verdict cache_judge(
        struct cache *cache, const struct buddyclient_range *range, uint64_t *word);

/* Makes a range that is CACHE_MINE one that is not in use, nor in a slot. False: it has changed since. */
bool cache_claim(struct cache *cache, const struct buddyclient_range *range, uint64_t word);
void cache_unclaim(struct cache *cache, const struct buddyclient_range *range);

/* Puts a claimed range into a slot. False: there is no room, or it is wanted elsewhere; it stays claimed, under the name that
 * *range has then. *full: the order's slots
 * are nearly all in use now. */
bool cache_put(struct cache *cache, struct buddyclient_range *range, bool *full);

/* All of that for one range. */
enum cache_release {
        CACHE_RELEASED,
        CACHE_RELEASED_FULL,   /* the order's slots are all in use now */
        CACHE_RELEASED_BEFORE, /* it was returned since it had this name */
        CACHE_BY_REQUEST,      /* not here: it is in use, by the name that it then has */
};
enum cache_release cache_release(struct cache *cache, struct buddyclient_range *range);

/* Whether ranges may be put in now. */
bool cache_is_open(const struct cache *cache);

/* Ends the counting of a hold by a range's word: it will be in the table, and goes back by a request. False: the word has changed
 * since. */
bool cache_leave(struct cache *cache, const struct buddyclient_range *range, uint64_t word);

/* Whether a range as the daemon names it can be noted here. */
bool cache_may_count(const struct cache *cache, const struct buddyclient_range *range);

/* Notes a range that was granted: in use, under this name; or kept as a spare one. False: there was no room to keep it. */
void cache_note_granted(struct cache *cache, struct buddyclient_range *range);
bool cache_keep_spare(struct cache *cache, const struct buddyclient_range *range);

/* Whether the word of a range counts a hold of it; how many words do; and setting that right. */
bool cache_counts(struct cache *cache, const struct buddyclient_range *range);
uint64_t cache_counted(const struct cache *cache);
void cache_set_counted(struct cache *cache, uint64_t counted);

/* Nothing was left: how many spare ranges to ask for, and which order, if any, is to be emptied for that (-1: none). */
unsigned cache_missed(struct cache *cache, unsigned order, int *emptied);
void cache_refilled(struct cache *cache, unsigned order);

/* How many slots of an order to keep when it is nearly full. */
unsigned cache_keep(const struct cache *cache, unsigned order);

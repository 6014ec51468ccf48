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

/* What it needs of its client. */
struct cache_keeper {
        void *context;
        /* This range is in use again and goes back by a request: others may hold it, too. Nothing is waited for. */
        void (*give_back)(void *context, struct buddyclient_range *range);
};

struct cache {
        struct cache_area *area; /* owned mapping; NULL: there is no cache */
        uint64_t area_bytes;
        int fd;                                    /* of the area; owned */
        _Atomic(const struct cache_pulse *) pulse; /* of the last of the pages below */
        uint64_t size_bytes;                       /* ranges that begin below this have words */
        unsigned page_shift;
        uint64_t block_max_bytes; /* longer ranges are not kept */
        _Atomic uint32_t limits
                [CACHE_ORDERS]; /* slots in use: 0 or a power of two; written under the lock */
        pthread_mutex_t lock;   /* guards the rest */
        uint64_t budget_bytes, spent_bytes;
        uint64_t used_seen[CACHE_ORDERS]; /* when the window began, as are the next two */
        unsigned misses[CACHE_ORDERS];    /* that found no budget */
        unsigned looks;
        uint64_t returned[CACHE_ORDERS]; /* times that its slots ran full */
        bool refilling[CACHE_ORDERS];
        struct cache_page
                *pages; /* of the daemons so far: a thread may still look at an old one; owned */
        struct cache_keeper keeper;
};

/* Whose ranges it keeps. */
struct cache_pool {
        uint64_t page_bytes, max_size_bytes;
        const uint8_t *token; /* of the session */
        struct cache_keeper keeper;
};

/* Makes the memory. False: there will be no cache. */
bool cache_init(struct cache *cache, const struct cache_pool *pool, uint64_t budget_bytes);
void cache_deinit(struct cache *cache);
/* From here on nothing is taken or put. Nobody may be in a call. */
void cache_shut(struct cache *cache);

/* Hands the memory to the daemon, as the only exchange on a connection, under this id. 0; -EAGAIN: the daemon has no use for it
 * now; -EPROTO, -ENOTCONN. */
int cache_hand_over(struct cache *cache, struct stream *stream, uint64_t id, int64_t deadline);

/* The two halves of it; -ETIMEDOUT as hello_receive has it. */
int cache_hand_over_send(const struct cache *cache, struct stream *stream, uint64_t id);
int cache_hand_over_receive(struct cache *cache, struct stream *stream, uint64_t id,
        int64_t deadline, struct stream_descriptors *descriptors);

/* What a range's word says of it. */
enum cache_verdict {
        CACHE_UNKNOWN, /* nothing: it is not one of the cache's */
        CACHE_STALE,   /* it was returned since it had this name */
        CACHE_MINE,    /* in use, and nobody else's */
        CACHE_OTHERS,  /* in use, and maybe others hold it, too: it goes back by a request */
};
enum cache_verdict cache_judge(
        struct cache *cache, const struct buddyclient_range *range, uint64_t *word);

/* A range that was claimed (cache_slot.h): it is neither in use nor in a slot; in use again. */
void cache_unclaim(struct cache *cache, const struct buddyclient_range *range);

/* What comes of a range that is returned. */
enum cache_release {
        CACHE_RELEASED,
        CACHE_RELEASED_FULL,   /* the order's slots are nearly all in use now */
        CACHE_RELEASED_BEFORE, /* it was returned since it had this name */
        CACHE_BY_REQUEST,      /* not here */
        CACHE_NO_ROOM,         /* the same, as the order's slots are all in use, or it has none */
};

/* Puts a claimed range into a slot. If it does not stay there it is still claimed, under the name that *range has then. */
struct cache_putting {
        const struct cache_pulse *pulse; /* of before the claim; it was open */
        unsigned order;                  /* of the last range; 0 to begin with */
        unsigned tried; /* so many of its slots are not empty: a batch goes over them once */
};
enum cache_release cache_put(
        struct cache *cache, struct buddyclient_range *range, struct cache_putting *putting);

/* Claims a range and puts it. CACHE_BY_REQUEST, CACHE_NO_ROOM: it is in use; if it has another name now, *renamed is that,
 * else it is left alone. */
enum cache_release cache_release(
        struct cache *cache, const struct buddyclient_range *range, uint64_t *renamed);

/* A value that was taken out of a slot is not to be used: if that is because others hold the range, too, it goes back. Goes on with
 * cache_take (cache_slot.h). */
__attribute__((cold)) size_t cache_take_others(struct cache *cache, unsigned order, uint64_t value,
        size_t count, struct buddyclient_range *out);

/* Whether ranges may be put in now. */
bool cache_is_open(const struct cache *cache);

/* Ends the counting of a hold by a range's word, and that of a gift: it goes by a request, and but for a gift it will be in
 * the table. False: the word has changed since. */
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

/* ---- Policy (cache_policy.c) ---- */

/* What a look at who uses how many slots came to. */
struct cache_shift {
        unsigned spare; /* so many ranges are to be asked for along with what is needed */
        uint32_t
                emptied; /* orders (a bit each) that have lost their slots: what is in them is to go back */
};

/* Not enough was left of an order where so many were wanted. cache_refilled follows if there is spare. */
struct cache_shift cache_missed(struct cache *cache, unsigned order, size_t wanted);
void cache_refilled(struct cache *cache, unsigned order);

/* There is no more room for what comes back of an order: whether there is now. *emptied, unless NULL, as above: others may give
 * way for what comes back later; this time it is to go by a request, behind which what they had is gone, so that never
 * more is kept than may be. */
bool cache_crowded(struct cache *cache, unsigned order, uint32_t *emptied);

/* How many slots of an order to keep when it is nearly full. */
unsigned cache_keep(const struct cache *cache, unsigned order);

/* Clients' caches of ranges, as the daemon sees them: memory that it shares with one client each (proto/cache_area.h). It
 * takes back what is not in use when others need it, and counts it; what sharing has to do with it is in cache_share.h.
 *
 * A cache belongs to a session's presence, whose cache_lock guards the pointer and is held while the area is looked at; it
 * comes before the pool's locks. Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/pool.h"

struct cache_area;
struct cache_pulse;
struct served_pool;

/* The page that tells a pool's clients that the daemon lives, and whether somebody waits. */
struct pulse {
        struct cache_pulse *page; /* owned mapping */
        int fd;                   /* that clients get: nobody can write through it; owned */
};

/* For the thread that lives as long as the daemon. -errno. */
int pulse_init(struct pulse *pulse);
void pulse_deinit(struct pulse *pulse);

/* So many more, or less, wait for memory of the pool. Sequentially consistent. */
void pulse_press(struct pulse *pulse, int more);

/* Takes a session's area over, which fd is; closes it. What is in the slots is checked against the ledger, and ranges that others
 * hold, too, are marked. 0; -EINVAL, *why says what is wrong with it; -ENOMEM. */
int cache_adopt(struct served_pool *served, uint32_t session, int fd, const char **why);

/* The session is over: nothing is taken out of its cache from here on. */
void cache_close(struct served_pool *served, uint32_t session);

/* Frees what is in the slots of an order from `keep` on; of the session's. Bytes that became free. */
uint64_t cache_trim(struct served_pool *served, uint32_t session, unsigned order, unsigned keep);

/* Frees all that is in the next session's slots after *session that has any. False: there is none. Begin with 0. */
bool cache_take_back_next(struct served_pool *served, uint32_t *session);

/* Grants as pool_grant_many does, and takes ranges back out of caches, as many as it needs, before it says -ENOMEM. */
int cache_grant(struct served_pool *served, uint32_t session, unsigned order, size_t count,
        struct block *out);

/* Looks once for the cache of a session that has not handed it over: an earlier daemon left it, or it is just coming back. Whoever
 * needs it meanwhile waits. Before its cache_lock is taken. */
void cache_find(struct served_pool *served, uint32_t session);

/* What is in a session's slots and its own by the ledger, bytes; and how often a range was taken out of one. cache_each visits the
 * blocks, under the session's cache_lock; what a client wrote into several slots comes as often. */
struct cache_figures {
        uint64_t bytes, hits;
};
void cache_count(struct served_pool *served, uint32_t session, struct cache_figures *out);
void cache_each(struct served_pool *served, uint32_t session,
        void (*found)(void *context, struct block block), void *context);
void cache_count_all(struct served_pool *served, struct cache_figures *sum);

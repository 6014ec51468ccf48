/* A pool as the daemon serves it: its store, those who wait for its memory, who is connected, and the
 * workers' statistics of it. Shared by all workers; made before they start, freed after they ended. */
#pragma once

#include "cache.h"
#include "core/spinlock.h"
#include "proto/quota.h"
#include "refusals.h"
#include "statistics.h"
#include "store.h"
#include "waiters.h"

struct orphan;
struct session;

/* What is known of a session beside the ledger. A session has one worker from when it is opened, or was found
 * in the ledger, to its end; it writes this, and the atomic fields are read by any. */
struct presence {
        _Atomic uint64_t connected_since_s; /* monotonic clock + 1; 0: not connected */
        _Atomic uint32_t waiting;           /* allocs that wait */
        _Atomic uint32_t worker;            /* index + 1; set before anybody knows the token */
        struct session *session;            /* the worker's alone; NULL: no connection has it */
        struct orphan *orphan;              /* the worker's alone; NULL: it is none */
        _Atomic uint64_t
                kicked; /* presence_mark of the session that an operator ended here last; 0: none */
        struct spinlock cache_lock;
        struct cache_area *cache; /* owned mapping; NULL: none; cache_lock */
        bool cache_named; /* what others hold of its blocks has the names from its cache; cache_lock */
        _Atomic bool cache_sought; /* where the client has not come back: it was looked for */
        bool held_unseen;          /* it became a holder while it had no cache here; cache_lock */
        _Atomic bool
                shared_unseen; /* a block of its got further holders while it had no cache here */
};

/* Tells sessions of one slot apart, for the wording of a refusal; never 0. */
static inline uint64_t presence_mark(const uint8_t token[static 16]) {
        uint64_t mark = 1;
        for (unsigned i = 0; i < 8; i++)
                mark = mark << 8 | token[i];
        return mark | 1;
}

#define ADMIN_GROUP_NONE UINT64_MAX

#define SERVED_POOL_DETAIL 192 /* bytes of served_pool_explain's text */

struct served_pool {
        struct store *store; /* the caller's of server_run */
        struct pool *pool;   /* the store's */
        uint64_t page_bytes;
        struct waiters waiters;
        _Atomic uint64_t limits[QUOTA_END]; /* in force, by enum quota; see quota.h */
        struct pulse pulse;
        struct refusals refusals;
        pthread_mutex_t seek_lock;          /* of who looks for a cache; comes first */
        _Atomic uint64_t closed_cache_hits; /* of caches that are gone */
        _Atomic uint64_t
                told_cache_hits; /* the most that was ever told; a sum that clients write may shrink */
        struct presence *presence;     /* owned; by session */
        struct statistics *statistics; /* owned; by worker */
        unsigned worker_count;
        unsigned index;        /* among the server's pools */
        _Atomic bool draining; /* nothing is granted; changes only while all workers are stopped */
        _Atomic bool growing;  /* by a job under way */
        _Atomic uint64_t trimmed_bytes; /* given back since the start */
        _Atomic uint64_t
                admin_group; /* may operate it; ADMIN_GROUP_NONE; these three change with the config */
        _Atomic uint32_t grace_s;
        _Atomic uint32_t trim_after_s; /* 0: never by itself */
        _Atomic uint32_t clients;      /* connected sessions */
        _Atomic uint32_t orphans; /* sessions of an earlier daemon that have not come back yet */
};

/* 0; -ENOMEM or another -errno, with nothing left behind. */
int served_pool_init(struct served_pool *served, struct store *store, unsigned worker_count);
void served_pool_deinit(struct served_pool *served);

static inline struct presence *served_pool_presence(struct served_pool *served, uint32_t session) {
        return &served->presence[session % LEDGER_SESSIONS];
}

/* Takes over those settings that may change while it is served. Any thread. */
void served_pool_adjust(struct served_pool *served, const struct pool_settings *settings);

/* Sum over the workers into zeroed memory of the caller. */
void served_pool_statistics(const struct served_pool *served, struct statistics *sum);

/* A block as the wire has it: offset in bytes | order. */
static inline uint64_t served_pool_place(const struct served_pool *served, struct block block) {
        return block.page * served->page_bytes | block.order;
}

/* Why count blocks of an order were not to be had, with figures. */
void served_pool_explain(
        struct served_pool *served, unsigned order, size_t count, char detail[SERVED_POOL_DETAIL]);

/* The same, where the blocks were free and memory behind them was not to be had. */
void served_pool_explain_unbacked(const struct served_pool *served, unsigned order, size_t count,
        char detail[SERVED_POOL_DETAIL]);

/* Why nothing is granted while it is draining. */
void served_pool_explain_draining(
        const struct served_pool *served, char detail[SERVED_POOL_DETAIL]);

/* The same, for one whose turn did not come as so many of its uid were before it in line. */
void served_pool_explain_turn(
        struct served_pool *served, uint32_t uid, unsigned ahead, char detail[SERVED_POOL_DETAIL]);

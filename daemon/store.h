/* The memory of one pool: the segment that clients map, and the ledger that only the daemon maps,
 * with the lock that keeps a second daemon out. Opening finds what a predecessor left, refuses what
 * does not fit what is asked for, and hands back a running struct pool. */
#pragma once

#include "core/pool.h"
#include "settings.h"

struct store {
        struct pool_settings settings;
        struct pool *pool;     /* owned */
        int segment_fd;        /* read-write; owned */
        int segment_fd_read_only; /* the same segment opened read-only; owned */
        int ledger_fd;         /* owned; bears the lock */
        bool taken_over;       /* a predecessor's state was found */
        uint64_t restarts;     /* how often this pool was taken over so far */
        struct ledger ledger;
        void *ledger_memory;   /* owned mapping */
        uint64_t ledger_bytes;
        _Atomic uint64_t *committed; /* lazy: one bit per 2 MiB of segment that is reserved; owned */
};

/* Opens or creates. 0; -errno after one logged line that names cause and mend. */
int store_open(const struct pool_settings *settings, bool reset, struct store **out);

/* Clean stop: removes segment and ledger unless they are to be kept. NULL is fine. */
void store_close(struct store *store, bool keep);

/* Bytes of the segment that are backed by memory now. */
uint64_t store_resident_bytes(const struct store *store);

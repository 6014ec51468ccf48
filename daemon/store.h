/* The memory of one pool: the segment that clients map, and the ledger that only the daemon maps,
 * with the lock that keeps a second daemon out. Opening finds what a predecessor left, refuses what
 * does not fit what is asked for, and hands back a running struct pool. */
#pragma once

#include "core/pool.h"
#include "reserve.h"
#include "settings.h"

struct store {
        struct pool_settings settings;
        struct pool *pool;        /* owned */
        int segment_fd;           /* read-write; owned */
        int segment_fd_read_only; /* the same segment opened read-only; owned */
        int ledger_fd;            /* owned; posix-shm: bears the lock */
        int lock_fd;              /* memfd: an empty named object that bears the lock; owned */
        bool lock_made;           /* the object that bears the lock is this daemon's to remove */
        bool made;                /* segment and ledger are, too, as far as they exist */
        bool taken_over;          /* a predecessor's state was found */
        bool stored;              /* memfd: the service manager has both descriptors, too */
        uint64_t restarts;        /* how often this pool was taken over so far */
        uint64_t opening_ns;      /* how long it took to open */
        struct ledger ledger;
        void *ledger_memory; /* owned mapping */
        uint64_t ledger_bytes;
        struct reserve_map reserved; /* lazy: which parts of the segment are backed by memory */
};

/* Opens or creates. 0; -errno after one logged line that names cause and mend; -ECANCELED, without a
 * line, if a stop was asked for meanwhile. A refused one leaves things as they were. */
int store_open(const struct pool_settings *settings, bool reset, struct store **out);

/* Removes segment and ledger unless they are to be kept (memfds: in the service manager's store, or they end in
 * any case). NULL is fine. */
void store_close(struct store *store, bool keep);

/* Sizes of the pool before and after. */
struct store_growth {
        uint64_t from_bytes, to_bytes;
};

/* Before the pool grows: reserves the new part of an eager one, all of it or nothing; what does not fit is refused with -ENOSPC and
 * the figures in fault. -ECANCELED. Any thread, one at a time. */
int store_reserve_growth(struct store *store, struct store_growth growth,
        const _Atomic bool *cancelled, char fault[static RESERVE_FAULT_BYTES]);

/* The processes that the ledger names are those of an earlier boot of the system: they have ended. */
bool store_is_of_earlier_boot(const struct store *store);

/* The processes that the ledger names from now on are those of this boot. */
void store_stamp_boot(struct store *store);

/* Puts back what a client that may write to the segment has taken from it: its length, and the memory behind the first
 * pages pages, or those of them that were reserved on first use. Says so. On the main thread. */
void store_mend_segment(struct store *store, uint64_t pages);

/* Bytes of the segment that are backed by memory now. */
uint64_t store_resident_bytes(const struct store *store);

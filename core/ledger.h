/* The ledger: the only truth about who holds what. It lies in memory that only the daemon maps and
 * that outlives it; free sets, lists and locks are rebuilt from it.
 *
 * Every transition is one aligned 8-byte release store, so any prefix of the stores of any
 * operation is a valid state, and a kill at any instruction leaves the operation either done or
 * not. There is no log. Nothing here takes a lock: who may write which word is said at each word,
 * and the locks are the pool's (pool.h).
 *
 *   header | sessions | keys | holds | chunk words | page records
 *
 * Record of a block head:  order + 1 : 6 | given : 1 | owner : 25 | generation : 32
 *   owner is a session, or OWNER_NONE on a live record when only hold words or keys name the block. given: the
 *   owner got it from a peer, so it knows of it though no reply of ours told it; what a client that comes
 *   back neither knows nor was given is the grant of a reply that was lost.
 *   A free record is {0, 0, generation of the last life}.
 * Chunk word (one for 512 pages): as a record, for blocks of order >= 9; order + 1 = CHUNK_SPLIT means
 *   that the chunk's page records count. Its generation survives the split. The word and the records of
 *   a chunk that lies inside a larger live block do not count.
 * Hold word (further holders): valid : 1 | given : 1 | unused : 5 | session : 25 | page : 32, 0 when empty.
 * Key slot: name, and a range word page : 32 | generation : 32, 0 when empty; a valid one is a hold.
 *
 * A block is live while its record has an order and (an owner, or a valid hold, or a key). */
#pragma once

#include <stdatomic.h>
#include <stddef.h>

#include "geometry.h"

#define LEDGER_MAGIC      UINT64_C(0x5245474445444442) /* "BDDEDGER" */
#define LEDGER_VERSION    1u
#define CHUNK_ORDER       9u
#define CHUNK_PAGES       (1u << CHUNK_ORDER)
#define CHUNK_SPLIT       63u
#define OWNER_NONE        0u
#define OWNER_BITS        25
#define LEDGER_SESSIONS   32768u /* slot 0 is never used; slot 1 is the operator's */
#define LEDGER_KEYS       16384u
#define LEDGER_NAME_BYTES 64u  /* client names, with the terminator */
#define LEDGER_KEY_BYTES  240u /* key names, with the terminator */
#define SESSION_OPERATOR  1u

/* One record or chunk word, unpacked. order_plus_1 == 0: free. */
struct ledger_record {
        uint32_t order_plus_1;
        uint32_t owner;
        uint32_t generation;
        bool given;
};

enum ledger_session_state {
        SESSION_FREE = 0,
        SESSION_LIVE = 1,
        SESSION_CLOSING = 2, /* its holds are being returned; recovery goes on with that */
};

struct ledger_session {
        _Atomic uint64_t state; /* state : 8 | serial : 56; the commit word of the slot */
        uint8_t token[16];      /* whoever shows it is this session */
        uint64_t start_time;    /* of the process, clock ticks since boot (proc(5), field 22) */
        uint32_t pid;           /* 0: not visible from here */
        uint32_t uid;
        uint32_t gid;
        uint32_t flags; /* SESSION_READ_ONLY */
        char name[LEDGER_NAME_BYTES];
        uint64_t reserved[2];
};
#define SESSION_READ_ONLY 1u

struct ledger_key {
        _Atomic uint64_t range; /* page : 32 | generation : 32; the commit word of the slot */
        uint32_t uid;           /* who may replace and remove it */
        uint32_t reserved;
        char name[LEDGER_KEY_BYTES];
};

struct ledger_header {
        uint64_t magic;
        uint32_t version;
        uint32_t page_shift;
        uint64_t pages_max;           /* size of the tables */
        _Atomic uint64_t pages;       /* of the pool now; growing is one store */
        uint64_t hold_count;          /* capacity of the hold table */
        _Atomic uint64_t restarts;    /* how often a daemon took the pool over */
        _Atomic uint64_t next_serial; /* of sessions */
        uint8_t boot_id[16];          /* of the system whose process start times are in here */
        char pool[LEDGER_NAME_BYTES];
        _Atomic uint64_t ready; /* LEDGER_MAGIC once everything above is written */
};

/* Where the tables are in a mapping. Pointers into memory that the caller keeps mapped. */
struct ledger {
        struct ledger_header *header;
        struct ledger_session *sessions;
        struct ledger_key *keys;
        _Atomic uint64_t *holds;
        _Atomic uint64_t *chunks;
        _Atomic uint64_t *records;
        uint64_t hold_count;
};

/* Byte offsets of the tables for a pool of pages_max pages. fixed_bytes, everything but the page
 * records, has to be backed by memory before use; the records are backed chunk by chunk. */
struct ledger_layout {
        uint64_t sessions, keys, holds, chunks, records;
        uint64_t hold_count;
        uint64_t fixed_bytes;
        uint64_t total_bytes;
};
void ledger_layout(uint64_t pages_max, struct ledger_layout *out);

/* Writes the header of an empty ledger into zeroed memory of layout.total_bytes; the last store makes it valid. */
struct ledger_identity {
        const char *pool;
        unsigned page_shift;
        uint64_t pages, pages_max;
        uint8_t boot_id[16];
};
void ledger_format(void *memory, const struct ledger_identity *identity, struct ledger *out);

/* Attaches to existing memory of memory_bytes. 0; -ENODATA: never finished being formatted (all of
 * it may be thrown away); -EUCLEAN: not a ledger of this version or its figures contradict each
 * other, with the reason in words. Does not look at records: that is the recovery's (pool.h). */
int ledger_open(
        void *memory, uint64_t memory_bytes, struct ledger *out, char *fault, size_t fault_bytes);

/* Walks live blocks: the first whose head is at *page or behind it and below pages. Moves *page to its end.
 * False: there is none. Safe beside running operations; what it returns may have changed since. */
bool ledger_next_live(const struct ledger *ledger, uint64_t pages, uint64_t *page,
        struct block *out, uint32_t *owner);

/* Called before every store to the ledger when the core is built with LEDGER_HOOK, for tests that stop
 * a process at the n-th store. */
#ifdef LEDGER_HOOK
extern void (*ledger_store_hook)(const void *address, uint64_t value);
#endif

static inline void ledger_store(_Atomic uint64_t *word, uint64_t value) {
#ifdef LEDGER_HOOK
        if (ledger_store_hook)
                ledger_store_hook(word, value);
#endif
        atomic_store_explicit(word, value, memory_order_release);
}

/* The same, if the word still has the value seen; else nothing is written. */
static inline void ledger_swap(_Atomic uint64_t *word, uint64_t seen, uint64_t value) {
#ifdef LEDGER_HOOK
        if (ledger_store_hook)
                ledger_store_hook(word, value);
#endif
        atomic_compare_exchange_strong_explicit(
                word, &seen, value, memory_order_acq_rel, memory_order_acquire);
}

static inline uint64_t ledger_load(const _Atomic uint64_t *word) {
        return atomic_load_explicit(word, memory_order_acquire);
}

static inline uint64_t ledger_pack(struct ledger_record record) {
        return (uint64_t)record.order_plus_1 << 58 | (uint64_t)record.given << 57 |
               (uint64_t)record.owner << 32 | record.generation;
}

static inline struct ledger_record ledger_unpack(uint64_t word) {
        return (struct ledger_record){
                .order_plus_1 = (uint32_t)(word >> 58),
                .owner = (uint32_t)(word >> 32) & ((1u << OWNER_BITS) - 1),
                .generation = (uint32_t)word,
                .given = word >> 57 & 1,
        };
}

/* One hold word, unpacked. */
struct ledger_hold {
        uint32_t session;
        uint32_t page;
        bool given;
};

static inline uint64_t hold_pack(struct ledger_hold hold) {
        return UINT64_C(1) << 63 | (uint64_t)hold.given << 62 | (uint64_t)hold.session << 32 |
               hold.page;
}

static inline struct ledger_hold hold_unpack(uint64_t word) {
        return (struct ledger_hold){
                .session = (uint32_t)(word >> 32) & ((1u << OWNER_BITS) - 1),
                .page = (uint32_t)word,
                .given = word >> 62 & 1,
        };
}

/* The generation of the next life: never 0, so that 0 can mean "never granted". */
static inline uint32_t generation_next(uint32_t generation) {
        return generation == UINT32_MAX ? 1 : generation + 1;
}

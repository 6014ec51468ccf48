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
 * Record of a block head:  order + 1 : 6 | given : 1 | owner : 17 | check : 8 | generation : 32
 *   owner is a session, or OWNER_NONE on a live record when only hold words or keys name the block. given: the
 *   owner got it from a peer, so it knows of it though no reply of ours told it; what a client that comes
 *   back neither knows nor was given is the grant of a reply that was lost.
 *   With nobody as owner, order + 1 may be 32 higher: owner is then the use by which the last owner's name of the
 *   block is told from earlier ones of the same life (use_fold).
 *   A free record is {0, 0, generation of the last life}. check: of the word and of where it is, so that one
 *   that was bent, or belongs elsewhere, is found by the recovery. A word of 0 is that of a block never granted.
 * Chunk word (one for 512 pages): as a record, for blocks of order >= 9; order + 1 = CHUNK_SPLIT means
 *   that the chunk's page records count. Its generation survives the split. The word and the records of
 *   a chunk that lies inside a larger live block do not count.
 * Hold word (further holders): valid : 1 | given : 1 | unused : 5 | session : 17 | check : 8 | page : 32,
 *   0 when empty.
 * Key slot: name, and a range word valid : 1 | use : 23 (of the name that it was published by) | check : 8 | page : 32, 0
 *   when empty; a valid one is a hold.
 * Progress and step of a session: see ledger_word.h. Every change of a hold that a request names is between two stores of
 *   them: the step says which word is about to change, the progress that it has. A kill between leaves the word itself
 *   to tell, and nobody else changes that word before the take-over has looked (pool_progress.c).
 * What is written before a commit word (the header's geometry, a session's identity, a key's name) bears a digest.
 *
 * A block is live while its record has an order and (an owner, or a valid hold, or a key). */
#pragma once

#include <stdatomic.h>
#include <stddef.h>

#include "geometry.h"
#include "ledger_word.h"

#define LEDGER_MAGIC      UINT64_C(0x5245474445444442) /* "BDDEDGER" */
#define LEDGER_VERSION    4u
#define CHUNK_ORDER       9u
#define CHUNK_PAGES       (1u << CHUNK_ORDER)
#define LEDGER_SESSIONS   32768u /* slot 0 is never used; slot 1 is the operator's */
#define LEDGER_KEYS       16384u
#define LEDGER_NAME_BYTES 64u  /* client names, with the terminator */
#define LEDGER_KEY_BYTES  240u /* key names, with the terminator */
#define SESSION_OPERATOR  1u

enum ledger_session_state {
        SESSION_FREE = 0,
        SESSION_LIVE = 1,
        SESSION_CLOSING = 2, /* its holds are being returned; recovery goes on with that */
        SESSION_OPENING =
                3, /* its client may not know of it, and it holds nothing; recovery ends it */
};

struct ledger_session {
        _Atomic uint64_t
                state;       /* state : 8 | flags : 8 | serial : 48; the commit word of the slot */
        uint8_t token[16];   /* whoever shows it is this session */
        uint64_t start_time; /* of the process, clock ticks since boot (proc(5), field 22) */
        uint32_t pid;        /* 0: not visible from here */
        uint32_t uid;
        uint32_t gid;
        uint32_t digest; /* of the flags, of token to gid and of the name, and of the slot */
        char name[LEDGER_NAME_BYTES];
        _Atomic uint64_t progress; /* how far its requests have come; 0: none yet */
        _Atomic uint64_t step;     /* what was begun last; counts if it is of this progress */
};
#define SESSION_READ_ONLY 1u

struct ledger_key {
        _Atomic uint64_t range; /* which block; the commit word of the slot */
        uint32_t uid;           /* who may replace and remove it */
        uint32_t digest;        /* of uid and name, and of the slot */
        char name[LEDGER_KEY_BYTES];
};

struct ledger_header {
        uint64_t magic;
        uint32_t version;
        uint32_t page_shift;
        uint64_t pages_max;           /* size of the tables */
        uint64_t pages_first;         /* of the pool when it was made */
        _Atomic uint64_t pages;       /* of the pool now; growing is one store */
        _Atomic uint64_t pages_limit; /* stored before it; pages is never over this */
        uint64_t hold_count;          /* capacity of the hold table */
        _Atomic uint64_t restarts;    /* how often a daemon took the pool over */
        _Atomic uint64_t next_serial; /* of sessions */
        _Atomic uint64_t boot; /* ledger_boot_word() of the boot whose processes are in here */
        char pool[LEDGER_NAME_BYTES];
        uint64_t digest;        /* of what of the above never changes */
        _Atomic uint64_t ready; /* LEDGER_MAGIC once everything above is written */
};

/* Name of the shared memory object of a pool in POSIX shared memory: kind is "ledger", "segment", or "lock" where the
 * pool itself has no name (memfd). It carries the uid, so that users do not collide. A name that is too long is cut. */
#define LEDGER_OBJECT_NAME_BYTES 96
void ledger_object_name(
        uint32_t uid, const char *pool, const char *kind, char name[LEDGER_OBJECT_NAME_BYTES]);

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

/* A boot of the system in one word, which one store replaces: 32 bits that tell it from others, and their digest. */
uint64_t ledger_boot_word(const uint8_t boot_id[static 16]);

/* What digest has to be for a slot filled as it is. */
uint32_t ledger_session_digest(const struct ledger_session *session, unsigned flags, uint32_t slot);
uint32_t ledger_key_digest(const struct ledger_key *key, uint32_t slot);

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

/* Inside of a pool. Lists are kept by index into arrays that are as sparse as the segment, so nothing on
 * the way of a grant or a return can fail for lack of memory. Index 0 means "none" in every list: entries are
 * stored as index + 1, so that untouched memory is an empty list. */
#pragma once

#include <stdalign.h>

#include "account.h"
#include "pool.h"

#define STRIPE_COUNT   1024u
#define STRIPE_BUCKETS 256u  /* of the index of holds, for each stripe */
#define KEY_BUCKETS    4096u /* of the index of keys */

/* Private state of a block head, one slot per page. */
struct lease {
        uint32_t next, prev; /* owner's list of leases: page + 1; guarded by the owner's lock */
        uint32_t holds;      /* chain of further holds: link + 1; guarded by the stripe */
        uint32_t
                use; /* folded; by which name others know it, if that is known; guarded by the stripe */
        _Atomic uint32_t
                granted; /* seconds of the monotonic clock; LEASE_MARK is the owner's, under its lock */
};
#define LEASE_MARK (UINT32_C(1) << 31)

/* Private state of one further hold: link i < hold_count belongs to hold word i, the others to keys. */
struct hold_link {
        uint32_t next,
                prev; /* session's list of hold words: link + 1; guarded by the session's lock */
        uint32_t page_next; /* chain of the page: link + 1; of a free slot: the next free one */
        uint32_t page_prev;
        uint32_t bucket_next; /* of a group's head: next group in the bucket: link + 1 */
        uint32_t group_next;  /* next hold of the same group: link + 1 */
        uint32_t group_count; /* of a group's head: holds in it */
        uint32_t named;   /* of a group's head: times in the batch under way; the session's lock */
        uint32_t page;    /* of a used slot */
        uint32_t session; /* 0: a key */
        uint32_t granted; /* seconds of the monotonic clock */
        bool given;
};

/* What a check has found that the sessions and keys of one uid hold. */
struct account_found {
        uint64_t bytes, ranges, given_bytes, given_ranges, holds, given_holds, keys, clients;
};

/* Of one uid. The sums are of what its sessions have settled, and of its keys. */
struct account {
        alignas(64) _Atomic uint64_t bytes;
        _Atomic uint64_t ranges, given_bytes, given_ranges, holds, given_holds, keys, clients;
        uint32_t uid;
        uint32_t refs;              /* sessions and keys; 0: a free slot; table_lock */
        uint32_t next;              /* in its bucket, or next free slot: slot + 1; table_lock */
        struct account_found found; /* a check's */
};
#define ACCOUNT_COUNT   (LEDGER_SESSIONS + LEDGER_KEYS) /* each could be another uid's */
#define ACCOUNT_BUCKETS 1024u

/* What a session has, and what of it its account has heard of. */
struct holding {
        uint64_t bytes, ranges, given_bytes, given_ranges, holds, given_holds;
};

/* Private state of a session slot. Type-stable: never freed before the pool. */
struct holder {
        alignas(64) struct spinlock lock;
        bool live;            /* may be granted something */
        uint32_t first_lease; /* page + 1 */
        uint32_t first_hold;  /* link + 1 */
        uint64_t held_bytes;
        uint64_t held_ranges;
        uint64_t given_ranges; /* of them, by peers */
        uint64_t given_bytes;
        uint64_t hold_words;     /* further holds: entries of the ledger's table */
        uint64_t given_holds;    /* of them, by peers */
        struct account *account; /* of its uid; NULL: the operator's session, or a free slot */
        struct holding settled;
        _Atomic uint64_t request; /* that is being run; 0: what changes is nobody's request */
        struct ledger_progress progress; /* as the ledger has it */
};

struct held_counter {
        alignas(64) _Atomic uint64_t blocks;
};

struct stripe {
        alignas(64) struct spinlock lock;
};

struct pool {
        struct ledger ledger;
        struct pool_backing backing;
        struct buddy buddy;
        unsigned page_shift;
        uint64_t pages_max;
        struct lease *leases;    /* pages_max; owned mapping */
        struct hold_link *links; /* hold_count + LEDGER_KEYS; owned mapping */
        struct holder *holders;  /* LEDGER_SESSIONS; owned mapping */
        _Atomic uint8_t *backed; /* per chunk: its page records may be touched; owned mapping */
        uint32_t *buckets; /* index of holds: link + 1; a stripe guards its own; owned mapping */
        struct spinlock keys_lock;
        uint32_t keys_used; /* slots from here on were never used; keys_lock */
        uint32_t free_key;  /* list of slots without a key: slot + 1; keys_lock */
        uint32_t key_next
                [LEDGER_KEYS]; /* next in the bucket, or next free one: slot + 1; keys_lock */
        uint32_t key_buckets[KEY_BUCKETS]; /* index of keys by name: slot + 1; keys_lock */
        struct spinlock table_lock;
        uint32_t sessions_used;   /* slots below this may be in use; table_lock */
        uint32_t sessions_open;   /* slots in use, but for the operator's; table_lock */
        struct account *accounts; /* ACCOUNT_COUNT; owned mapping */
        uint32_t account_buckets[ACCOUNT_BUCKETS]; /* by uid: slot + 1; table_lock */
        uint32_t free_account;  /* list of returned slots: slot + 1; table_lock */
        uint32_t accounts_used; /* slots from here on were never used; table_lock */
        _Atomic uint32_t keys_taken;
        uint32_t holds_taken;      /* slots in use; table_lock */
        struct pool_limits limits; /* table_lock, and each read without; see limit_load */
        uint32_t free_hold;        /* list of returned hold slots: link + 1; table_lock */
        uint32_t holds_used;       /* slots from here on were never used; table_lock */
        struct held_counter held[ORDER_COUNT];
        struct stripe stripes[STRIPE_COUNT];
};

/* What a drop of a hold left to do once all locks are released. */
struct pool_freed {
        bool freed;
        uint32_t page;
        uint32_t order;
};

static inline uint32_t stripe_index(uint32_t page) {
        return (page * UINT32_C(2654435761)) >> 22;
}

static inline struct spinlock *stripe_of(struct pool *pool, uint32_t page) {
        return &pool->stripes[stripe_index(page)].lock;
}

static inline uint64_t block_bytes(const struct pool *pool, unsigned order) {
        return order_pages(order) << pool->page_shift;
}

/* The word that bears a block's record. */
static inline _Atomic uint64_t *block_word(const struct pool *pool, uint32_t page, unsigned order) {
        return order >= CHUNK_ORDER ? &pool->ledger.chunks[page >> CHUNK_ORDER]
                                    : &pool->ledger.records[page];
}

uint32_t pool_clock_s(void);

/* pool_holds.c. A lease or hold is linked under its session's lock; chains and the index need the page's stripe. */
void lease_link_locked(struct pool *pool, uint32_t session, struct block block);
void lease_unlink_locked(struct pool *pool, uint32_t session, uint32_t page, unsigned order);
void hold_link_locked(struct pool *pool, uint32_t session, uint32_t link, struct block block);
void hold_unlink_locked(struct pool *pool, uint32_t session, uint32_t link, unsigned order);
void chain_add_locked(struct pool *pool, uint32_t page, uint32_t link);
void chain_remove_locked(struct pool *pool, uint32_t page, uint32_t link);
/* Puts a hold word's link, which is in its page's chain, into the index. */
void index_add_locked(struct pool *pool, uint32_t link, uint32_t session, bool given);
/* Head of a group: link + 1, or 0. */
uint32_t index_find_locked(struct pool *pool, uint32_t session, uint32_t page, bool given);
/* Which of its holds a session drops or gives: link + 1, which is taken out of the index, or 0 for the record's. One
 * that it was granted or attached goes before one that it was given, so that its own count of the former stays true. */
uint32_t hold_take_locked(
        struct pool *pool, uint32_t session, uint32_t page, struct ledger_record record);
/* Whether a peer gave that one. */
static inline bool hold_is_given(
        const struct pool *pool, uint32_t at, struct ledger_record record) {
        return at == 0 ? record.given : pool->links[at - 1].given;
}
/* -ENOSPC; -EDQUOT: over its uid's limit. */
int hold_slot_take(struct pool *pool, uint32_t session, uint32_t *link);
void hold_slot_put(struct pool *pool, uint32_t link);

/* pool_account.c. */

/* Lets a session's lock go, and its account know what has changed under it. */
void holder_unlock(struct holder *holder);

/* The account of a uid gets one session or key more, or less. Needs the table. */
struct account *account_join_locked(struct pool *pool, uint32_t uid);
void account_leave_locked(struct pool *pool, struct account *account);
struct account *account_find_locked(struct pool *pool, uint32_t uid);

/* A session is about to hold so much more: 0, or -EDQUOT. Needs the session, whose unlocking puts right what does not come. */
int account_charge_locked(struct pool *pool, uint32_t session, uint64_t bytes, uint64_t ranges);

/* The same for what another session gives; needs both. */
int account_charge_gift_locked(struct pool *pool, uint32_t session, const struct pool_want *gift);

/* What a peer gave: a hold of so many bytes, in the ledger's table or by a record. */
struct gift {
        uint64_t bytes;
        bool further;
};

/* A hold of the session's is, or is no more, a gift, if it is given. */
void holder_count_gift(struct holder *holder, bool given, struct gift gift);
void holder_uncount_gift(struct holder *holder, bool given, struct gift gift);

/* A key of this uid's holds so much from now on, or no more; needs keys, and takes the table. One more: -EDQUOT. */
int account_add_key(struct pool *pool, uint32_t uid, uint64_t bytes);
void account_remove_key(struct pool *pool, uint32_t uid, uint64_t bytes);
void account_move_key(struct pool *pool, uint32_t uid, uint64_t from_bytes, uint64_t to_bytes);

/* One more session of this uid. -EDQUOT. Needs the table. */
int account_admit_session_locked(struct pool *pool, uint32_t uid);
/* One more of its holds is in the ledger's table. -EDQUOT. Needs the session and the table. */
int account_charge_hold_locked(struct pool *pool, struct holder *holder);

/* pool_grant.c: all need the locks that their names say. */
int block_state(const struct pool *pool, struct block block, struct ledger_record *out);
bool session_holds_locked(
        struct pool *pool, uint32_t session, uint32_t page, struct ledger_record record);
void block_free_if_dead_locked(
        struct pool *pool, struct block block, uint32_t owner, struct pool_freed *freed);
void owner_drop_locked(
        struct pool *pool, uint32_t session, struct block block, struct pool_freed *freed);
void hold_drop_locked(
        struct pool *pool, uint32_t session, struct block block, struct pool_freed *freed);
void pool_free_block(struct pool *pool, const struct pool_freed *freed);

/* pool_batch.c: need the session. */
int batch_check_locked(
        struct pool *pool, uint32_t session, const struct block *blocks, size_t count, size_t *bad);
void batch_unmark_locked(
        struct pool *pool, uint32_t session, const struct block *blocks, size_t count);

/* pool_share.c: puts a key that the ledger has into the index. */
void key_index_add_locked(struct pool *pool, uint32_t slot);

/* pool_progress.c. Around the store that changes one hold for a session's request; need the session. link_plus_1: 0 for the
 * record, else as a step has it. */
void progress_begin_locked(
        struct pool *pool, uint32_t session, uint32_t page, uint32_t link_plus_1, bool taking);
void progress_done_locked(struct pool *pool, uint32_t session);
bool progress_is_sound(const struct pool *pool, uint32_t session);
/* Finds out about each step that a kill interrupted. Once all words were found sound, before anything is changed. */
void progress_recover(struct pool *pool);

/* pool_recover.c: fills the private state of a new pool from its ledger. */
int pool_recover(struct pool *pool, char *fault, size_t fault_bytes);
int __attribute__((format(printf, 3, 4)))
pool_fault(char *fault, size_t fault_bytes, const char *format, ...);

/* The words of a ledger that say who holds what: records of blocks, hold words, and the range
 * words of keys. What their bits are stands in ledger.h.
 * Plain values, no state. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "geometry.h"

#define CHUNK_SPLIT 63u
#define OWNER_NONE  0u
#define OWNER_BITS  17
#define ORDER_NAMED                                                                                \
        32u /* added to the order of a block that nobody owns: the owner's bits are a use */

/* One record or chunk word, unpacked. order_plus_1 == 0: free. */
struct ledger_record {
        uint32_t order_plus_1;
        uint32_t owner;
        uint32_t generation;
        bool given;
        uint32_t
                use; /* folded; of a block below CHUNK_ORDER that nobody owns: by which name others know it; 0: by any */
};

/* What a record has of the use that a block is named by, which is in the upper half of the generation that users see:
 * 1 to 2^OWNER_BITS - 1, or 0 for 0. */
static inline uint32_t use_fold(uint32_t use) {
        return use == 0 ? 0 : (use - 1) % ((1u << OWNER_BITS) - 1) + 1;
}

/* The check byte of a word with none, at a page or in a slot: differs for each single bit that differs, and between
 * neighbours. */
static inline uint64_t ledger_seal(uint64_t word, uint32_t position) {
        uint64_t sum = word ^ position ^ position >> 9;
        sum ^= sum >> 32;
        sum ^= sum >> 16;
        sum ^= sum >> 8;
        return word | ((sum ^ 0x5a) & 0xff) << 32;
}

/* The range word of a key. use: the upper half of the generation that its publisher named the range by. */
#define KEY_USE_MASK ((1u << 23) - 1)
static inline uint64_t key_pack(uint32_t page, uint32_t use, uint32_t slot) {
        return ledger_seal(UINT64_C(1) << 63 | (uint64_t)(use & KEY_USE_MASK) << 40 | page, slot);
}

static inline uint32_t key_use(uint64_t word) {
        return (uint32_t)(word >> 40) & KEY_USE_MASK;
}

static inline uint32_t key_page(uint64_t word) {
        return (uint32_t)word;
}

/* The word of a record at a page, or of the chunk that begins there. */
static inline uint64_t ledger_pack(struct ledger_record record, uint32_t page) {
        bool named = record.owner == OWNER_NONE && record.use != 0;
        uint64_t order = record.order_plus_1 + (named ? ORDER_NAMED : 0);
        return ledger_seal(order << 58 | (uint64_t)record.given << 57 |
                                   (uint64_t)(named ? record.use : record.owner) << 40 |
                                   record.generation,
                page);
}

static inline struct ledger_record ledger_unpack(uint64_t word) {
        uint32_t order = (uint32_t)(word >> 58);
        uint32_t owner = (uint32_t)(word >> 40) & ((1u << OWNER_BITS) - 1);
        bool named = order > ORDER_NAMED && order <= ORDER_NAMED + 9;
        return (struct ledger_record){
                .order_plus_1 = named ? order - ORDER_NAMED : order,
                .owner = named ? OWNER_NONE : owner,
                .generation = (uint32_t)word,
                .given = word >> 57 & 1,
                .use = named ? owner : 0,
        };
}

/* One hold word, unpacked. */
struct ledger_hold {
        uint32_t session;
        uint32_t page;
        bool given;
};

static inline uint64_t hold_pack(struct ledger_hold hold, uint32_t slot) {
        return ledger_seal(UINT64_C(1) << 63 | (uint64_t)hold.given << 62 |
                                   (uint64_t)hold.session << 40 | hold.page,
                slot);
}

static inline struct ledger_hold hold_unpack(uint64_t word) {
        return (struct ledger_hold){
                .session = (uint32_t)(word >> 40) & ((1u << OWNER_BITS) - 1),
                .page = (uint32_t)word,
                .given = word >> 62 & 1,
        };
}

/* How far a session's requests have come, unpacked: `done` ranges of this request, in its order, and all of every
 * request before it. sequence goes up with each store of it, so that a step names the one it belongs to. */
struct ledger_progress {
        uint64_t request; /* its low PROGRESS_REQUEST_BITS */
        uint32_t done;
        uint32_t sequence; /* modulo 4 */
};
#define PROGRESS_REQUEST_BITS 41
#define PROGRESS_REQUEST_MASK ((UINT64_C(1) << PROGRESS_REQUEST_BITS) - 1)

static inline uint64_t progress_pack(struct ledger_progress progress, uint32_t slot) {
        return ledger_seal(
                (uint64_t)(progress.sequence & 3) << 62 | (uint64_t)(progress.done & 0x1fff) << 49 |
                        (progress.request >> 32 & 0x1ff) << 40 | (progress.request & UINT32_MAX),
                slot);
}

static inline struct ledger_progress progress_unpack(uint64_t word) {
        return (struct ledger_progress){
                .request = (word >> 40 & 0x1ff) << 32 | (word & UINT32_MAX),
                .done = (uint32_t)(word >> 49) & 0x1fff,
                .sequence = (uint32_t)(word >> 62),
        };
}

/* What a session is about to do: which word it changes for a block at this page. link + 1 of a hold word or, behind
 * those, of a key slot; 0: the record. taking: the word will be the session's (or the key's) afterwards; else it is
 * before. */
struct ledger_step {
        uint32_t page;
        uint32_t link_plus_1; /* below 2^20 */
        uint32_t sequence;    /* of the progress that it belongs to */
        bool taking;
};

static inline uint64_t step_pack(struct ledger_step step, uint32_t slot) {
        return ledger_seal(UINT64_C(1) << 63 | (uint64_t)step.taking << 62 |
                                   (uint64_t)(step.sequence & 3) << 60 |
                                   (uint64_t)step.link_plus_1 << 40 | step.page,
                ~slot);
}

static inline struct ledger_step step_unpack(uint64_t word) {
        return (struct ledger_step){
                .page = (uint32_t)word,
                .link_plus_1 = (uint32_t)(word >> 40) & 0xfffff,
                .sequence = (uint32_t)(word >> 60) & 3,
                .taking = word >> 62 & 1,
        };
}

/* The generation of the next life: never 0, so that 0 can mean "never granted". */
static inline uint32_t generation_next(uint32_t generation) {
        return generation == UINT32_MAX ? 1 : generation + 1;
}

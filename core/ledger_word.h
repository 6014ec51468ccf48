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

/* One record or chunk word, unpacked. order_plus_1 == 0: free. */
struct ledger_record {
        uint32_t order_plus_1;
        uint32_t owner;
        uint32_t generation;
        bool given;
};

/* The check byte of a word with none, at a page or in a slot: differs for each single bit that differs, and between
 * neighbours. */
static inline uint64_t ledger_seal(uint64_t word, uint32_t position) {
        uint64_t sum = word ^ position ^ position >> 9;
        sum ^= sum >> 32;
        sum ^= sum >> 16;
        sum ^= sum >> 8;
        return word | ((sum ^ 0x5a) & 0xff) << 32;
}

/* The range word of a key. Of the generation it has as many bits as there is room for. */
static inline uint64_t key_pack(struct block block, uint32_t slot) {
        uint64_t generation = block.generation & ((1u << 23) - 1);
        return ledger_seal(UINT64_C(1) << 63 | generation << 40 | block.page, slot);
}

static inline uint32_t key_page(uint64_t word) {
        return (uint32_t)word;
}

/* The word of a record at a page, or of the chunk that begins there. */
static inline uint64_t ledger_pack(struct ledger_record record, uint32_t page) {
        return ledger_seal((uint64_t)record.order_plus_1 << 58 | (uint64_t)record.given << 57 |
                                   (uint64_t)record.owner << 40 | record.generation,
                page);
}

static inline struct ledger_record ledger_unpack(uint64_t word) {
        return (struct ledger_record){
                .order_plus_1 = (uint32_t)(word >> 58),
                .owner = (uint32_t)(word >> 40) & ((1u << OWNER_BITS) - 1),
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

/* The generation of the next life: never 0, so that 0 can mean "never granted". */
static inline uint32_t generation_next(uint32_t generation) {
        return generation == UINT32_MAX ? 1 : generation + 1;
}

/* The memory that one client and the daemon share, so that the client can return a range and take it again without
 * asking. It is the client's: a sealed memfd that it makes and hands to the daemon, also to the next daemon. The
 * daemon believes nothing that it reads here: each value is checked against the ledger, so what a client writes harms only
 * itself. Everything is atomic; there is no lock.
 *
 * A slot holds a range of its order that the client holds and does not use: page : 32 | taken back : 1 | generation : 31, 0 when
 * empty. Whoever empties a slot has the range: the client by exchanging the value for 0, the daemon by exchanging it for the
 * same with "taken back", which nobody else touches; it then frees the range, and empties the slot last. A kill in
 * between leaves a value that the next daemon judges by the ledger.
 *
 * A word for each page says what the client does with the range that begins there: its generation, the how-manieth use since the
 * grant, and flags. The use is the upper half of the generation that users see, so a name from an earlier use is
 * refused without asking. One compare-and-swap of the word decides between two threads that return the same range, and between a
 * return and an attach by somebody else: the daemon marks the word of a range that is attached or published as shared, and a
 * shared range goes back by a request.
 *
 * The word of a gift is written by the daemon: in use, shared, gift. Once the ledger has it and nobody else holds the range, the
 * daemon exchanges that for "in use, counted, gift", and the client may return it here like its own. A client that goes to the daemon
 * with a gift takes the mark off before, so of the two exchanges one fails; what the client asked before there was a mark is not
 * about the gift, and is refused unless the client has a further hold of the range. */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CACHE_ORDERS    9u  /* as the ledger knows names of: blocks below 512 pages */
#define CACHE_SLOTS     64u /* per order; a power of two */
#define CACHE_AREA_MAX  (UINT64_C(4) << 30) /* bytes; pools that need more have no caches */
#define CACHE_AREA_NAME "buddyclient.cache" /* of the memfd, by which the next daemon finds it */

struct cache_area {
        uint8_t token[16];                   /* of the session whose it is; by the client */
        _Atomic uint32_t closed;             /* the session is over; by the daemon */
        _Atomic uint64_t counted;            /* words of which cache_word_counts is true */
        _Atomic uint32_t used[CACHE_ORDERS]; /* slots from here on were never used; by the client */
        alignas(4096) _Atomic uint64_t slots[CACHE_ORDERS][CACHE_SLOTS];
        /* Ranges taken out of the slot. Not a multiple of a page behind it: a CPU would take the one for the other. */
        alignas(64) _Atomic uint64_t hits[CACHE_ORDERS][CACHE_SLOTS];
        alignas(4096) _Atomic uint64_t words[]; /* in the order of cache_word_index */
};

/* Bytes of the area for a pool of at most so many pages. */
static inline uint64_t cache_area_bytes(uint64_t pages_max) {
        return sizeof(struct cache_area) + ((pages_max + 511) & ~UINT64_C(511)) * sizeof(uint64_t);
}

/* Words of neighbouring pages and neighbouring slots lie in different cache lines: threads that use them do not
 * meet. */
static inline uint64_t cache_word_index(uint32_t page) {
        return (page & ~511u) | (page & 63) << 3 | (page >> 6 & 7);
}

static inline _Atomic uint64_t *cache_word(struct cache_area *area, uint32_t page) {
        return &area->words[cache_word_index(page)];
}

static inline unsigned cache_slot_index(unsigned slot) {
        return (slot & 7) << 3 | slot >> 3;
}

#define CACHE_TAKEN_BACK     (UINT64_C(1) << 31)
#define CACHE_GENERATION_MAX UINT32_C(0x7fffffff) /* of a range that may be in a slot */

static inline uint64_t cache_slot_pack(uint32_t page, uint32_t generation) {
        return (uint64_t)page << 32 | generation;
}

/* generation : 32 | use : 24 | order : 4 | gift : 1 | counted : 1 | shared : 1 | in use : 1 */
#define CACHE_IN_USE      (UINT64_C(1) << 63)
#define CACHE_SHARED      (UINT64_C(1) << 62)
#define CACHE_COUNTED     (UINT64_C(1) << 61) /* the client's hold is in no other table of its */
#define CACHE_GIFT        (UINT64_C(1) << 60) /* it is a gift: not one of area->counted */
#define CACHE_USE_MAX     0x1ffffu            /* as the ledger tells apart */
#define CACHE_USE_SHIFT   32
#define CACHE_ORDER_SHIFT 56

/* name: as users see it, use << 32 | generation. */
static inline uint64_t cache_word_pack(uint64_t name, unsigned order) {
        return name | (uint64_t)order << CACHE_ORDER_SHIFT;
}

static inline uint64_t cache_word_name(uint64_t word) {
        return word & ((UINT64_C(1) << CACHE_ORDER_SHIFT) - 1);
}

static inline unsigned cache_word_order(uint64_t word) {
        return (unsigned)(word >> CACHE_ORDER_SHIFT) & 15;
}

/* Whether a word is about this life of this block, whatever the use. */
static inline bool cache_word_is_of(uint64_t word, uint32_t generation, unsigned order) {
        return (uint32_t)word == generation && cache_word_order(word) == order && word != 0;
}

/* Whether it is one of those that area->counted counts: as the daemon counts grants apart from gifts, so does the client. */
static inline bool cache_word_counts(uint64_t word) {
        return (word & (CACHE_COUNTED | CACHE_GIFT)) == CACHE_COUNTED;
}

/* One page for all clients of a pool, which only the daemon can write. */
struct cache_pulse {
        /* A robust futex that the daemon holds: the kernel marks it when the daemon is gone, however it went. */
        _Atomic uint32_t owner;
        alignas(64) _Atomic uint32_t
                pressure; /* so many wait for memory: nothing is to be cached */
};

static inline bool cache_pulse_beats(const struct cache_pulse *pulse) {
        uint32_t owner = atomic_load_explicit(&pulse->owner, memory_order_relaxed);
        return (owner & 0x3fffffff) != 0 && (owner & 0x40000000) == 0;
}

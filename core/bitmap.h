/* A hierarchical bitmap: 64-ary, every summary bit says whether the word below has a set bit, so
 * the first set bit of 2^32 is found in at most six word reads. Not synchronised: the owner's lock
 * guards it. All-zero memory is an empty bitmap. A bit that is given must be below bit_count. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITMAP_LEVELS    6
#define BITMAP_WORD_BITS 64u
#define BITMAP_NONE      UINT64_MAX

struct bitmap {
        uint64_t *levels
                [BITMAP_LEVELS]; /* levels[0]: the bits; each next one summarises; not owned */
        unsigned level_count;
        uint64_t bit_count;
};

/* Bytes of zeroed memory that a bitmap of bit_count bits (at least 1) needs. */
size_t bitmap_bytes(uint64_t bit_count);

/* Lays the bitmap into memory (8-byte aligned, zeroed, bitmap_bytes long), which must outlive it. */
void bitmap_init(struct bitmap *bitmap, uint64_t bit_count, void *memory);

/* First set bit at or after from, or BITMAP_NONE. */
uint64_t bitmap_find(const struct bitmap *bitmap, uint64_t from);

/* Number of set bits from bit first on and before bit end (at most bit_count). Empty words are passed over 64 at a time. */
uint64_t bitmap_count(const struct bitmap *bitmap, uint64_t first, uint64_t end);

/* Whether every summary bit agrees with the word below it and no bit at or above bit_count is set. */
bool bitmap_consistent(const struct bitmap *bitmap);

static inline uint64_t bitmap_word_bit(uint64_t bit) {
        return UINT64_C(1) << (bit % BITMAP_WORD_BITS);
}

static inline uint64_t bitmap_word(const struct bitmap *bitmap, unsigned level, uint64_t index) {
        return bitmap->levels[level][index];
}

static inline bool bitmap_test(const struct bitmap *bitmap, uint64_t bit) {
        return bitmap_word(bitmap, 0, bit / BITMAP_WORD_BITS) & bitmap_word_bit(bit);
}

static inline void bitmap_set(struct bitmap *bitmap, uint64_t bit) {
        for (unsigned level = 0; level < bitmap->level_count; level++) {
                uint64_t index = bit / BITMAP_WORD_BITS;
                uint64_t before = bitmap_word(bitmap, level, index);
                bitmap->levels[level][index] = before | bitmap_word_bit(bit);
                if (before != 0)
                        return;
                bit = index;
        }
}

/* Clears the bits of mask in one word, at least one of which was set. */
static inline void bitmap_clear_mask(struct bitmap *bitmap, uint64_t index, uint64_t mask) {
        for (unsigned level = 0; level < bitmap->level_count; level++) {
                uint64_t after = bitmap_word(bitmap, level, index) & ~mask;
                bitmap->levels[level][index] = after;
                if (after != 0)
                        return;
                mask = bitmap_word_bit(index);
                index /= BITMAP_WORD_BITS;
        }
}

static inline void bitmap_clear(struct bitmap *bitmap, uint64_t bit) {
        bitmap_clear_mask(bitmap, bit / BITMAP_WORD_BITS, bitmap_word_bit(bit));
}

/* First set bit at or after that of a word, when no bit of the words before it is set: looks no
 * higher up than it must. */
static inline uint64_t bitmap_first_from_word(const struct bitmap *bitmap, uint64_t index) {
        unsigned level = 0;
        uint64_t word;
        while ((word = bitmap_word(bitmap, level, index)) == 0) {
                if (++level == bitmap->level_count)
                        return BITMAP_NONE;
                index /= BITMAP_WORD_BITS;
        }
        for (;;) {
                index = index * BITMAP_WORD_BITS + (unsigned)__builtin_ctzll(word);
                if (level == 0)
                        return index;
                word = bitmap_word(bitmap, --level, index);
        }
}

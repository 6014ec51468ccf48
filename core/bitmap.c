/* Layout, search and check of the hierarchical bitmap. The levels lie one behind the other in the
 * caller's memory, the bits themselves first; the last level is always one word. */
#include "bitmap.h"

static uint64_t words_for(uint64_t bit_count) {
        return bit_count / BITMAP_WORD_BITS + (bit_count % BITMAP_WORD_BITS != 0);
}

size_t bitmap_bytes(uint64_t bit_count) {
        uint64_t words = 0;
        uint64_t bits = bit_count;
        do {
                bits = words_for(bits);
                words += bits;
        } while (bits > 1);
        return words * sizeof(uint64_t);
}

void bitmap_init(struct bitmap *bitmap, uint64_t bit_count, void *memory) {
        uint64_t *next = memory;
        uint64_t bits = bit_count;
        *bitmap = (struct bitmap){.bit_count = bit_count};
        do {
                bitmap->levels[bitmap->level_count++] = next;
                bits = words_for(bits);
                next += bits;
        } while (bits > 1);
}

/* First set bit of a level within the word of from, at or after it. */
static uint64_t find_in_word(const struct bitmap *bitmap, unsigned level, uint64_t from) {
        uint64_t index = from / BITMAP_WORD_BITS;
        uint64_t word = bitmap_word(bitmap, level, index) & UINT64_MAX << from % BITMAP_WORD_BITS;
        if (word == 0)
                return BITMAP_NONE;
        return index * BITMAP_WORD_BITS + (unsigned)__builtin_ctzll(word);
}

uint64_t bitmap_find(const struct bitmap *bitmap, uint64_t from) {
        uint64_t limit = bitmap->bit_count; /* of the current level */
        for (unsigned level = 0; level < bitmap->level_count && from < limit; level++) {
                uint64_t found = find_in_word(bitmap, level, from);
                if (found != BITMAP_NONE) {
                        while (level-- > 0) {
                                uint64_t word = bitmap_word(bitmap, level, found);
                                found = found * BITMAP_WORD_BITS + (unsigned)__builtin_ctzll(word);
                        }
                        return found;
                }
                from = from / BITMAP_WORD_BITS + 1;
                limit = words_for(limit);
        }
        return BITMAP_NONE;
}

/* The bits of a word that are from first on and before end. */
static uint64_t word_part(
        const struct bitmap *bitmap, uint64_t index, uint64_t first, uint64_t end) {
        uint64_t word = bitmap_word(bitmap, 0, index);
        if (index == first / BITMAP_WORD_BITS)
                word &= UINT64_MAX << first % BITMAP_WORD_BITS;
        if (index == end / BITMAP_WORD_BITS)
                word &= bitmap_word_bit(end) - 1;
        return word;
}

uint64_t bitmap_count(const struct bitmap *bitmap, uint64_t first, uint64_t end) {
        uint64_t count = 0;
        uint64_t index = first / BITMAP_WORD_BITS;
        while (index * BITMAP_WORD_BITS < end) {
                bool summarised = bitmap->level_count > 1 && index % BITMAP_WORD_BITS == 0;
                if (summarised && bitmap_word(bitmap, 1, index / BITMAP_WORD_BITS) == 0) {
                        index += BITMAP_WORD_BITS;
                        continue;
                }
                count += (unsigned)__builtin_popcountll(word_part(bitmap, index, first, end));
                index++;
        }
        return count;
}

/* Whether the level above says which of the word_count words of a level are not zero. */
static bool level_summarised(const struct bitmap *bitmap, unsigned level, uint64_t word_count) {
        for (uint64_t i = 0; i < word_count; i++) {
                uint64_t summary = bitmap_word(bitmap, level + 1, i / BITMAP_WORD_BITS);
                bool says = summary & bitmap_word_bit(i);
                if (says != (bitmap_word(bitmap, level, i) != 0))
                        return false;
        }
        return true;
}

bool bitmap_consistent(const struct bitmap *bitmap) {
        uint64_t bits = bitmap->bit_count;
        for (unsigned level = 0; level < bitmap->level_count; level++) {
                uint64_t word_count = words_for(bits);
                unsigned used = bits % BITMAP_WORD_BITS;
                if (used != 0 && bitmap_word(bitmap, level, word_count - 1) >> used != 0)
                        return false;
                if (level + 1 < bitmap->level_count && !level_summarised(bitmap, level, word_count))
                        return false;
                bits = word_count;
        }
        return true;
}

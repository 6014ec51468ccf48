#include "core/bitmap.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct bitmap bitmap;
static void *memory;

static void lay_out(uint64_t bit_count) {
        memory = calloc(1, bitmap_bytes(bit_count));
        cr_assert_not_null(memory);
        bitmap_init(&bitmap, bit_count, memory);
}

static void give_back(void) {
        cr_expect(bitmap_consistent(&bitmap));
        free(memory);
}

Test(bitmap, bytes_count_every_level) {
        cr_expect_eq(bitmap_bytes(1), 8);
        cr_expect_eq(bitmap_bytes(64), 8);
        cr_expect_eq(bitmap_bytes(65), (2 + 1) * 8);
        cr_expect_eq(bitmap_bytes(4096), (64 + 1) * 8);
        cr_expect_eq(bitmap_bytes(4097), (65 + 2 + 1) * 8);
}

Test(bitmap, empty_finds_nothing, .fini = give_back) {
        lay_out(100000);
        cr_expect_eq(bitmap_find(&bitmap, 0), BITMAP_NONE);
        cr_expect_eq(bitmap_find(&bitmap, 99999), BITMAP_NONE);
        cr_expect_eq(bitmap_first_from_word(&bitmap, 0), BITMAP_NONE);
}

Test(bitmap, finds_across_words_and_levels, .fini = give_back) {
        lay_out(300000);
        const uint64_t bits[] = {0, 63, 64, 4095, 4096, 262143, 262144, 299999};
        const size_t count = sizeof bits / sizeof *bits;
        for (size_t i = 0; i < count; i++)
                bitmap_set(&bitmap, bits[i]);
        for (size_t i = 0; i < count; i++) {
                uint64_t from = i == 0 ? 0 : bits[i - 1] + 1;
                cr_expect_eq(bitmap_find(&bitmap, from), bits[i]);
                cr_expect_eq(bitmap_find(&bitmap, bits[i]), bits[i]);
        }
        cr_expect_eq(bitmap_find(&bitmap, 300000), BITMAP_NONE);
        cr_expect_eq(bitmap_find(&bitmap, UINT64_MAX), BITMAP_NONE);
}

Test(bitmap, clearing_empties_the_summaries, .fini = give_back) {
        lay_out(300000);
        bitmap_set(&bitmap, 5);
        bitmap_set(&bitmap, 299999);
        bitmap_clear(&bitmap, 5);
        cr_expect_not(bitmap_test(&bitmap, 5));
        cr_expect(bitmap_test(&bitmap, 299999));
        cr_expect_eq(bitmap_find(&bitmap, 0), 299999);
        cr_expect_eq(bitmap_first_from_word(&bitmap, 0), 299999);
        bitmap_clear(&bitmap, 299999);
        cr_expect_eq(bitmap_find(&bitmap, 0), BITMAP_NONE);
}

Test(bitmap, a_mask_clears_only_its_bits, .fini = give_back) {
        lay_out(1000);
        for (uint64_t bit = 64; bit < 128; bit++)
                bitmap_set(&bitmap, bit);
        bitmap_clear_mask(&bitmap, 1, UINT64_C(0xff));
        cr_expect_eq(bitmap_find(&bitmap, 0), 72);
        bitmap_clear_mask(&bitmap, 1, ~UINT64_C(0xff));
        cr_expect_eq(bitmap_find(&bitmap, 0), BITMAP_NONE);
}

Test(bitmap, consistent_sees_a_lost_summary) {
        lay_out(5000);
        bitmap_set(&bitmap, 4999);
        bitmap.levels[1][bitmap.bit_count / 64 / 64] = 0;
        cr_expect_not(bitmap_consistent(&bitmap));
        free(memory);
}

Test(bitmap, consistent_sees_a_bit_beyond_the_end) {
        lay_out(65);
        bitmap_set(&bitmap, 66);
        cr_expect_not(bitmap_consistent(&bitmap));
        free(memory);
}

Test(bitmap, agrees_with_an_array_of_flags, .fini = give_back) {
        enum { BITS = 9001 };
        static bool flags[BITS];
        lay_out(BITS);
        srand(1);
        for (int step = 0; step < 200000; step++) {
                uint64_t bit = (uint64_t)rand() % BITS;
                if (flags[bit])
                        bitmap_clear(&bitmap, bit);
                else
                        bitmap_set(&bitmap, bit);
                flags[bit] = !flags[bit];

                uint64_t from = (uint64_t)rand() % BITS;
                uint64_t expected = from;
                while (expected < BITS && !flags[expected])
                        expected++;
                uint64_t found = bitmap_find(&bitmap, from);
                cr_assert_eq(found, expected == BITS ? BITMAP_NONE : expected);
                if (step % 1000 == 0)
                        cr_assert(bitmap_consistent(&bitmap));
        }
}

Test(bitmap, counts_as_bit_by_bit, .fini = give_back) {
        const uint64_t bits = 64 * 64 * 3 + 17;
        static const uint64_t edges[] = {
                0, 1, 63, 64, 65, 4095, 4096, 4097, 8191, 8192, 12288, 12305};
        const size_t count = sizeof edges / sizeof *edges;
        lay_out(bits);
        for (uint64_t bit = 5; bit < bits; bit += bit < 4096 ? 3 : 777)
                bitmap_set(&bitmap, bit);
        for (size_t i = 0; i < count; i++)
                for (size_t k = i; k < count; k++) {
                        uint64_t expected = 0;
                        for (uint64_t bit = edges[i]; bit < edges[k]; bit++)
                                expected += bitmap_test(&bitmap, bit);
                        cr_expect_eq(bitmap_count(&bitmap, edges[i], edges[k]), expected,
                                "from %lu before %lu", edges[i], edges[k]);
                }
}

/* The bytes of an input, taken one after the other; behind the end there are zeroes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct tape {
        const uint8_t *bytes;
        size_t left;
};

static inline uint8_t tape_byte(struct tape *tape) {
        if (tape->left == 0)
                return 0;
        tape->left--;
        return *tape->bytes++;
}

static inline uint64_t tape_number(struct tape *tape, unsigned bytes) {
        uint64_t number = 0;
        for (unsigned i = 0; i < bytes; i++)
                number |= (uint64_t)tape_byte(tape) << 8 * i;
        return number;
}

/* A piece of at most so many bytes; *length says how many there were. */
static inline const uint8_t *tape_piece(struct tape *tape, size_t most, size_t *length) {
        const uint8_t *piece = tape->bytes;
        *length = most < tape->left ? most : tape->left;
        tape->bytes += *length;
        tape->left -= *length;
        return piece;
}

/* A text of at most size - 1 bytes without NUL, as long as the next byte says. */
static inline const char *tape_text(struct tape *tape, char *text, size_t size) {
        size_t length, most = tape_byte(tape) % size;
        const uint8_t *piece = tape_piece(tape, most, &length);
        for (size_t i = 0; i < length; i++)
                text[i] = piece[i] ? (char)piece[i] : '0';
        text[length] = '\0';
        return text;
}

/* See utf8.h. */
#include "utf8.h"

#include <stdint.h>

/* Bytes of the character that begins with this one; 0: none does. */
static size_t character_bytes(uint8_t first) {
        if (first < 0x80)
                return 1;
        if (first >= 0xc2 && first < 0xe0)
                return 2;
        if (first >= 0xe0 && first < 0xf0)
                return 3;
        return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

/* The second byte excludes longer forms, surrogates, and what is beyond the last character. */
static bool second_fits(uint8_t first, uint8_t second) {
        uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
        uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
        return second >= low && second <= high;
}

bool utf8_is_valid(const char *text, size_t length) {
        const uint8_t *at = (const uint8_t *)text, *end = at + length;
        while (at < end) {
                size_t bytes = character_bytes(*at);
                if (bytes == 0 || bytes > (size_t)(end - at) ||
                        (bytes > 1 && !second_fits(at[0], at[1])))
                        return false;
                for (size_t i = 2; i < bytes; i++)
                        if ((at[i] & 0xc0) != 0x80)
                                return false;
                at += bytes;
        }
        return true;
}

/* Byte counts as text and back. */
#include "bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "settings.h"

static const char suffixes[] = "KMGT"; /* 2^10, 2^20, 2^30, 2^40 */

int settings_parse_bytes(const char *text, uint64_t *bytes) {
        if (*text < '0' || *text > '9')
                return -EINVAL;
        uint64_t value = 0;
        for (; *text >= '0' && *text <= '9'; text++) {
                if (__builtin_mul_overflow(value, 10u, &value) ||
                        __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
                        return -ERANGE;
        }
        unsigned shift = 0;
        if (*text) {
                const char *suffix = strchr(suffixes, *text);
                if (!suffix || text[1])
                        return -EINVAL;
                shift = 10u * (unsigned)(suffix - suffixes + 1);
        }
        if (value > UINT64_MAX >> shift)
                return -ERANGE;
        *bytes = value << shift;
        return 0;
}

const char *bytes_exact(uint64_t bytes, char text[static BYTES_TEXT]) {
        unsigned unit = 0;
        while (unit < strlen(suffixes) && bytes && bytes % 1024 == 0) {
                bytes /= 1024;
                unit++;
        }
        char suffix[2] = {unit ? suffixes[unit - 1] : '\0', '\0'};
        snprintf(text, BYTES_TEXT, "%" PRIu64 "%s", bytes, suffix);
        return text;
}

const char *bytes_rounded(uint64_t bytes, char text[static BYTES_TEXT]) {
        unsigned unit = 0;
        while (unit < strlen(suffixes) && bytes >> (10 * (unit + 1)))
                unit++;
        if (unit == 0) {
                snprintf(text, BYTES_TEXT, "%" PRIu64 " bytes", bytes);
                return text;
        }
        uint64_t whole = bytes >> (10 * unit);
        uint64_t tenths = ((bytes >> (10 * (unit - 1))) % 1024) * 10 / 1024;
        if (tenths)
                snprintf(text, BYTES_TEXT, "%" PRIu64 ".%" PRIu64 " %ciB", whole, tenths,
                        suffixes[unit - 1]);
        else
                snprintf(text, BYTES_TEXT, "%" PRIu64 " %ciB", whole, suffixes[unit - 1]);
        return text;
}

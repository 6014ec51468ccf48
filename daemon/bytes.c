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

/* Divides by 1024 as often as it can, and says how often. */
static unsigned bytes_divide(uint64_t *bytes) {
        unsigned unit = 0;
        while (unit < strlen(suffixes) && *bytes && *bytes % 1024 == 0) {
                *bytes /= 1024;
                unit++;
        }
        return unit;
}

struct bytes_text bytes_exact(uint64_t bytes) {
        struct bytes_text out;
        unsigned unit = bytes_divide(&bytes);
        char suffix[2] = {unit ? suffixes[unit - 1] : '\0', '\0'};
        snprintf(out.text, sizeof(out.text), "%" PRIu64 "%s", bytes, suffix);
        return out;
}

struct bytes_text bytes_whole(uint64_t bytes) {
        struct bytes_text out;
        unsigned unit = bytes_divide(&bytes);
        if (unit)
                snprintf(out.text, sizeof(out.text), "%" PRIu64 " %ciB", bytes, suffixes[unit - 1]);
        else
                snprintf(out.text, sizeof(out.text), "%" PRIu64 " bytes", bytes);
        return out;
}

struct bytes_text bytes_rounded(uint64_t bytes) {
        struct bytes_text out;
        unsigned unit = 0;
        while (unit < strlen(suffixes) && bytes >> (10 * (unit + 1)))
                unit++;
        uint64_t whole = bytes >> (10 * unit);
        uint64_t tenths = unit ? ((bytes >> (10 * (unit - 1))) % 1024) * 10 / 1024 : 0;
        if (tenths == 0)
                return bytes_whole(whole << (10 * unit));
        snprintf(out.text, sizeof(out.text), "%" PRIu64 ".%" PRIu64 " %ciB", whole, tenths,
                suffixes[unit - 1]);
        return out;
}

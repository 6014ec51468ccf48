/* Parsing is strict: what is not wholly a number of the kind is refused. */
#include "quantity.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "printable.h"

static bool has_hex_prefix(const char *text) {
        return text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
}

int quantity_parse_bytes(const char *text, uint64_t *bytes) {
        static const char suffixes[] = "KMGT";
        bool hexadecimal = has_hex_prefix(text);
        const char *digits = hexadecimal ? text + 2 : text;
        /* strtoull alone would take signs, blanks and a second 0x. */
        bool begins = hexadecimal ? isxdigit((unsigned char)*digits) && !has_hex_prefix(digits)
                                  : isdigit((unsigned char)*digits);
        if (!begins)
                return -EINVAL;
        char *end;
        errno = 0;
        unsigned long long value = strtoull(digits, &end, hexadecimal ? 16 : 10);
        bool overflow = errno == ERANGE;
        unsigned shift = 0;
        if (*end != '\0') {
                const char *suffix = strchr(suffixes, toupper((unsigned char)*end));
                if (!suffix || end[1] != '\0')
                        return -EINVAL;
                shift = 10 * (unsigned)(suffix - suffixes + 1);
        }
        if (overflow || value > UINT64_MAX >> shift)
                return -ERANGE;
        *bytes = (uint64_t)value << shift;
        return 0;
}

int quantity_parse_id(const char *text, uint32_t *id) {
        if (!isdigit((unsigned char)text[0]))
                return -EINVAL;
        char *end;
        errno = 0;
        unsigned long long value = strtoull(text, &end, 10);
        if (*end != '\0')
                return -EINVAL;
        if (errno == ERANGE || value == 0 || value > UINT32_MAX)
                return -ERANGE;
        *id = (uint32_t)value;
        return 0;
}

int quantity_parse_seconds(const char *text, double min, double max, double *seconds) {
        if (text[0] == '\0' || text[strspn(text, "0123456789.")] != '\0')
                return -EINVAL;
        char *end;
        double value = strtod(text, &end);
        if (end == text || *end != '\0')
                return -EINVAL;
        if (value < min || value > max)
                return -ERANGE;
        *seconds = value;
        return 0;
}

const char *quantity_bytes(char text[QUANTITY_BYTES], uint64_t bytes) {
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
        unsigned unit = 0;
        while (unit < 6 && bytes >> (10 * unit) >= 1024)
                unit++;
        uint64_t whole = bytes >> (10 * unit);
        uint64_t rest = bytes - (whole << (10 * unit));
        if (rest == 0) {
                snprintf(text, QUANTITY_BYTES, "%" PRIu64 " %s", whole, units[unit]);
                return text;
        }
        /* Cut, not rounded: what is short of full must not read as full. */
        unsigned tenths = (unsigned)((rest >> (10 * (unit - 1))) * 10 / 1024);
        snprintf(text, QUANTITY_BYTES, "%" PRIu64 ".%u %s", whole, tenths, units[unit]);
        return text;
}

const char *quantity_amount(char text[QUANTITY_BYTES], uint64_t bytes, bool raw) {
        if (!raw)
                return quantity_bytes(text, bytes);
        snprintf(text, QUANTITY_BYTES, "%" PRIu64, bytes);
        return text;
}

const char *quantity_count(char text[QUANTITY_BYTES], uint64_t count) {
        char digits[QUANTITY_BYTES];
        int length = snprintf(digits, sizeof(digits), "%" PRIu64, count);
        size_t used = 0;
        for (int i = 0; i < length; i++) {
                if (i > 0 && (length - i) % 3 == 0)
                        text[used++] = ',';
                text[used++] = digits[i];
        }
        text[used] = '\0';
        return text;
}

const char *quantity_seconds(char text[QUANTITY_BYTES], uint64_t seconds) {
        uint64_t minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
        if (days > 0)
                snprintf(text, QUANTITY_BYTES, "%" PRIu64 " d %02" PRIu64 " h", days, hours % 24);
        else if (hours > 0)
                snprintf(text, QUANTITY_BYTES, "%" PRIu64 " h %02" PRIu64 " min", hours,
                        minutes % 60);
        else if (minutes > 0)
                snprintf(text, QUANTITY_BYTES, "%" PRIu64 " min %02" PRIu64 " s", minutes,
                        seconds % 60);
        else
                snprintf(text, QUANTITY_BYTES, "%" PRIu64 " s", seconds);
        return text;
}

const char *quantity_rate(char text[QUANTITY_BYTES], double per_second) {
        if (per_second >= 10)
                return quantity_count(text, (uint64_t)(per_second + 0.5));
        snprintf(text, QUANTITY_BYTES, per_second > 0 ? "%.2f" : "%.0f", per_second);
        return text;
}

const char *quantity_milliseconds(char text[QUANTITY_BYTES], uint64_t ms) {
        if (ms >= 60000)
                return quantity_seconds(text, ms / 1000);
        if (ms < 1000)
                snprintf(text, QUANTITY_BYTES, "%" PRIu64 " ms", ms);
        else
                snprintf(text, QUANTITY_BYTES, "%" PRIu64 ".%" PRIu64 " s", ms / 1000,
                        ms % 1000 / 100);
        return text;
}

const char *quantity_share(char text[QUANTITY_BYTES], uint64_t part, uint64_t whole) {
        double share = whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
        snprintf(text, QUANTITY_BYTES, "%.1f %%", share);
        return text;
}

const char *quantity_microsecond(void) {
        return printable_utf8() ? "µs" : "us";
}

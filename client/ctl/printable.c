/* UTF-8, and what of it a terminal may see. */
#include "printable.h"

#include <langinfo.h>
#include <stdlib.h>
#include <string.h>

size_t printable_decode(const char *text, size_t length, uint32_t *point) {
        static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
        const unsigned char *bytes = (const unsigned char *)text;
        unsigned char lead = bytes[0];
        if (lead < 0x80) {
                *point = lead;
                return 1;
        }
        size_t count = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
        if (lead < 0xc2 || lead > 0xf4 || count > length)
                return 0;
        uint32_t value = lead & (0x7fu >> count);
        for (size_t i = 1; i < count; i++) {
                if ((bytes[i] & 0xc0) != 0x80)
                        return 0;
                value = value << 6 | (bytes[i] & 0x3f);
        }
        if (value < smallest[count] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
                return 0;
        *point = value;
        return count;
}

bool printable_is_plain(uint32_t point) {
        if (point < 0x20 || (point >= 0x7f && point < 0xa0))
                return false;
        bool turns = point == 0x61c || point == 0x200e || point == 0x200f ||
                     (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
        return !turns;
}

bool printable_utf8(void) {
        return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

void printable_write(FILE *out, const char *text) {
        bool utf8 = printable_utf8();
        size_t length = strlen(text);
        for (size_t i = 0; i < length;) {
                uint32_t point = 0;
                size_t count = printable_decode(text + i, length - i, &point);
                bool plain = count > 0 && printable_is_plain(point) && (utf8 || point < 0x80);
                if (count == 0)
                        count = 1;
                if (plain)
                        fwrite(text + i, 1, count, out);
                for (size_t k = 0; !plain && k < count; k++)
                        fprintf(out, "\\x%02x", (unsigned char)text[i + k]);
                i += count;
        }
}

char *printable_text(const char *text) {
        char *result = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&result, &size);
        if (!out)
                return NULL;
        printable_write(out, text);
        bool failed = ferror(out) != 0;
        if (fclose(out) != 0 || failed) {
                free(result);
                return NULL;
        }
        return result;
}

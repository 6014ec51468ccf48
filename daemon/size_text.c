/* See size_text.h. */
#include "size_text.h"

#include <inttypes.h>
#include <stdio.h>

struct size_text size_text(uint64_t bytes) {
        static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
        unsigned unit = 0;
        while (unit < 4 && bytes != 0 && bytes % 1024 == 0) {
                bytes /= 1024;
                unit++;
        }
        struct size_text out;
        snprintf(out.text, sizeof(out.text), "%" PRIu64 " %s", bytes, units[unit]);
        return out;
}

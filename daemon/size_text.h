/* Byte counts in words for refusals and logs. */
#pragma once

#include <stdint.h>

struct size_text {
        char text[32];
};

/* The exact count in the largest of bytes, KiB, MiB, GiB, TiB that divides it: "310 MiB". */
struct size_text size_text(uint64_t bytes);

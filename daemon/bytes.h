/* Byte counts as text, for messages. settings.h has the way back. */
#pragma once

#include <stdint.h>

struct bytes_text {
        char text[32];
};

/* "64M": with the largest suffix that loses nothing, as an option takes it. */
struct bytes_text bytes_exact(uint64_t bytes);

/* "310 MiB": in the largest unit that loses nothing. */
struct bytes_text bytes_whole(uint64_t bytes);

/* "23.5 GiB": rounded down, for people. */
struct bytes_text bytes_rounded(uint64_t bytes);

/* Byte counts as text, for messages. settings.h has the way back. */
#pragma once

#include <stdint.h>

#define BYTES_TEXT 32

/* "64M": with the largest suffix that loses nothing, as an option takes it. Returns text. */
const char *bytes_exact(uint64_t bytes, char text[static BYTES_TEXT]);

/* "23.5 GiB": rounded down, for people. Returns text. */
const char *bytes_rounded(uint64_t bytes, char text[static BYTES_TEXT]);

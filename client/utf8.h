/* Whether bytes are text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* UTF-8 in its shortest form, without surrogates, up to U+10FFFF. */
bool utf8_is_valid(const char *text, size_t length);

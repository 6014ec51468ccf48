/* What goes to a standard stream between two calls. One capture at a time. */
#pragma once

#include <stdbool.h>

/* From now on fd 1 or 2 goes into memory. */
void captured_begin(int fd);

/* Puts the stream back and returns the text; it lives until the next call. */
const char *captured_end(void);

/* True if text is one line, not empty, with its newline. */
bool is_one_line(const char *text);

/* Refusals: one line on stderr that names the cause and the mend. While a full-screen view has the terminal, the line goes to the
 * view instead. */
#pragma once

#include <stddef.h>

#include "command.h"

/* Prints "buddyctl: …" with whatever is not printable escaped, and returns status. */
enum exit_status complain(enum exit_status status, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* From here on lines go into text (without "buddyctl: ", cut to size) instead of stderr; NULL: to stderr again. */
void complain_divert(char *text, size_t size);

/* Refusals: one line on stderr that names the cause and the mend. */
#pragma once

#include "command.h"

/* Prints "buddyctl: …" with whatever is not printable escaped, and returns status. */
enum exit_status complain(enum exit_status status, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

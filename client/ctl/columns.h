/* Which columns of a table are wanted, in which order, and whether sizes are to be in bytes: -o and -b. No state. */
#pragma once

#include "arguments.h"

#define COLUMNS_MAX 40u

struct table_column {
        const char *heading; /* its name for -o is the same in lower case */
        bool left;           /* text; numbers stand right */
};

struct columns {
        unsigned count;
        unsigned chosen[COLUMNS_MAX]; /* indexes of columns, from left to right */
        bool raw_bytes;
        bool listed; /* -o was given */
};

/* EXIT_DONE: *out is set. EXIT_USAGE: no such column, or options that do not go together, and said so. */
enum exit_status columns_choose(const struct invocation *invocation,
        const struct table_column *columns, unsigned count, struct columns *out);

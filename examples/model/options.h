/* What one run of model was asked for. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum command { COMMAND_PUBLISH, COMMAND_USE, COMMAND_DROP };

struct options {
        const char *socket; /* NULL: the library's own choice */
        const char *pool;   /* NULL: the library's own choice */
        enum command command;
        const char *key;
        const char *file; /* with COMMAND_PUBLISH */
        uint64_t seconds; /* with COMMAND_USE: for how long to follow the key; 0: not at all */
};

/* Reads the command line. Returns true to run; else *exit_code is how to end. */
bool options_read(int argc, char **argv, struct options *out, int *exit_code);

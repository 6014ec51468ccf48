/* What one run was asked for. Plain data, filled once before anything is started. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define WORKERS_MAX 64

enum exit_code {
        EXIT_ALL_DONE = 0,
        EXIT_BROKEN = 1,     /* could not run, or broke off */
        EXIT_USAGE = 2,      /* wrong command line */
        EXIT_INCOMPLETE = 3, /* done, but some files could not be read */
        EXIT_INTERRUPTED = 130,
};

struct options {
        const char *folder;   /* without trailing slashes */
        const char *socket;   /* NULL: the library's own choice */
        const char *pool;     /* NULL: the library's own choice */
        const char *output;   /* NULL: standard output */
        unsigned workers;     /* 1 … WORKERS_MAX */
        bool drill;           /* kill a worker … */
        uint64_t drill_after; /* … once so many answers came from the workers */
};

/* Reads the command line. Returns true to run; else *exit_code is how to end: help was printed, or one line that
 * says what is wrong. */
bool options_read(int argc, char **argv, struct options *out, int *exit_code);

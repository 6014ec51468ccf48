/* What one run of fanout was asked for. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define READERS_MAX 64

struct options {
        const char *socket; /* NULL: the library's own choice */
        const char *pool;   /* NULL: the library's own choice */
        unsigned readers;   /* 1 … READERS_MAX */
        uint64_t bytes, rounds;
};

/* Reads the command line. Returns true to run; else *exit_code is how to end. */
bool options_read(int argc, char **argv, struct options *out, int *exit_code);

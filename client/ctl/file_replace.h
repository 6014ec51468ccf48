/* A file that is there whole or not at all: written under a name beside its own and renamed. What is no regular file (a device, a pipe)
 * is written to as it is; "-" is stdout. Not thread-safe. */
#pragma once

#include <limits.h>
#include <stdio.h>

#include "command.h"

struct file_replace {
        FILE *out;                  /* write here; owned unless stdout */
        const char *path;           /* as it was given; not owned */
        char target[PATH_MAX];      /* what is replaced; empty: nothing is */
        char beside[PATH_MAX + 16]; /* what is written meanwhile; empty: none */
};

/* EXIT_DONE: ends with file_replace_end. EXIT_REFUSED: said why. */
enum exit_status file_replace_begin(struct file_replace *file, const char *path);

/* Puts it in its place, if status is EXIT_DONE and all of it could be written; else it is gone, and what was there before stays.
 * Returns status, or EXIT_REFUSED: said why. */
enum exit_status file_replace_end(struct file_replace *file, enum exit_status status);

/* What a user may choose from for memory of 4 KiB to 1 MiB, and the floors below what takes a system call. A choice is
 * opened in each process that uses it, by that process. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CHOICES_MAX    8u
#define CHOICES_BUDDYD 0u /* its index */

/* What a process needs to know to open a choice. */
struct choices_place {
        const char *socket, *pool; /* of the daemon */
};

struct choice {
        const char *name;
        bool is_floor;  /* no allocator: a pair is a round trip, and sizes do not matter */
        bool is_shared; /* memory that two processes share */
        /* 0; -1: it is not to be had here, and *why (static) says so. */
        int (*open)(const struct choices_place *place, const char **why);
        /* So many of alloc + release, or round trips; any thread. 0, or -1: it failed. */
        int (*pairs)(uint64_t bytes, unsigned count);
};

extern const struct choice *const choices[];
extern const unsigned choices_count;

extern const struct choice choice_buddyd, choice_buddyd_uncached, choice_socket, choice_futex;

/* Makes what has to be there before the processes that use it. */
void choices_prepare(void);

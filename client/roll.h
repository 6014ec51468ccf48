/* The roll: per range, how often the daemon says that this session holds it, and how often the
 * table says so. Made when a connection was lost, to be compared. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "holdings.h"

struct roll_entry {
        uint64_t offset, length;
        uint32_t generation;
        uint32_t granted; /* by the daemon: granted and attached */
        uint32_t given;   /* by the daemon: given by peers */
        uint32_t known;   /* by the table */
        uint32_t owed;    /* to be returned, and not in the table */
        bool used;
};

struct roll {
        struct roll_entry *slots; /* open addressing, linear probing; owned */
        size_t slot_count;        /* 0 or a power of two; at most half is used */
        size_t used;
};

void roll_deinit(struct roll *roll);

/* Room for so many entries in all. -ENOMEM. */
int roll_reserve(struct roll *roll, size_t count);

/* The entry of a range, made if there is none. NULL: no memory. Valid until the next one is
 * made. */
struct roll_entry *roll_enter(struct roll *roll, const struct holding *range);

/* NULL: there is none. */
struct roll_entry *roll_find(const struct roll *roll, const struct holding *range);

/* Allocators that can do the same work: grant and take back blocks of 4 KiB << order. Each case is
 * written once and runs against any of them through these calls. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/buddy.h"

#define NO_BLOCK UINT64_MAX

struct contender {
        const char *name;
        void (*open)(uint64_t pages); /* everything free */
        void (*close)(void);
        bool keeps_blocks;                 /* close does not free what is held */
        uint64_t (*alloc)(unsigned order); /* a handle below 2^56, or NO_BLOCK */
        void (*release)(uint64_t handle, unsigned order);
};

extern struct buddy bench_buddy; /* what contender_buddy works on while it is open */

extern const struct contender contender_buddy;

/* The C libraries' allocators that this machine has: glibc and, if they can be loaded, jemalloc and
 * mimalloc. Returns how many; they stay valid. */
size_t contenders_load(const struct contender **out, size_t max);

/* Giving the memory of free pages back to the system, in units of 2 MiB (daemon/reserve.h), one after the other: whoever needs
 * the pool meanwhile waits for one unit at most. Pages stay in the free sets all the while, so nobody is told that
 * there is no space because of it. Lazy pools only: an eager one promises that every page is reserved. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct call;
struct served_pool;

struct trimmed {
        uint64_t units, bytes;
        int error; /* -errno of what ended it early */
};

/* Trims what was free for idle_s seconds, or all that is free (0). Any thread. */
struct trimmed trim_pool(
        struct served_pool *served, uint32_t idle_s, const _Atomic bool *cancelled);

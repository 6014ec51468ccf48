/* The cases with two threads on one allocator, each pinned to a CPU of its own. */
#pragma once

#include "bench_buddy_cases.h"

/* Pairs of single pages by two threads at once: ns per pair and thread. held_share: 0 or 0.7. No ratio: a process
 * with threads has a slower yardstick. */
struct measure case_two_threads(double held_share, uint64_t seed);

/* Two threads take and release blocks of 4 KiB … 64 KiB, 16 at a time, on a pool of 1 GiB that is otherwise
 * empty. Returns how many of so many allocations were refused. */
uint64_t case_false_no_memory(uint64_t allocations, uint64_t seed);

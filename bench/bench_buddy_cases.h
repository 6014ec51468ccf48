/* The cases with one thread. Each runs once with a seed of its own and answers with what it measured. */
#pragma once

#include "bench_contender.h"
#include "bench_meter.h"

#define BENCH_PAGES       (UINT64_C(1) << 18) /* 1 GiB of 4 KiB pages */
#define BENCH_PAGES_LARGE (UINT64_C(1) << 28) /* 1 TiB */
#define CHURN_ORDERS      9u /* 4 KiB … 1 MiB, each half as frequent as the one below */

/* One alloc and one release on a pool where nothing is held. */
struct measure case_empty_pair(const struct contender *contender, unsigned order, uint64_t seed);

/* The same where 70 % are held: filled with blocks of the order, of which a random 30 % were released. */
struct measure case_full_pair(const struct contender *contender, unsigned order, uint64_t seed);

/* Single pages: taking all of them, and releasing all of them in random order; per call. */
void case_fill(const struct contender *contender, uint64_t seed, struct measure *fill,
        struct measure *release);

/* Release a random block, take one of a geometric size, at 70 % held; per call. Begins when as many calls were
 * made as there are blocks held, or half a million. */
struct measure case_churn(const struct contender *contender, uint64_t pages, uint64_t seed);

/* Batches of 64 single pages at 70 % held and their releases; per page. Of the buddy allocator only. */
struct measure case_batch(uint64_t seed);

/* Share of the free memory in blocks of 2 MiB and more after so many calls of churn. */
double case_fragmentation(uint64_t operations, uint64_t seed);

/* ns to make an allocator of 1 TiB, everything free, and its bytes of metadata per page. */
double case_init_large(double *bytes_per_page);

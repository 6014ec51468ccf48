/* Counters and latencies of one worker for one pool. Each is written by its worker alone and read by
 * any thread: plain loads and stores that happen to be atomic, summed when somebody asks. */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

/* Log-linear buckets: exact below 2^6 ns, then 32 to each power of two up to 2^40 ns (18 minutes), so
 * a value is off by less than 1.6 %. */
#define HISTOGRAM_SUB_BITS 5u
#define HISTOGRAM_MAX_BITS 40u
#define HISTOGRAM_BUCKETS  ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1u) << HISTOGRAM_SUB_BITS)

struct histogram {
        _Atomic uint64_t counts[HISTOGRAM_BUCKETS];
        _Atomic uint64_t sum_ns;
        _Atomic uint64_t max_ns;
};

/* The one counter list: name, and so the field of struct statistics. */
#define STATISTICS_LIST(X)                                                                         \
        X(allocs)                                                                                  \
        X(frees)                                                                                   \
        X(requested_bytes)                                                                         \
        X(granted_bytes)                                                                           \
        X(no_space)                                                                                \
        X(quota_refusals)                                                                          \
        X(reclaimed_bytes)

struct statistics {
#define X(name) _Atomic uint64_t name;
        STATISTICS_LIST(X)
#undef X
        alignas(64) struct histogram alloc;
        struct histogram release;
};

/* Adds to a counter of the calling thread's own. */
static inline void statistics_count(_Atomic uint64_t *counter, uint64_t n) {
        uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
        atomic_store_explicit(counter, now + n, memory_order_relaxed);
}

/* Counts ranges that were granted: bytes asked for and bytes granted, each per range. */
static inline void statistics_grant(
        struct statistics *statistics, uint64_t count, uint64_t requested, uint64_t granted) {
        statistics_count(&statistics->allocs, count);
        statistics_count(&statistics->requested_bytes, count * requested);
        statistics_count(&statistics->granted_bytes, count * granted);
}

/* Bucket of a value, and the value in the middle of a bucket. */
unsigned histogram_bucket(uint64_t ns);
uint64_t histogram_value(unsigned bucket);

/* Counts one value; the calling thread's own histogram. */
void histogram_add(struct histogram *histogram, uint64_t ns);

/* The value below which this share (0 … 1) of the counted values lies, in ns; 0 when empty. The
 * histogram must be at rest: a sum. */
uint64_t histogram_quantile(const struct histogram *sum, double share);

/* How many of the counted values are this long at most, as exactly as the buckets are. The histogram must be
 * at rest: a sum. */
uint64_t histogram_count_to(const struct histogram *sum, uint64_t ns);

/* Adds what another thread may be counting right now to a sum of the caller's own. */
void statistics_add(struct statistics *sum, const struct statistics *live);

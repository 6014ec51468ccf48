/* See statistics.h. */
#include "statistics.h"

#include "core/geometry.h"

unsigned histogram_bucket(uint64_t ns) {
        if (ns >= UINT64_C(1) << HISTOGRAM_MAX_BITS)
                return HISTOGRAM_BUCKETS - 1;
        if (ns < UINT64_C(1) << (HISTOGRAM_SUB_BITS + 1))
                return (unsigned)ns;
        unsigned shift = log2_floor(ns) - HISTOGRAM_SUB_BITS;
        return (shift << HISTOGRAM_SUB_BITS) + (unsigned)(ns >> shift);
}

uint64_t histogram_value(unsigned bucket) {
        if (bucket < 1u << (HISTOGRAM_SUB_BITS + 1))
                return bucket;
        unsigned shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
        uint64_t low = (uint64_t)(bucket - (shift << HISTOGRAM_SUB_BITS)) << shift;
        return low + ((UINT64_C(1) << shift) - 1) / 2;
}

void histogram_add(struct histogram *histogram, uint64_t ns) {
        statistics_count(&histogram->counts[histogram_bucket(ns)], 1);
        statistics_count(&histogram->sum_ns, ns);
        if (ns > atomic_load_explicit(&histogram->max_ns, memory_order_relaxed))
                atomic_store_explicit(&histogram->max_ns, ns, memory_order_relaxed);
}

uint64_t histogram_quantile(const struct histogram *sum, double share) {
        uint64_t total = 0;
        for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
                total += sum->counts[i];
        if (total == 0)
                return 0;

        uint64_t rank = (uint64_t)(share * (double)total);
        if (rank >= total)
                rank = total - 1;
        unsigned bucket = 0;
        for (uint64_t seen = sum->counts[0]; seen <= rank; seen += sum->counts[bucket])
                bucket++;
        uint64_t value = histogram_value(bucket);
        return value < sum->max_ns ? value : sum->max_ns;
}

uint64_t histogram_count_to(const struct histogram *sum, uint64_t ns) {
        uint64_t count = 0;
        for (unsigned i = 0; i < HISTOGRAM_BUCKETS && histogram_value(i) <= ns; i++)
                count += sum->counts[i];
        return count;
}

static void histogram_merge(struct histogram *sum, const struct histogram *live) {
        for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
                statistics_count(&sum->counts[i],
                        atomic_load_explicit(&live->counts[i], memory_order_relaxed));
        statistics_count(&sum->sum_ns, atomic_load_explicit(&live->sum_ns, memory_order_relaxed));
        uint64_t max_ns = atomic_load_explicit(&live->max_ns, memory_order_relaxed);
        if (max_ns > sum->max_ns)
                sum->max_ns = max_ns;
}

void statistics_add(struct statistics *sum, const struct statistics *live) {
#define X(name)                                                                                    \
        statistics_count(&sum->name, atomic_load_explicit(&live->name, memory_order_relaxed));
        STATISTICS_LIST(X)
#undef X
        histogram_merge(&sum->alloc, &live->alloc);
        histogram_merge(&sum->release, &live->release);
}

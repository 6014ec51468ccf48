/* Latency buckets and their quantiles, and sums over workers. */
#include "daemon/statistics.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct statistics *statistics_zeroed(void) {
        struct statistics *statistics =
                aligned_alloc(_Alignof(struct statistics), sizeof *statistics);
        cr_assert_not_null(statistics);
        *statistics = (struct statistics){0};
        return statistics;
}

Test(histogram, each_value_is_in_a_bucket_near_it) {
        for (uint64_t ns = 0; ns < UINT64_C(1) << HISTOGRAM_MAX_BITS; ns += 1 + ns / 7) {
                unsigned bucket = histogram_bucket(ns);
                cr_assert_lt(bucket, HISTOGRAM_BUCKETS);
                uint64_t value = histogram_value(bucket);
                uint64_t off = value > ns ? value - ns : ns - value;
                cr_assert_leq(off * 50, ns, "%lu is counted as %lu", ns, value);
        }
}

Test(histogram, buckets_rise_with_values) {
        unsigned last = 0;
        for (uint64_t ns = 1; ns < 1000000; ns++) {
                unsigned bucket = histogram_bucket(ns);
                cr_assert(bucket == last || bucket == last + 1, "%lu", ns);
                last = bucket;
        }
}

Test(histogram, beyond_the_top_counts_as_the_top) {
        cr_expect_eq(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
        cr_expect_eq(
                histogram_bucket((UINT64_C(1) << HISTOGRAM_MAX_BITS) - 1), HISTOGRAM_BUCKETS - 1);
}

Test(histogram, quantiles_of_nothing_are_zero) {
        struct statistics *statistics = statistics_zeroed();
        cr_expect_eq(histogram_quantile(&statistics->alloc, 0.5), 0);
        free(statistics);
}

Test(histogram, quantiles_are_within_two_percent) {
        struct statistics *statistics = statistics_zeroed();
        for (uint64_t ns = 1; ns <= 100000; ns++)
                histogram_add(&statistics->alloc, ns);
        static const double shares[] = {0.5, 0.99, 0.999};
        for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
                double value = (double)histogram_quantile(&statistics->alloc, shares[i]);
                cr_expect_float_eq(value, shares[i] * 100000, shares[i] * 2000, "%f", shares[i]);
        }
        cr_expect_eq(statistics->alloc.max_ns, 100000);
        free(statistics);
}

Test(histogram, counts_up_to_a_bound_as_exactly_as_its_buckets) {
        struct statistics *statistics = statistics_zeroed();
        uint64_t sum = 0;
        for (uint64_t ns = 1; ns <= 100000; sum += ns++)
                histogram_add(&statistics->alloc, ns);
        histogram_add(&statistics->alloc, UINT64_C(1) << HISTOGRAM_MAX_BITS);
        cr_expect_eq(histogram_count_to(&statistics->alloc, 0), 0);
        cr_expect_eq(histogram_count_to(&statistics->alloc, 10), 10);
        for (uint64_t bound = 100; bound <= 100000; bound *= 10)
                cr_expect_float_eq((double)histogram_count_to(&statistics->alloc, bound),
                        (double)bound, (double)bound / 50);
        cr_expect_eq(histogram_count_to(&statistics->alloc, UINT64_C(10000000000)), 100000);
        cr_expect_eq(histogram_count_to(&statistics->alloc, UINT64_MAX), 100001);
        cr_expect_eq(statistics->alloc.sum_ns, sum + (UINT64_C(1) << HISTOGRAM_MAX_BITS));
        free(statistics);
}

Test(histogram, no_quantile_is_above_the_largest_value) {
        struct statistics *statistics = statistics_zeroed();
        histogram_add(&statistics->alloc, 1000000);
        cr_expect_leq(histogram_quantile(&statistics->alloc, 0.999), 1000000);
        cr_expect_geq(histogram_quantile(&statistics->alloc, 0.5), 980000);
        free(statistics);
}

Test(statistics, sums_are_over_all_workers) {
        struct statistics *workers[3], *sum = statistics_zeroed();
        for (uint64_t i = 0; i < 3; i++) {
                workers[i] = statistics_zeroed();
                statistics_grant(workers[i], 2, 100, 4096);
                statistics_count(&workers[i]->reclaimed_bytes, i);
                histogram_add(&workers[i]->release, 10 + i);
                statistics_add(sum, workers[i]);
        }
        cr_expect_eq(sum->allocs, 6);
        cr_expect_eq(sum->requested_bytes, 600);
        cr_expect_eq(sum->granted_bytes, 6 * 4096);
        cr_expect_eq(sum->reclaimed_bytes, 3);
        cr_expect_eq(sum->release.max_ns, 12);
        cr_expect_eq(histogram_quantile(&sum->release, 0.5), 11);
        for (int i = 0; i < 3; i++)
                free(workers[i]);
        free(sum);
}

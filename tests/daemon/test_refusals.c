/* Refusals by uid: each is counted where it belongs, also from many threads at once. */
#include "daemon/refusals.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

static struct refusals refusals;

static void open_empty(void) {
        cr_assert_eq(refusals_init(&refusals), 0);
}

static void close_all(void) {
        refusals_deinit(&refusals);
}

TestSuite(refusals, .init = open_empty, .fini = close_all);

Test(refusals, are_counted_by_uid_and_reason) {
        static const uint32_t uids[] = {1000, 0, UINT32_MAX, 33, 1000, 5, 1000};
        uint64_t before_ms = (uint64_t)time(NULL) * 1000;
        for (size_t i = 0; i < sizeof(uids) / sizeof(uids[0]); i++)
                refusals_count(&refusals, uids[i], i % 2 ? STATUS_QUOTA : STATUS_NO_SPACE);
        struct refusals_row *rows;
        size_t count;
        cr_assert_eq(refusals_copy(&refusals, &rows, &count), 0);
        cr_assert_eq(count, 5);
        static const uint32_t ascending[] = {0, 5, 33, 1000, UINT32_MAX};
        for (size_t i = 0; i < count; i++) {
                cr_expect_eq(rows[i].uid, ascending[i]);
                cr_expect_geq(rows[i].since_ms, before_ms);
        }
        cr_expect_eq(rows[3].counts[STATUS_NO_SPACE], 3);
        cr_expect_eq(rows[3].counts[STATUS_QUOTA], 0);
        cr_expect_eq(rows[0].counts[STATUS_QUOTA], 1);
        cr_expect_eq(rows[4].counts[STATUS_NO_SPACE], 1);
        free(rows);
}

Test(refusals, none_is_an_empty_list) {
        struct refusals_row *rows;
        size_t count = 7;
        cr_assert_eq(refusals_copy(&refusals, &rows, &count), 0);
        cr_expect_eq(count, 0);
        free(rows);
}

Test(refusals, every_status_has_a_place) {
#define X(name, wire, number) cr_expect_lt((unsigned)STATUS_##name, REFUSALS_STATUSES);
        STATUS_LIST(X)
#undef X
}

#define THREADS 4
#define ROUNDS  20000

static void *count_many(void *argument) {
        (void)argument;
        for (uint32_t i = 0; i < ROUNDS; i++)
                refusals_count(&refusals, i % 50, STATUS_STALE);
        return NULL;
}

Test(refusals, none_is_lost_between_threads) {
        pthread_t threads[THREADS];
        for (size_t i = 0; i < THREADS; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, count_many, NULL), 0);
        for (size_t i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        struct refusals_row *rows;
        size_t count;
        cr_assert_eq(refusals_copy(&refusals, &rows, &count), 0);
        cr_assert_eq(count, 50);
        for (size_t i = 0; i < count; i++)
                cr_expect_eq(rows[i].counts[STATUS_STALE], THREADS * ROUNDS / 50);
        free(rows);
}

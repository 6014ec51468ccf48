/* See served_pool.h. */
#include "served_pool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

static struct statistics *statistics_new(unsigned count) {
        size_t bytes = count * sizeof(struct statistics);
        struct statistics *statistics = aligned_alloc(_Alignof(struct statistics), bytes);
        if (statistics)
                memset(statistics, 0, bytes);
        return statistics;
}

int served_pool_init(struct served_pool *served, struct store *store, unsigned worker_count) {
        *served = (struct served_pool){
                .store = store,
                .pool = store->pool,
                .page_bytes = UINT64_C(1) << pool_page_shift(store->pool),
                .worker_count = worker_count,
        };
        served->presence = calloc(LEDGER_SESSIONS, sizeof(*served->presence));
        served->statistics = statistics_new(worker_count);
        int error = served->presence && served->statistics
                            ? waiters_init(&served->waiters, store->pool)
                            : -ENOMEM;
        if (error) {
                free(served->presence);
                free(served->statistics);
        }
        return error;
}

void served_pool_deinit(struct served_pool *served) {
        waiters_deinit(&served->waiters);
        free(served->presence);
        free(served->statistics);
}

void served_pool_statistics(const struct served_pool *served, struct statistics *sum) {
        for (unsigned i = 0; i < served->worker_count; i++)
                statistics_add(sum, &served->statistics[i]);
}

void served_pool_explain(
        struct served_pool *served, unsigned order, size_t count, char detail[SERVED_POOL_DETAIL]) {
        struct buddy_totals totals;
        pool_totals(served->pool, &totals);
        struct bytes_text wanted = bytes_whole(served->page_bytes << order);
        struct bytes_text free_bytes = bytes_whole(totals.free_pages * served->page_bytes);
        struct bytes_text largest =
                bytes_whole(totals.largest_free_order < 0
                                    ? 0
                                    : served->page_bytes << (unsigned)totals.largest_free_order);
        char what[64];
        if (count == 1)
                snprintf(what, sizeof(what), "no free block of %s", wanted.text);
        else
                snprintf(what, sizeof(what), "no %zu free blocks of %s", count, wanted.text);
        snprintf(detail, SERVED_POOL_DETAIL, "%s: %s free, largest %s", what, free_bytes.text,
                largest.text);
}

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

void served_pool_adjust(struct served_pool *served, const struct pool_settings *settings) {
        atomic_store(&served->admin_group,
                settings->admin_group_set ? settings->admin_group : ADMIN_GROUP_NONE);
        atomic_store(&served->grace_s, settings->grace_seconds);
        atomic_store(&served->trim_after_s, settings->trim_after_seconds);
}

int served_pool_init(struct served_pool *served, struct store *store, unsigned worker_count) {
        *served = (struct served_pool){
                .store = store,
                .pool = store->pool,
                .page_bytes = UINT64_C(1) << pool_page_shift(store->pool),
                .worker_count = worker_count,
        };
        served_pool_adjust(served, &store->settings);
        served->presence = calloc(LEDGER_SESSIONS, sizeof(*served->presence));
        served->statistics = statistics_new(worker_count);
        int error = served->presence && served->statistics ? pulse_init(&served->pulse) : -ENOMEM;
        if (error)
                goto free_tables;
        error = -pthread_mutex_init(&served->seek_lock, NULL);
        if (error)
                goto free_pulse;
        error = refusals_init(&served->refusals);
        if (error)
                goto destroy_lock;
        error = waiters_init(&served->waiters, store->pool);
        if (!error)
                return 0;
        refusals_deinit(&served->refusals);
destroy_lock:
        pthread_mutex_destroy(&served->seek_lock);
free_pulse:
        pulse_deinit(&served->pulse);
free_tables:
        free(served->presence);
        free(served->statistics);
        return error;
}

void served_pool_deinit(struct served_pool *served) {
        waiters_deinit(&served->waiters);
        refusals_deinit(&served->refusals);
        pthread_mutex_destroy(&served->seek_lock);
        pulse_deinit(&served->pulse);
        free(served->presence);
        free(served->statistics);
}

void served_pool_statistics(const struct served_pool *served, struct statistics *sum) {
        for (unsigned i = 0; i < served->worker_count; i++)
                statistics_add(sum, &served->statistics[i]);
}

/* "310 MiB free, largest 1 MiB" */
static void figures_of(struct served_pool *served, char figures[static SERVED_POOL_DETAIL / 2]) {
        struct buddy_totals totals;
        pool_totals(served->pool, &totals);
        struct bytes_text free_bytes = bytes_whole(totals.free_pages * served->page_bytes);
        struct bytes_text largest =
                bytes_whole(totals.largest_free_order < 0
                                    ? 0
                                    : served->page_bytes << (unsigned)totals.largest_free_order);
        snprintf(figures, SERVED_POOL_DETAIL / 2, "%s free, largest %s", free_bytes.text,
                largest.text);
}

void served_pool_explain(
        struct served_pool *served, unsigned order, size_t count, char detail[SERVED_POOL_DETAIL]) {
        struct bytes_text wanted = bytes_whole(served->page_bytes << order);
        char figures[SERVED_POOL_DETAIL / 2];
        figures_of(served, figures);
        if (count == 1)
                snprintf(detail, SERVED_POOL_DETAIL, "no free block of %s: %s", wanted.text,
                        figures);
        else
                snprintf(detail, SERVED_POOL_DETAIL, "no %zu free blocks of %s: %s", count,
                        wanted.text, figures);
}

void served_pool_explain_unbacked(const struct served_pool *served, unsigned order, size_t count,
        char detail[SERVED_POOL_DETAIL]) {
        bool named = served->store->settings.backing == BACKING_POSIX_SHM;
        struct bytes_text wanted = bytes_whole(served->page_bytes << order);
        const char *cause = named ? "/dev/shm is full or the memory limit is reached"
                                  : "it has run out or the memory limit is reached";
        if (count == 1)
                snprintf(detail, SERVED_POOL_DETAIL,
                        "a block of %s is free, but the system has no memory for it: %s",
                        wanted.text, cause);
        else
                snprintf(detail, SERVED_POOL_DETAIL,
                        "%zu blocks of %s are free, but the system has no memory for them: %s",
                        count, wanted.text, cause);
}

void served_pool_explain_draining(
        const struct served_pool *served, char detail[SERVED_POOL_DETAIL]) {
        snprintf(detail, SERVED_POOL_DETAIL,
                "pool '%s' is draining, so nothing is granted; wait until an operator ends that "
                "(buddyctl drain --off)",
                served->store->settings.name);
}

void served_pool_explain_turn(
        struct served_pool *served, uint32_t uid, unsigned ahead, char detail[SERVED_POOL_DETAIL]) {
        char figures[SERVED_POOL_DETAIL / 2];
        figures_of(served, figures);
        snprintf(detail, SERVED_POOL_DETAIL,
                "%u%s earlier %s of uid %" PRIu32 " %s still in line: %s", ahead,
                ahead < WAITERS_AHEAD_MAX ? "" : " or more", ahead == 1 ? "wait" : "waits", uid,
                ahead == 1 ? "is" : "are", figures);
}

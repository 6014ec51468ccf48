/* See trim.h. */
#include "trim.h"

#include <time.h>

#include "served_pool.h"

static bool pages_are_free(void *context, uint64_t offset_bytes, uint64_t length_bytes) {
        const struct served_pool *served = context;
        uint64_t first = offset_bytes / served->page_bytes;
        uint64_t last = (offset_bytes + length_bytes - 1) / served->page_bytes;
        return pool_run_is_free(served->pool, first, last - first + 1);
}

static uint32_t clock_s(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
        return (uint32_t)now.tv_sec + 1;
}

struct trimmed trim_pool(
        struct served_pool *served, uint32_t idle_s, const _Atomic bool *cancelled) {
        struct reserve_map *map = &served->store->reserved;
        struct reserve_trim trim = {pages_are_free, served, idle_s, clock_s()};
        struct trimmed trimmed = {0};
        uint64_t size_bytes = pool_pages(served->pool) * served->page_bytes;
        uint64_t units = (size_bytes + RESERVE_UNIT_BYTES - 1) / RESERVE_UNIT_BYTES;
        for (uint64_t unit = 0; unit < units && !trimmed.error && !atomic_load(cancelled); unit++) {
                uint64_t bytes = 0;
                trimmed.error = reserve_map_trim(map, unit, &trim, &bytes);
                trimmed.units += bytes > 0;
                trimmed.bytes += bytes;
        }
        atomic_fetch_add_explicit(&served->trimmed_bytes, trimmed.bytes, memory_order_relaxed);
        return trimmed;
}

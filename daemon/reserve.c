/* Reserving memory, at once and on first use. */
#include "reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "bytes.h"
#include "log.h"
#include "stop.h"

#define PROGRESS_MIN_BYTES (UINT64_C(4) << 30) /* smaller ones are ready before a line is read */
#define PROGRESS_STEPS     10

static uint64_t min_u64(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static int reserve_once(int fd, uint64_t offset_bytes, uint64_t length_bytes) {
        for (;;) {
                if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset_bytes, (off_t)length_bytes) ==
                        0)
                        return 0;
                if (errno != EINTR)
                        return -errno;
        }
}

static void progress_log(const char *pool_name, uint64_t done_bytes, uint64_t length_bytes) {
        if (!pool_name || length_bytes < PROGRESS_MIN_BYTES)
                return;
        uint64_t step = length_bytes / PROGRESS_STEPS;
        uint64_t before = done_bytes - min_u64(done_bytes, RESERVE_UNIT_BYTES);
        if (before / step == done_bytes / step)
                return;
        log_event(LOG_EVENT_POOL_RESERVING, &(struct log_subject){.pool = pool_name},
                "pool '%s': %s of %s reserved", pool_name, bytes_rounded(done_bytes).text,
                bytes_rounded(length_bytes).text);
}

int reserve_range(int fd, uint64_t offset_bytes, uint64_t length_bytes, const char *pool_name) {
        uint64_t done = 0;
        while (done < length_bytes) {
                if (stop_requested())
                        return -ECANCELED;
                uint64_t slice = min_u64(RESERVE_UNIT_BYTES, length_bytes - done);
                int error = reserve_once(fd, offset_bytes + done, slice);
                if (error)
                        return error;
                done += slice;
                progress_log(pool_name, done, length_bytes);
        }
        return 0;
}

uint64_t reserve_resident_bytes(int fd) {
        struct stat stat;
        return fstat(fd, &stat) == 0 ? (uint64_t)stat.st_blocks * 512 : 0;
}

/* ---- On first use ---- */

int reserve_map_init(struct reserve_map *map, int fd, uint64_t length_bytes) {
        uint64_t units = (length_bytes + RESERVE_UNIT_BYTES - 1) / RESERVE_UNIT_BYTES;
        _Atomic uint64_t *bits = calloc(units / 64 + 1, sizeof(*bits));
        if (!bits)
                return -ENOMEM;
        map->fd = fd;
        map->length_bytes = length_bytes;
        map->units = bits;
        pthread_mutex_init(&map->lock, NULL);
        return 0;
}

void reserve_map_deinit(struct reserve_map *map) {
        if (!map->units)
                return;
        pthread_mutex_destroy(&map->lock);
        free((void *)map->units);
        map->units = NULL;
}

static bool unit_is_reserved(const struct reserve_map *map, uint64_t unit) {
        return atomic_load_explicit(&map->units[unit / 64], memory_order_acquire) >> (unit % 64) &
               1;
}

static uint64_t unit_bytes(const struct reserve_map *map, uint64_t unit) {
        return min_u64(RESERVE_UNIT_BYTES, map->length_bytes - unit * RESERVE_UNIT_BYTES);
}

static int unit_reserve_locked(struct reserve_map *map, uint64_t unit) {
        if (unit_is_reserved(map, unit))
                return 0;
        int error = reserve_once(map->fd, unit * RESERVE_UNIT_BYTES, unit_bytes(map, unit));
        if (!error)
                atomic_fetch_or_explicit(
                        &map->units[unit / 64], UINT64_C(1) << (unit % 64), memory_order_release);
        return error;
}

int reserve_map_commit(struct reserve_map *map, uint64_t offset_bytes, uint64_t length_bytes) {
        uint64_t unit = offset_bytes / RESERVE_UNIT_BYTES;
        uint64_t end = (offset_bytes + length_bytes + RESERVE_UNIT_BYTES - 1) / RESERVE_UNIT_BYTES;
        while (unit < end && unit_is_reserved(map, unit))
                unit++;
        if (unit == end)
                return 0;
        int error = 0;
        pthread_mutex_lock(&map->lock);
        for (; unit < end && !error; unit++)
                error = unit_reserve_locked(map, unit);
        pthread_mutex_unlock(&map->lock);
        return error;
}

static uint64_t unit_count(const struct reserve_map *map) {
        return (map->length_bytes + RESERVE_UNIT_BYTES - 1) / RESERVE_UNIT_BYTES;
}

uint64_t reserve_map_bytes(const struct reserve_map *map) {
        uint64_t bytes = 0;
        for (uint64_t unit = 0; unit < unit_count(map); unit++)
                bytes += unit_is_reserved(map, unit) ? unit_bytes(map, unit) : 0;
        return bytes;
}

int reserve_map_mend(struct reserve_map *map) {
        int error = 0;
        pthread_mutex_lock(&map->lock);
        for (uint64_t unit = 0; unit < unit_count(map) && !error; unit++)
                if (unit_is_reserved(map, unit))
                        error = reserve_once(
                                map->fd, unit * RESERVE_UNIT_BYTES, unit_bytes(map, unit));
        pthread_mutex_unlock(&map->lock);
        return error;
}

/* Reserving memory, at once and on first use. */
#include "reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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

int reserve_give_back(int fd, uint64_t offset_bytes, uint64_t length_bytes) {
        const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        for (;;) {
                if (fallocate(fd, mode, (off_t)offset_bytes, (off_t)length_bytes) == 0)
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

static uint64_t unit_count(uint64_t length_bytes) {
        return (length_bytes + RESERVE_UNIT_BYTES - 1) / RESERVE_UNIT_BYTES;
}

int reserve_map_init(struct reserve_map *map, int fd, uint64_t length_bytes) {
        uint64_t units = unit_count(length_bytes), words = units / 64 + 1;
        *map = (struct reserve_map){
                .fd = fd,
                .length_bytes = length_bytes,
                .units = calloc(words, sizeof(*map->units)),
                .resident = calloc(words, sizeof(*map->resident)),
                .touched = calloc(words, sizeof(*map->touched)),
                .idle_since_s = calloc(units + 1, sizeof(*map->idle_since_s)),
        };
        pthread_mutex_init(&map->lock, NULL);
        if (!map->units || !map->resident || !map->touched || !map->idle_since_s) {
                reserve_map_deinit(map);
                return -ENOMEM;
        }
        /* Which of it a predecessor reserved is not known. */
        for (uint64_t i = 0; i < words && reserve_resident_bytes(fd) > 0; i++)
                atomic_store_explicit(&map->resident[i], UINT64_MAX, memory_order_relaxed);
        return 0;
}

void reserve_map_deinit(struct reserve_map *map) {
        if (map->length_bytes == 0)
                return;
        pthread_mutex_destroy(&map->lock);
        free((void *)map->units);
        free((void *)map->resident);
        free((void *)map->touched);
        free(map->idle_since_s);
        *map = (struct reserve_map){0};
}

static uint64_t unit_bit(uint64_t unit) {
        return UINT64_C(1) << (unit % 64);
}

static bool bit_is_set(_Atomic uint64_t *bits, uint64_t unit) {
        return atomic_load_explicit(&bits[unit / 64], memory_order_acquire) & unit_bit(unit);
}

static void bit_set(_Atomic uint64_t *bits, uint64_t unit) {
        atomic_fetch_or_explicit(&bits[unit / 64], unit_bit(unit), memory_order_release);
}

/* Whether it was set. */
static bool bit_clear(_Atomic uint64_t *bits, uint64_t unit) {
        return atomic_fetch_and_explicit(&bits[unit / 64], ~unit_bit(unit), memory_order_acq_rel) &
               unit_bit(unit);
}

static uint64_t unit_bytes(const struct reserve_map *map, uint64_t unit) {
        return min_u64(RESERVE_UNIT_BYTES, map->length_bytes - unit * RESERVE_UNIT_BYTES);
}

static int unit_reserve_locked(struct reserve_map *map, uint64_t unit) {
        if (bit_is_set(map->units, unit))
                return 0;
        bit_set(map->resident, unit);
        int error = reserve_once(map->fd, unit * RESERVE_UNIT_BYTES, unit_bytes(map, unit));
        if (!error)
                bit_set(map->units, unit);
        return error;
}

void reserve_map_note(struct reserve_map *map, uint64_t offset_bytes) {
        bit_set(map->resident, offset_bytes / RESERVE_UNIT_BYTES);
        bit_set(map->units, offset_bytes / RESERVE_UNIT_BYTES);
}

/* That the trimming finds it touched needs no order but that of the pool's locks: who returns it does so later. */
static void unit_touch(struct reserve_map *map, uint64_t unit) {
        if (!bit_is_set(map->touched, unit))
                bit_set(map->touched, unit);
}

int reserve_map_commit(struct reserve_map *map, uint64_t offset_bytes, uint64_t length_bytes) {
        uint64_t unit = offset_bytes / RESERVE_UNIT_BYTES;
        uint64_t end = unit_count(offset_bytes + length_bytes);
        for (uint64_t i = unit; i < end; i++)
                unit_touch(map, i);
        while (unit < end && bit_is_set(map->units, unit))
                unit++;
        if (unit == end)
                return 0;
        int error = 0;
        atomic_fetch_add(&map->reserving, 1);
        pthread_mutex_lock(&map->lock);
        atomic_fetch_sub(&map->reserving, 1);
        for (; unit < end && !error; unit++)
                error = unit_reserve_locked(map, unit);
        pthread_mutex_unlock(&map->lock);
        return error;
}

/* Under the lock neither the bits nor the memory change. */
uint64_t reserve_map_missing(struct reserve_map *map) {
        uint64_t last = unit_count(map->length_bytes) - 1, reserved_bytes = 0;
        pthread_mutex_lock(&map->lock);
        for (uint64_t word = 0; word <= last / 64; word++)
                reserved_bytes +=
                        RESERVE_UNIT_BYTES * (unsigned)__builtin_popcountll(atomic_load_explicit(
                                                     &map->units[word], memory_order_relaxed));
        if (bit_is_set(map->units, last))
                reserved_bytes -= RESERVE_UNIT_BYTES - unit_bytes(map, last);
        uint64_t there_bytes = reserve_resident_bytes(map->fd);
        pthread_mutex_unlock(&map->lock);
        return there_bytes < reserved_bytes ? reserved_bytes - there_bytes : 0;
}

int reserve_map_mend(struct reserve_map *map) {
        int error = 0;
        pthread_mutex_lock(&map->lock);
        for (uint64_t unit = 0; unit < unit_count(map->length_bytes) && !error; unit++)
                if (bit_is_set(map->units, unit))
                        error = reserve_once(
                                map->fd, unit * RESERVE_UNIT_BYTES, unit_bytes(map, unit));
        pthread_mutex_unlock(&map->lock);
        return error;
}

/* ---- Trimming ---- */

/* A client may have touched what was not its own any more: nobody else's bit tells. */
static bool unit_has_memory(const struct reserve_map *map, uint64_t unit) {
        off_t offset = (off_t)(unit * RESERVE_UNIT_BYTES);
        if (bit_is_set(map->resident, unit))
                return true;
        off_t data = lseek(map->fd, offset, SEEK_DATA);
        return data >= 0 && data < offset + (off_t)unit_bytes(map, unit);
}

static bool unit_is_free(
        const struct reserve_map *map, uint64_t unit, const struct reserve_trim *trim) {
        return trim->is_free(trim->context, unit * RESERVE_UNIT_BYTES, unit_bytes(map, unit));
}

/* Found free, and untouched since it was found so first. Looked at in this order: whatever was granted before it was found
 * free has touched it by now. */
static bool unit_is_idle_locked(
        struct reserve_map *map, uint64_t unit, const struct reserve_trim *trim) {
        uint32_t *since_s = &map->idle_since_s[unit];
        bool is_free = unit_is_free(map, unit, trim);
        bool touched = bit_clear(map->touched, unit);
        if (!is_free)
                *since_s = 0;
        else if (touched || *since_s == 0)
                *since_s = trim->now_s;
        return *since_s != 0 && trim->now_s - *since_s >= trim->idle_s;
}

/* The bit goes first, then the pages are looked at. Who was granted one before the look is seen by it; who is granted one behind
 * it finds no bit, waits for the lock, and reserves the unit again. */
static int unit_trim_locked(
        struct reserve_map *map, uint64_t unit, const struct reserve_trim *trim, uint64_t *bytes) {
        bool was_reserved = bit_clear(map->units, unit);
        int error = 0;
        bool is_free = unit_is_free(map, unit, trim);
        uint64_t before = reserve_resident_bytes(map->fd);
        if (is_free)
                error = reserve_give_back(
                        map->fd, unit * RESERVE_UNIT_BYTES, unit_bytes(map, unit));
        if (!is_free || error) {
                if (was_reserved)
                        bit_set(map->units, unit);
                return error;
        }
        uint64_t after = reserve_resident_bytes(map->fd);
        bit_clear(map->resident, unit);
        *bytes += after < before ? before - after : 0;
        return 0;
}

int reserve_map_trim(
        struct reserve_map *map, uint64_t unit, const struct reserve_trim *trim, uint64_t *bytes) {
        if (unit >= unit_count(map->length_bytes) || !unit_has_memory(map, unit))
                return 0;
        while (atomic_load(&map->reserving) > 0)
                sched_yield();
        int error = 0;
        pthread_mutex_lock(&map->lock);
        bool due = trim->idle_s > 0 ? unit_is_idle_locked(map, unit, trim)
                                    : unit_is_free(map, unit, trim);
        if (due)
                error = unit_trim_locked(map, unit, trim, bytes);
        pthread_mutex_unlock(&map->lock);
        return error;
}

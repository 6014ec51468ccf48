/* Memory behind the pages of an object: reserved with fallocate(2), so that a later touch never
 * faults for want of memory. A segment is reserved in units, each wholly or not at all: a call that
 * runs out of memory half way takes back every untouched page of its range, also those that an earlier
 * call had reserved. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "settings.h"

#define RESERVE_UNIT_BYTES (UINT64_C(2) << 20)

/* True if need_bytes more fit: into the object's file system (fd; -1: into none but memory), into the
 * system's memory and into the control group's limit. Else logs the figures and the mend. */
bool reserve_fits(const struct pool_settings *pool, uint64_t need_bytes, int fd);

/* The same for a pool that is to grow by so much while it is served; the figures and the mend are in fault. */
#define RESERVE_FAULT_BYTES 256
bool reserve_fits_growth(const struct pool_settings *pool, uint64_t need_bytes, int fd,
        char fault[static RESERVE_FAULT_BYTES]);

/* Reserves a range of any length, whole at the end or refused with -ENOSPC or -ENOMEM. -ECANCELED: a
 * stop was asked for meanwhile. pool_name: log the progress under it; NULL: do not. */
int reserve_range(int fd, uint64_t offset_bytes, uint64_t length_bytes, const char *pool_name);

/* Gives the memory behind a range back; its bytes are zeroes then. -errno. */
int reserve_give_back(int fd, uint64_t offset_bytes, uint64_t length_bytes);

/* Which units of an object are reserved, for those that are reserved on first use. Bits are set and cleared under the lock
 * and read without; the arrays are owned. */
struct reserve_map {
        int fd; /* not owned */
        uint64_t length_bytes;
        pthread_mutex_t lock;       /* one thread reserves or trims at a time */
        _Atomic unsigned reserving; /* so many want to: trimming makes way for them */
        _Atomic uint64_t *units;    /* a bit per unit: it is reserved */
        _Atomic uint64_t *resident; /* a bit per unit: there may be memory behind it */
        _Atomic uint64_t *
                touched; /* a bit per unit: somebody was granted some of it; set without the lock */
        uint32_t *idle_since_s; /* per unit, clock of the trims; 0: not known; under the lock */
};

/* Nothing is known to be reserved. -ENOMEM. */
int reserve_map_init(struct reserve_map *map, int fd, uint64_t length_bytes);
void reserve_map_deinit(struct reserve_map *map);

/* A predecessor has reserved the unit of this offset. */
void reserve_map_note(struct reserve_map *map, uint64_t offset_bytes);

/* Reserves what is not reserved yet of a range. 0, -ENOSPC, -ENOMEM. Any thread. */
int reserve_map_commit(struct reserve_map *map, uint64_t offset_bytes, uint64_t length_bytes);

/* Bytes that are reserved and have no memory behind them: somebody has taken it away. */
uint64_t reserve_map_missing(struct reserve_map *map);

/* Reserves once more what is reserved already, where somebody has taken it away. As reserve_map_commit. */
int reserve_map_mend(struct reserve_map *map);

/* How to trim. */
struct reserve_trim {
        /* Whether nobody has a byte of it, as pool_run_is_free says. */
        bool (*is_free)(void *context, uint64_t offset_bytes, uint64_t length_bytes);
        void *context;
        uint32_t
                idle_s; /* only what was found free for so many seconds, and not granted since; 0: all */
        uint32_t now_s; /* monotonic clock, at least 1 */
};

/* Gives the memory of one unit back, unless somebody has some of it, and adds to *bytes. Whoever is granted some of it meanwhile
 * reserves it again. Any thread. -errno: nothing was done. */
int reserve_map_trim(
        struct reserve_map *map, uint64_t unit, const struct reserve_trim *trim, uint64_t *bytes);

/* Bytes of memory behind an object now; 0 if that cannot be told. */
uint64_t reserve_resident_bytes(int fd);

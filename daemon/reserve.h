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

/* Reserves a range of any length, whole at the end or refused with -ENOSPC or -ENOMEM. -ECANCELED: a
 * stop was asked for meanwhile. pool_name: log the progress under it; NULL: do not. */
int reserve_range(int fd, uint64_t offset_bytes, uint64_t length_bytes, const char *pool_name);

/* Which units of an object are reserved, for those that are reserved on first use. */
struct reserve_map {
        int fd; /* not owned */
        uint64_t length_bytes;
        pthread_mutex_t lock;    /* one thread reserves at a time */
        _Atomic uint64_t *units; /* a bit per unit: set under the lock, read without; owned */
};

/* Nothing is known to be reserved. -ENOMEM. */
int reserve_map_init(struct reserve_map *map, int fd, uint64_t length_bytes);
void reserve_map_deinit(struct reserve_map *map);

/* Reserves what is not reserved yet of a range. 0, -ENOSPC, -ENOMEM. Any thread. */
int reserve_map_commit(struct reserve_map *map, uint64_t offset_bytes, uint64_t length_bytes);

/* Bytes of the units that are reserved. */
uint64_t reserve_map_bytes(const struct reserve_map *map);

/* Reserves once more what is reserved already, where somebody has taken it away. As reserve_map_commit. */
int reserve_map_mend(struct reserve_map *map);

/* Bytes of memory behind an object now; 0 if that cannot be told. */
uint64_t reserve_resident_bytes(int fd);

/* The segment in this process's address space: room is reserved for as large as the pool may
 * become, aligned to 2 MiB, and what exists of the segment is mapped over its beginning. It
 * never moves and never shrinks. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define MAPPING_ALIGN (UINT64_C(2) << 20)

struct mapping {
        uint8_t *base;                 /* owned, reserved_bytes long; NULL: nothing is mapped */
        uint64_t reserved_bytes;       /* fixed */
        _Atomic uint64_t mapped_bytes; /* grows under the lock, read without */
        pthread_mutex_t lock;          /* guards growing */
        int fd;                        /* the segment; owned */
        bool read_only;
};

/* Maps size_bytes of a segment of at most max_size_bytes. Owns fd on success. -EPROTO: the
 * descriptor is not such a segment; -ENOMEM: no address space. */
int mapping_init(struct mapping *mapping, int fd, uint64_t size_bytes, uint64_t max_size_bytes,
        bool read_only);
void mapping_deinit(struct mapping *mapping);

/* 1: this is another descriptor of the same segment; 0: of another; -errno: that cannot be seen. */
int mapping_is_of(const struct mapping *mapping, int fd);

/* Whether the bytes up to end_bytes are mapped; maps more if the segment has grown meanwhile.
 * Any thread. */
bool mapping_covers(struct mapping *mapping, uint64_t end_bytes);

/* Mapping of the segment. Only the size of the file decides how much is mapped, so that no byte
 * inside the mapping lacks a page behind it. */
#include "mapping.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t round_up(uint64_t value, uint64_t alignment) {
        return (value + alignment - 1) & ~(alignment - 1);
}

/* Address space without memory behind it; what the alignment does not need is given back. */
static uint8_t *reserve(uint64_t bytes) {
        size_t room = (size_t)(bytes + MAPPING_ALIGN);
        uint8_t *start =
                mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (start == MAP_FAILED)
                return NULL;
        uint8_t *base = (uint8_t *)(uintptr_t)round_up((uint64_t)(uintptr_t)start, MAPPING_ALIGN);
        uint8_t *end = base + bytes;
        if (base > start)
                munmap(start, (size_t)(base - start));
        if (start + room > end)
                munmap(end, (size_t)(start + room - end));
        return base;
}

static int segment_bytes(int fd, uint64_t *bytes) {
        struct stat status;
        if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size < 0)
                return -EPROTO;
        *bytes = (uint64_t)status.st_size;
        return 0;
}

/* Maps [mapped_bytes, end_bytes) of the segment into its place. */
static int map_up_to(struct mapping *mapping, uint64_t end_bytes) {
        uint64_t from = atomic_load_explicit(&mapping->mapped_bytes, memory_order_relaxed);
        int protection = mapping->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
        if (mmap(mapping->base + from, (size_t)(end_bytes - from), protection,
                    MAP_SHARED | MAP_FIXED, mapping->fd, (off_t)from) == MAP_FAILED)
                return errno == ENOMEM ? -ENOMEM : -EPROTO;
        atomic_store_explicit(&mapping->mapped_bytes, end_bytes, memory_order_release);
        return 0;
}

int mapping_init(struct mapping *mapping, int fd, uint64_t size_bytes, uint64_t max_size_bytes,
        bool read_only) {
        uint64_t file_bytes;
        int rc = segment_bytes(fd, &file_bytes);
        if (rc < 0)
                return rc;
        if (file_bytes < size_bytes)
                return -EPROTO;
        uint8_t *base = reserve(round_up(max_size_bytes, MAPPING_ALIGN));
        if (!base)
                return -ENOMEM;
        *mapping = (struct mapping){
                .base = base,
                .reserved_bytes = round_up(max_size_bytes, MAPPING_ALIGN),
                .fd = fd,
                .read_only = read_only,
        };
        rc = map_up_to(mapping, size_bytes);
        if (rc == 0)
                rc = -pthread_mutex_init(&mapping->lock, NULL);
        if (rc < 0) {
                munmap(base, (size_t)mapping->reserved_bytes);
                mapping->base = NULL;
        }
        return rc;
}

void mapping_deinit(struct mapping *mapping) {
        if (!mapping->base)
                return;
        munmap(mapping->base, (size_t)mapping->reserved_bytes);
        close(mapping->fd);
        mapping->base = NULL;
}

int mapping_is_of(const struct mapping *mapping, int fd) {
        struct stat mine, other;
        if (fstat(mapping->fd, &mine) != 0 || fstat(fd, &other) != 0)
                return -errno;
        return mine.st_dev == other.st_dev && mine.st_ino == other.st_ino;
}

static bool grow(struct mapping *mapping, uint64_t end_bytes) {
        uint64_t file_bytes;
        pthread_mutex_lock(&mapping->lock);
        bool covered =
                atomic_load_explicit(&mapping->mapped_bytes, memory_order_relaxed) >= end_bytes;
        if (!covered && segment_bytes(mapping->fd, &file_bytes) == 0 && file_bytes >= end_bytes)
                covered = map_up_to(mapping, end_bytes) == 0;
        pthread_mutex_unlock(&mapping->lock);
        return covered;
}

bool mapping_covers(struct mapping *mapping, uint64_t end_bytes) {
        if (end_bytes <= atomic_load_explicit(&mapping->mapped_bytes, memory_order_acquire))
                return true;
        return end_bytes <= mapping->reserved_bytes && grow(mapping, end_bytes);
}

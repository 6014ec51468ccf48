/* The segment's mapping: alignment, size, growth, protection. */
#include "client/mapping.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB (1ull << 20)

static int segment(uint64_t bytes) {
        int fd = memfd_create("test-mapping", MFD_CLOEXEC);
        cr_assert_geq(fd, 0);
        cr_assert_eq(ftruncate(fd, (off_t)bytes), 0);
        return fd;
}

Test(mapping, is_aligned_and_holds_the_segments_bytes) {
        int fd = segment(3 * MIB);
        cr_assert_eq(pwrite(fd, "x", 1, 2 * MIB), 1);
        struct mapping mapping;
        cr_assert_eq(mapping_init(&mapping, fd, 3 * MIB, 64 * MIB, false), 0);
        cr_assert_eq((uintptr_t)mapping.base % MAPPING_ALIGN, 0);
        cr_assert_eq(mapping.base[2 * MIB], 'x');
        mapping.base[0] = 'y';
        char byte;
        cr_assert_eq(pread(fd, &byte, 1, 0), 1);
        cr_assert_eq(byte, 'y');
        mapping_deinit(&mapping);
        cr_assert_eq(fcntl(fd, F_GETFD), -1);
}

Test(mapping, covers_its_size_and_no_more) {
        struct mapping mapping;
        cr_assert_eq(mapping_init(&mapping, segment(4096), 4096, 4 * MIB, false), 0);
        cr_assert(mapping_covers(&mapping, 4096));
        cr_assert_not(mapping_covers(&mapping, 4097));
        cr_assert_not(mapping_covers(&mapping, UINT64_MAX));
        mapping_deinit(&mapping);
}

Test(mapping, grows_in_its_place_with_the_segment) {
        struct mapping mapping;
        int fd = segment(MIB);
        cr_assert_eq(mapping_init(&mapping, fd, MIB, 8 * MIB, false), 0);
        uint8_t *base = mapping.base;
        cr_assert_eq(ftruncate(fd, 8 * MIB), 0);
        cr_assert(mapping_covers(&mapping, 8 * MIB));
        cr_assert_not(mapping_covers(&mapping, 8 * MIB + 1));
        cr_assert_eq(mapping.base, base);
        memset(base, 1, 8 * MIB);
        mapping_deinit(&mapping);
}

/* Asked of the kernel, which answers where a store would be a signal. */
Test(mapping, read_only_cannot_be_written) {
        struct mapping mapping;
        cr_assert_eq(mapping_init(&mapping, segment(4096), 4096, 4096, true), 0);
        cr_assert_eq(pread(mapping.fd, mapping.base, 1, 0), -1);
        cr_assert_eq(errno, EFAULT);
        mapping_deinit(&mapping);
}

Test(mapping, read_only_descriptor_cannot_be_mapped_for_writing) {
        int fd = segment(4096);
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        int read_only = open(path, O_RDONLY | O_CLOEXEC);
        struct mapping mapping;
        cr_assert_eq(mapping_init(&mapping, read_only, 4096, 4096, false), -EPROTO);
        cr_assert_eq(mapping_init(&mapping, read_only, 4096, 4096, true), 0);
        mapping_deinit(&mapping);
        close(fd);
}

Test(mapping, refuses_what_is_no_segment_of_that_size) {
        int pipes[2];
        cr_assert_eq(pipe(pipes), 0);
        struct mapping mapping;
        cr_assert_eq(mapping_init(&mapping, pipes[0], 4096, 4096, true), -EPROTO);
        int fd = segment(4096);
        cr_assert_eq(mapping_init(&mapping, fd, 8192, 8192, true), -EPROTO);
        cr_assert_neq(fcntl(fd, F_GETFD), -1);
}

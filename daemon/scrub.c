/* See scrub.h. */
#include "scrub.h"

#include <errno.h>
#include <sys/uio.h>

#define ZERO_BYTES (64u * 1024)
#define PARTS_MAX  64u /* of one system call */

static const uint8_t zeros[ZERO_BYTES];

static int parts_fill(struct iovec parts[static PARTS_MAX], uint64_t length_bytes) {
        int count = 0;
        for (; length_bytes > 0 && count < (int)PARTS_MAX; count++) {
                uint64_t part = length_bytes < ZERO_BYTES ? length_bytes : ZERO_BYTES;
                parts[count] = (struct iovec){(void *)(uintptr_t)zeros, part};
                length_bytes -= part;
        }
        return count;
}

int scrub_range(int fd, uint64_t offset_bytes, uint64_t length_bytes) {
        while (length_bytes > 0) {
                struct iovec parts[PARTS_MAX];
                int count = parts_fill(parts, length_bytes);
                ssize_t wrote = pwritev(fd, parts, count, (off_t)offset_bytes);
                if (wrote < 0 && errno == EINTR)
                        continue;
                if (wrote <= 0)
                        return wrote < 0 ? -errno : -ENOSPC;
                offset_bytes += (uint64_t)wrote;
                length_bytes -= (uint64_t)wrote;
        }
        return 0;
}

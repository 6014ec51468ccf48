/* Receiving from a client that may send descriptors along. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct received {
        bool cut;   /* it stopped at a descriptor: there may be more behind it */
        int passed; /* that descriptor, where it was wanted; the caller's; -1: none */
};

/* As recv, without waiting. A descriptor that is not wanted, and any but the first, is dropped by the kernel, as there is no room for
 * it; a receive stops at one, and that there was no room for it, or that it is there, is how that is seen. */
ssize_t receive_watchfully(int fd, uint8_t *bytes, size_t size, bool wanted, struct received *out);

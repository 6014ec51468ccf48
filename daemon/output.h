/* What waits to be sent to one client: bytes in order, and at most one descriptor that goes out with
 * the first byte of a certain reply. Memory is held only while something waits. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct output {
        uint8_t *bytes; /* owned; NULL while empty */
        size_t begin, end, capacity;
        int descriptor;       /* borrowed; -1: none */
        size_t descriptor_at; /* position in bytes of the byte that it goes with */
};

void output_init(struct output *output);
void output_deinit(struct output *output);

static inline size_t output_waiting(const struct output *output) {
        return output->end - output->begin;
}

/* Sends bytes, behind what waits already, and keeps what the socket does not take. descriptor (-1: none) goes with the
 * first byte and must stay open until it is sent. 0; -ENOMEM; the socket's -errno. */
int output_send(struct output *output, int fd, const uint8_t *bytes, size_t length, int descriptor);

/* Sends what the socket takes. > 0: bytes sent; 0: none now; the socket's -errno. */
ptrdiff_t output_flush(struct output *output, int fd);

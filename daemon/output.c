/* See output.h. */
#include "output.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define OUTPUT_CAPACITY_MIN 4096u

void output_init(struct output *output) {
        *output = (struct output){.descriptor = -1};
}

void output_deinit(struct output *output) {
        free(output->bytes);
        output_init(output);
}

/* Bytes that the socket took, 0 if it takes none now, -errno. */
static ptrdiff_t send_some(int fd, const uint8_t *bytes, size_t length) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
                return sent;
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static ptrdiff_t send_with_descriptor(int fd, const uint8_t *bytes, size_t length, int descriptor) {
        union {
                struct cmsghdr header;
                char room[CMSG_SPACE(sizeof(int))];
        } control = {.room = {0}};
        struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
        struct msghdr message = {
                .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = control.room,
                .msg_controllen = sizeof(control.room),
        };
        control.header = (struct cmsghdr){
                .cmsg_level = SOL_SOCKET,
                .cmsg_type = SCM_RIGHTS,
                .cmsg_len = CMSG_LEN(sizeof(int)),
        };
        memcpy(CMSG_DATA(&control.header), &descriptor, sizeof(int));
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0)
                return sent;
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static int output_reserve(struct output *output, size_t length) {
        if (output->capacity - output->end >= length)
                return 0;
        size_t waiting = output_waiting(output);
        if (output->begin > 0) {
                memmove(output->bytes, output->bytes + output->begin, waiting);
                output->descriptor_at -= output->descriptor >= 0 ? output->begin : 0;
                output->begin = 0;
                output->end = waiting;
        }
        size_t capacity = output->capacity ? output->capacity : OUTPUT_CAPACITY_MIN;
        while (capacity - waiting < length)
                capacity *= 2;
        if (capacity == output->capacity)
                return 0;
        uint8_t *bytes = realloc(output->bytes, capacity);
        if (!bytes)
                return -ENOMEM;
        output->bytes = bytes;
        output->capacity = capacity;
        return 0;
}

static int output_keep(struct output *output, const uint8_t *bytes, size_t length, int descriptor) {
        int error = output_reserve(output, length);
        if (error)
                return error;
        if (descriptor >= 0) {
                output->descriptor = descriptor;
                output->descriptor_at = output->end;
        }
        memcpy(output->bytes + output->end, bytes, length);
        output->end += length;
        return 0;
}

int output_send(
        struct output *output, int fd, const uint8_t *bytes, size_t length, int descriptor) {
        if (output_waiting(output) == 0) {
                ptrdiff_t sent = descriptor >= 0
                                         ? send_with_descriptor(fd, bytes, length, descriptor)
                                         : send_some(fd, bytes, length);
                if (sent < 0)
                        return (int)sent;
                if (sent > 0)
                        descriptor = -1;
                bytes += sent;
                length -= (size_t)sent;
        }
        return length > 0 ? output_keep(output, bytes, length, descriptor) : 0;
}

ptrdiff_t output_flush(struct output *output, int fd) {
        size_t waiting = output_waiting(output);
        if (waiting == 0)
                return 0;
        const uint8_t *bytes = output->bytes + output->begin;
        ptrdiff_t sent;
        if (output->descriptor < 0)
                sent = send_some(fd, bytes, waiting);
        else if (output->descriptor_at > output->begin)
                sent = send_some(fd, bytes, output->descriptor_at - output->begin);
        else {
                sent = send_with_descriptor(fd, bytes, waiting, output->descriptor);
                if (sent > 0)
                        output->descriptor = -1;
        }
        if (sent <= 0)
                return sent;
        output->begin += (size_t)sent;
        if (output->begin == output->end)
                output_deinit(output);
        return sent;
}

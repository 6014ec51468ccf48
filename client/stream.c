/* Sending and receiving on one socket. The buffer holds [in_start, in_end); it is compacted
 * before a receive and grows to the frame that is coming, whose length is checked first. */
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "deadline.h"

#define IN_BYTES_MIN (16u * 1024)
/* A socket timeout may be this much longer than what is left, which saves setting it. */
#define TIMEOUT_SLACK_MS 20

int stream_init(struct stream *stream, int fd) {
        uint8_t *out = malloc(FRAME_HEADER_BYTES + FRAME_REQUEST_MAX);
        uint8_t *in = malloc(IN_BYTES_MIN);
        if (!out || !in) {
                free(out);
                free(in);
                return -ENOMEM;
        }
        *stream = (struct stream){.fd = fd, .out = out, .in = in, .in_size = IN_BYTES_MIN};
        return 0;
}

void stream_deinit(struct stream *stream) {
        if (stream->fd >= 0)
                close(stream->fd);
        free(stream->out);
        free(stream->in);
        *stream = (struct stream){.fd = -1};
}

void stream_reopen(struct stream *stream, int fd) {
        if (stream->fd >= 0)
                close(stream->fd);
        stream->fd = fd;
        stream->send_timeout_ms = stream->receive_timeout_ms = 0;
        stream->in_start = stream->in_end = 0;
        stream->out_start = stream->out_end = 0;
}

void stream_descriptors_close(struct stream_descriptors *descriptors) {
        for (size_t i = 0; i < descriptors->count; i++)
                if (descriptors->fds[i] >= 0)
                        close(descriptors->fds[i]);
        descriptors->count = 0;
}

void stream_shutdown(struct stream *stream) {
        shutdown(stream->fd, SHUT_RDWR);
}

static __attribute__((noinline)) int set_timeout(int fd, int option, int64_t timeout_ms) {
        struct timeval timeout = {
                .tv_sec = (time_t)(timeout_ms / 1000),
                .tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000),
        };
        return setsockopt(fd, SOL_SOCKET, option, &timeout, sizeof(timeout));
}

/* Makes the socket's timeout end with the deadline, or at most a little later. */
static int arm_timeout(struct stream *stream, int option, int64_t *armed_ms, int64_t deadline) {
        int64_t left_ms = deadline_left_ms(deadline);
        if (left_ms == 0)
                return -ETIMEDOUT;
        if (left_ms < 0)
                left_ms = 0;
        bool serves = left_ms == 0
                              ? *armed_ms == 0
                              : *armed_ms >= left_ms && *armed_ms - left_ms <= TIMEOUT_SLACK_MS;
        if (serves)
                return 0;
        if (set_timeout(stream->fd, option, left_ms) != 0)
                return -ENOTCONN;
        *armed_ms = left_ms;
        return 0;
}

/* After a failed send or receive: 0 if it is worth another try. */
static int judge_failure(int error) {
        return error == EINTR || error == EAGAIN || error == EWOULDBLOCK ? 0 : -ENOTCONN;
}

/* Nearly always there is room at once: only where there is none, time matters. */
int stream_send(struct stream *stream, const uint8_t *bytes, size_t length, int64_t deadline,
        size_t *sent) {
        int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
        *sent = 0;
        for (;;) {
                ssize_t n = send(stream->fd, bytes + *sent, length - *sent, flags);
                if (n > 0)
                        *sent += (size_t)n;
                if (*sent == length)
                        return 0;
                int rc = n < 0 ? judge_failure(errno) : 0;
                if (rc == 0)
                        rc = arm_timeout(stream, SO_SNDTIMEO, &stream->send_timeout_ms, deadline);
                if (rc < 0)
                        return rc;
                flags = MSG_NOSIGNAL;
        }
}

int stream_flush(struct stream *stream, int64_t deadline) {
        size_t left = stream->out_end - stream->out_start, sent = 0;
        if (left == 0)
                return 0;
        int rc = stream_send(stream, stream->out + stream->out_start, left, deadline, &sent);
        stream->out_start += sent;
        if (stream->out_start == stream->out_end)
                stream->out_start = stream->out_end = 0;
        return rc;
}

/* Takes the descriptors of a received message over, as far as there is room; the rest is closed. */
static int take_descriptors(struct msghdr *header, struct stream_descriptors *descriptors) {
        int rc = header->msg_flags & MSG_CTRUNC ? -EPROTO : 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < count; i++) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
                        if (descriptors->count < STREAM_DESCRIPTORS_MAX) {
                                descriptors->fds[descriptors->count++] = fd;
                        } else {
                                close(fd);
                                rc = -EPROTO;
                        }
                }
        }
        return rc;
}

static ssize_t receive_with_descriptors(const struct stream *stream, struct iovec *room,
        bool overdue, struct stream_descriptors *descriptors, int *fault) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * STREAM_DESCRIPTORS_MAX)];
        } control;
        struct msghdr header = {
                .msg_iov = room,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof(control.bytes),
        };
        ssize_t n = recvmsg(stream->fd, &header, MSG_CMSG_CLOEXEC | (overdue ? MSG_DONTWAIT : 0));
        if (n >= 0)
                *fault = take_descriptors(&header, descriptors);
        return n;
}

/* Moves what is left to the front, so that there is room behind it. */
static void compact(struct stream *stream) {
        size_t left = stream->in_end - stream->in_start;
        if (stream->in_start > 0 && left > 0)
                memmove(stream->in, stream->in + stream->in_start, left);
        stream->in_start = 0;
        stream->in_end = left;
}

int stream_receive(
        struct stream *stream, int64_t deadline, struct stream_descriptors *descriptors) {
        compact(stream);
        for (;;) {
                int rc = arm_timeout(stream, SO_RCVTIMEO, &stream->receive_timeout_ms, deadline);
                bool overdue = rc == -ETIMEDOUT; /* what is there was there in time */
                if (rc < 0 && !overdue)
                        return rc;
                rc = 0;
                struct iovec room = {stream->in + stream->in_end, stream->in_size - stream->in_end};
                ssize_t n = descriptors ? receive_with_descriptors(
                                                  stream, &room, overdue, descriptors, &rc)
                                        : recv(stream->fd, room.iov_base, room.iov_len,
                                                  overdue ? MSG_DONTWAIT : 0);
                if (rc < 0)
                        return rc;
                if (n > 0) {
                        stream->in_end += (size_t)n;
                        return 0;
                }
                if (n == 0 || (rc = judge_failure(errno)) < 0)
                        return -ENOTCONN;
                if (overdue)
                        return -ETIMEDOUT;
        }
}

static int grow_in(struct stream *stream, size_t wanted) {
        if (wanted <= stream->in_size)
                return 0;
        uint8_t *in = malloc(wanted);
        if (!in)
                return -ENOMEM;
        compact(stream);
        memcpy(in, stream->in, stream->in_end);
        free(stream->in);
        stream->in = in;
        stream->in_size = wanted;
        return 0;
}

int stream_next(struct stream *stream, const uint8_t **message, size_t *length) {
        size_t wanted;
        int rc = frame_next(stream->in + stream->in_start, stream->in_end - stream->in_start,
                FRAME_REPLY_MAX, message, length, &wanted);
        if (rc < 0)
                return -EPROTO;
        if (rc == 0)
                return grow_in(stream, wanted);
        stream->in_start += FRAME_HEADER_BYTES + *length;
        return 1;
}

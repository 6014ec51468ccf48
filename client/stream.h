/* One connected socket as a stream of frames, with deadlines and without signals. A request and
 * its reply cost one send and one recv: the socket's own timeouts keep the deadlines, and are
 * set only when they have to change.
 *
 * One thread at a time may send and one may receive; who that is, is the channel's to say
 * (channel.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/frame.h"

#define STREAM_DESCRIPTORS_MAX 8u

struct stream {
        int fd; /* owned; -1: none */
        /* Of the sender. */
        uint8_t *out; /* frames on their way; owned */
        size_t out_start,
                out_end;         /* what there was no room for yet: it goes before anything else */
        int64_t send_timeout_ms; /* what the socket is set to; 0: none */
        /* Of the receiver. */
        int64_t receive_timeout_ms; /* what the socket is set to; 0: none */
        uint8_t *in;                /* bytes that were received and not taken yet; owned */
        size_t in_size;
        size_t in_start, in_end;
};

/* Descriptors that came with bytes; owned by whoever has this. */
struct stream_descriptors {
        int fds[STREAM_DESCRIPTORS_MAX];
        size_t count;
};

/* Takes the descriptor over on success. -ENOMEM. */
int stream_init(struct stream *stream, int fd);
void stream_deinit(struct stream *stream);

/* Goes on with another descriptor, which it takes over; the old one is closed, and what came over
 * it is forgotten. */
void stream_reopen(struct stream *stream, int fd);

/* Sends all of it. -ETIMEDOUT, or -ENOTCONN if the peer is gone; *sent says how much went out. */
int stream_send(
        struct stream *stream, const uint8_t *bytes, size_t length, int64_t deadline, size_t *sent);

/* Sends what there is room for, of what was left the last time or has been put behind it. 0: all of it went out; -ETIMEDOUT: not by
 * the deadline, and the rest is kept; -ENOTCONN. A deadline that has passed: without waiting. */
int stream_flush(struct stream *stream, int64_t deadline);

/* Receives what is there, at least one byte, into the buffer, and takes over the descriptors
 * that come with it (descriptors NULL: none are accepted, the kernel drops them). -ETIMEDOUT;
 * -ENOTCONN: the peer closed; -ENOMEM; -EPROTO: too many descriptors. */
int stream_receive(struct stream *stream, int64_t deadline, struct stream_descriptors *descriptors);

/* Nothing is in the buffer. */
static inline bool stream_is_empty(const struct stream *stream) {
        return stream->in_start == stream->in_end;
}

/* Takes the next whole message out of the buffer; it is valid until the next call here. 1:
 * *message is set; 0: not all of it has come yet; -EPROTO: not a frame; -ENOMEM. */
int stream_next(struct stream *stream, const uint8_t **message, size_t *length);

/* Ends the connection both ways: a thread in send or receive comes back. The descriptor stays. */
void stream_shutdown(struct stream *stream);

void stream_descriptors_close(struct stream_descriptors *descriptors);

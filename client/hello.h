/* The first exchange on a connection: who we are, and what the daemon says of the pool.
 * Everything it says is checked here, once. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/message.h"
#include "stream.h"

#define HELLO_REQUEST_ID   1u
#define SECOND_REQUEST_ID  2u
#define HELLO_DETAIL_BYTES 256u

struct hello_answer {
        uint32_t session;
        uint8_t token[MESSAGE_TOKEN_BYTES];
        uint64_t page_bytes;      /* a power of two */
        uint64_t size_bytes;      /* > 0, in whole pages */
        uint64_t max_size_bytes;  /* >= size_bytes, in whole pages */
        bool resumed;             /* the session is the one that was asked for */
        struct message_done done; /* how far its requests came */
        uint64_t granted_ranges;  /* that it holds, without those that peers gave */
        int segment_fd;           /* owned */
};

/* Says hello and takes the answer. On success the descriptor in *out is the caller's. -ENOTCONN:
 * no answer by the deadline, or the daemon closed; -EPROTO: it does not speak this protocol, or
 * what it says cannot be; the errno of a refusal; -ENOMEM. detail: the reason in words. */
int hello_exchange(struct stream *stream, const struct request_hello *hello, int64_t deadline,
        struct hello_answer *out, char detail[HELLO_DETAIL_BYTES]);

/* The two halves of it. -ETIMEDOUT: the answer is not there by the deadline; what has come of it is kept in the stream and in
 * descriptors (zeroed at first), and the call may be repeated. Else descriptors are empty again. */
int hello_send(struct stream *stream, const struct request_hello *hello, int64_t deadline,
        char detail[HELLO_DETAIL_BYTES]);
int hello_receive(struct stream *stream, int64_t deadline, struct stream_descriptors *descriptors,
        struct hello_answer *out, char detail[HELLO_DETAIL_BYTES]);

/* A ping, as the only exchange on the connection: after it the daemon knows that the client knows of its session.
 * 0; -ENOTCONN, -EPROTO, -ENOMEM. */
int hello_confirm(struct stream *stream, int64_t deadline);

/* Says goodbye to a session that nothing came of, and waits for nothing: the daemon may know that its client knows of it. 0;
 * -ENOTCONN: the connection is lost. */
int hello_take_back(struct stream *stream);

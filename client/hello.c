/* Hello and its answer. Nothing else is under way on the connection, so exactly one frame comes
 * back. */
#include "hello.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "deadline.h"

/* A welcome is small; a larger answer is none. */
#define HELLO_ARENA_BYTES (64u * 1024)

#define PAGE_BYTES_MIN (UINT64_C(1) << 12)
#define PAGE_BYTES_MAX (UINT64_C(1) << 30)
#define SIZE_BYTES_MAX                                                                             \
        (UINT64_C(1) << 46) /* what fits into an address space of 47 bits with room to spare */

__attribute__((format(printf, 3, 4))) static int fail(
        char *detail, int error, const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(detail, HELLO_DETAIL_BYTES, format, arguments);
        va_end(arguments);
        return error;
}

static int send_hello(struct stream *stream, const struct request_hello *hello, int64_t deadline) {
        struct request request = {.id = HELLO_REQUEST_ID, .kind = REQUEST_HELLO, .hello = *hello};
        size_t sent;
        ptrdiff_t length =
                request_encode(&request, stream->out, FRAME_HEADER_BYTES + FRAME_REQUEST_MAX);
        if (length < 0)
                return -EINVAL;
        return stream_send(stream, stream->out, (size_t)length, deadline, &sent);
}

static int receive_answer(struct stream *stream, int64_t deadline, const uint8_t **message,
        size_t *length, struct stream_descriptors *descriptors) {
        int rc;
        while ((rc = stream_next(stream, message, length)) == 0) {
                rc = stream_receive(stream, deadline, descriptors);
                if (rc < 0)
                        return rc;
        }
        if (rc < 0)
                return rc;
        return stream->in_start == stream->in_end ? 0 : -EPROTO;
}

static bool whole_pages(uint64_t bytes, uint64_t page_bytes) {
        return bytes > 0 && bytes <= SIZE_BYTES_MAX && bytes % page_bytes == 0;
}

/* -EPROTO unless what the daemon says of itself and its pool can be true. */
static int check_welcome(const struct reply_welcome *welcome, char *detail) {
        uint64_t page = welcome->page_bytes;
        if (welcome->version != PROTOCOL_VERSION)
                return fail(detail, -EPROTO,
                        "the daemon speaks protocol version %u, this library %u", welcome->version,
                        PROTOCOL_VERSION);
        if (page < PAGE_BYTES_MIN || page > PAGE_BYTES_MAX || (page & (page - 1)) != 0)
                return fail(detail, -EPROTO, "the daemon names a page size of %llu bytes",
                        (unsigned long long)page);
        if (!whole_pages(welcome->size_bytes, page) ||
                !whole_pages(welcome->max_size_bytes, page) ||
                welcome->max_size_bytes < welcome->size_bytes)
                return fail(detail, -EPROTO, "the daemon names a pool of %llu bytes, at most %llu",
                        (unsigned long long)welcome->size_bytes,
                        (unsigned long long)welcome->max_size_bytes);
        if (welcome->session == 0 || !welcome->token)
                return fail(detail, -EPROTO, "the daemon opened no session");
        return 0;
}

/* Takes the segment's descriptor out; the others stay to be closed. */
static int take_segment(const struct reply_welcome *welcome, struct stream_descriptors *descriptors,
        int *segment_fd, char *detail) {
        if (welcome->descriptor_count != descriptors->count)
                return fail(detail, -EPROTO, "the daemon names %zu descriptors and sent %zu",
                        welcome->descriptor_count, descriptors->count);
        size_t found = descriptors->count;
        for (size_t i = 0; i < descriptors->count; i++) {
                if (welcome->descriptors[i] != DESCRIPTOR_SEGMENT)
                        continue;
                if (found != descriptors->count)
                        return fail(detail, -EPROTO, "the daemon sent two segments");
                found = i;
        }
        if (found == descriptors->count)
                return fail(detail, -EPROTO, "the daemon sent no segment");
        *segment_fd = descriptors->fds[found];
        descriptors->fds[found] = -1;
        return 0;
}

static int take_welcome(const struct reply_welcome *welcome, struct stream_descriptors *descriptors,
        struct hello_answer *out, char *detail) {
        int rc = check_welcome(welcome, detail);
        int segment_fd = -1;
        if (rc == 0)
                rc = take_segment(welcome, descriptors, &segment_fd, detail);
        if (rc < 0)
                return rc;
        *out = (struct hello_answer){
                .session = welcome->session,
                .page_bytes = welcome->page_bytes,
                .size_bytes = welcome->size_bytes,
                .max_size_bytes = welcome->max_size_bytes,
                .resumed = welcome->resumed,
                .done = welcome->done,
                .granted_ranges = welcome->granted_ranges,
                .segment_fd = segment_fd,
        };
        memcpy(out->token, welcome->token, sizeof(out->token));
        return 0;
}

static int judge_answer(const struct reply *reply, struct stream_descriptors *descriptors,
        struct hello_answer *out, char *detail) {
        if (reply->kind == REPLY_REFUSED) {
                enum status status = reply->refused.status;
                const char *reason = reply->refused.detail;
                return fail(detail, status == STATUS_OK ? -EPROTO : status_to_errno(status), "%s",
                        reason ? reason : "");
        }
        if (reply->id != HELLO_REQUEST_ID || reply->kind != REPLY_WELCOME)
                return fail(detail, -EPROTO, "the daemon does not answer hello");
        return take_welcome(&reply->welcome, descriptors, out, detail);
}

static int decode_and_judge(const uint8_t *message, size_t length,
        struct stream_descriptors *descriptors, struct hello_answer *out, char *detail) {
        struct arena arena;
        int rc = arena_init(&arena, HELLO_ARENA_BYTES);
        if (rc < 0)
                return fail(detail, rc, "no memory left in this process");
        struct reply reply;
        rc = reply_decode(&arena, message, length, &reply);
        rc = rc < 0 ? fail(detail, -EPROTO, "the daemon's answer is not of this protocol")
                    : judge_answer(&reply, descriptors, out, detail);
        arena_deinit(&arena);
        return rc;
}

static int explain(int error, char *detail) {
        switch (error) {
        case -ETIMEDOUT:
                return fail(detail, -ENOTCONN, "the daemon does not answer");
        case -ENOTCONN:
                return fail(detail, -ENOTCONN, "the daemon closed the connection");
        case -EPROTO:
                return fail(detail, -EPROTO, "the daemon's answer is not of this protocol");
        default:
                return fail(detail, error, "%s", strerror(-error));
        }
}

int hello_receive(struct stream *stream, int64_t deadline, struct stream_descriptors *descriptors,
        struct hello_answer *out, char detail[HELLO_DETAIL_BYTES]) {
        const uint8_t *message;
        size_t length;
        int rc = receive_answer(stream, deadline, &message, &length, descriptors);
        if (rc == -ETIMEDOUT)
                return rc;
        rc = rc == 0 ? decode_and_judge(message, length, descriptors, out, detail)
                     : explain(rc, detail);
        stream_descriptors_close(descriptors);
        return rc;
}

int hello_send(struct stream *stream, const struct request_hello *hello, int64_t deadline,
        char detail[HELLO_DETAIL_BYTES]) {
        int rc = send_hello(stream, hello, deadline);
        if (rc != -ENOTCONN)
                return rc < 0 ? explain(rc, detail) : 0;
        /* Who closed at once may have said why: that is received then, and nothing is waited for. */
        stream_shutdown(stream);
        return 0;
}

int hello_exchange(struct stream *stream, const struct request_hello *hello, int64_t deadline,
        struct hello_answer *out, char detail[HELLO_DETAIL_BYTES]) {
        struct stream_descriptors descriptors = {0};
        int rc = hello_send(stream, hello, deadline, detail);
        if (rc < 0)
                return rc;
        rc = hello_receive(stream, deadline, &descriptors, out, detail);
        stream_descriptors_close(&descriptors);
        return rc == -ETIMEDOUT ? explain(rc, detail) : rc;
}

static int judge_confirmation(const uint8_t *message, size_t length) {
        struct arena arena;
        struct reply reply;
        int rc = arena_init(&arena, HELLO_ARENA_BYTES);
        if (rc < 0)
                return rc;
        if (reply_decode(&arena, message, length, &reply) < 0 || reply.id != SECOND_REQUEST_ID)
                rc = -EPROTO;
        arena_deinit(&arena);
        return rc;
}

int hello_confirm(struct stream *stream, int64_t deadline) {
        struct request ping = {.id = SECOND_REQUEST_ID, .kind = REQUEST_PING};
        struct stream_descriptors descriptors = {0};
        const uint8_t *message;
        size_t length, sent;
        ptrdiff_t bytes =
                request_encode(&ping, stream->out, FRAME_HEADER_BYTES + FRAME_REQUEST_MAX);
        int rc = stream_send(stream, stream->out, (size_t)bytes, deadline, &sent);
        if (rc == 0)
                rc = receive_answer(stream, deadline, &message, &length, &descriptors);
        if (rc == 0)
                rc = judge_confirmation(message, length);
        stream_descriptors_close(&descriptors);
        return rc == -ETIMEDOUT ? -ENOTCONN : rc;
}

int hello_take_back(struct stream *stream) {
        struct request goodbye = {.id = SECOND_REQUEST_ID + 1, .kind = REQUEST_GOODBYE};
        size_t sent;
        ptrdiff_t bytes =
                request_encode(&goodbye, stream->out, FRAME_HEADER_BYTES + FRAME_REQUEST_MAX);
        return stream_send(stream, stream->out, (size_t)bytes, deadline_now(), &sent);
}

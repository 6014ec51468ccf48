/* The shortcut against protobuf-c: both write the same bytes, and both read the same out of any bytes. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "proto/frame.h"
#include "proto/shortcut.h"
#include "samples.h"

#define ROUNDS 20000

static struct arena arena, other;
static uint8_t frame[FRAME_HEADER_BYTES + FRAME_REPLY_MAX], expected[sizeof(frame)];
static uint64_t places[MESSAGE_BATCH_MAX];
static uint32_t generations[MESSAGE_BATCH_MAX];
static uint64_t state;

static uint64_t random_next(void) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
}

/* Numbers of all lengths, also 0. */
static uint64_t random_number(void) {
        unsigned bits = (unsigned)(random_next() % 65);
        return bits == 0 ? 0 : random_next() >> (64 - bits);
}

static struct message_ranges random_ranges(void) {
        size_t count = random_next() % 50 == 0 ? MESSAGE_BATCH_MAX - random_next() % 3
                                               : random_next() % 20;
        for (size_t i = 0; i < count; i++) {
                places[i] = random_number();
                generations[i] = (uint32_t)random_number();
        }
        return (struct message_ranges){places, generations, count};
}

static struct request random_request(void) {
        struct request request = {.id = random_number(), .kind = REQUEST_ALLOC};
        if (random_next() % 2) {
                request.alloc = (struct request_alloc){
                        .length = random_number(),
                        .count = (uint32_t)random_number(),
                        .wait = random_next() % 2,
                        .timeout_ms = (int64_t)random_number(),
                };
                return request;
        }
        request.kind = REQUEST_RELEASE;
        request.release = (struct request_release){random_ranges(), random_next() % 2};
        return request;
}

static struct reply random_reply(void) {
        struct reply reply = {.id = random_number(), .kind = REPLY_DONE};
        if (random_next() % 4) {
                reply.kind = REPLY_RANGES;
                reply.ranges = random_ranges();
        }
        return reply;
}

static void setup(void) {
        state = UINT64_C(0x9e3779b97f4a7c15);
        cr_assert_eq(arena_init(&arena, MESSAGE_ARENA_REPLY), 0);
        cr_assert_eq(arena_init(&other, MESSAGE_ARENA_REPLY), 0);
}

static void teardown(void) {
        arena_deinit(&arena);
        arena_deinit(&other);
}

TestSuite(shortcut, .init = setup, .fini = teardown);

/* Bytes of the frame, which both wrote. */
static size_t expect_request_written(const struct request *request) {
        ptrdiff_t length = request_encode_protobuf(request, expected, sizeof(expected));
        cr_assert_eq(request_encode(request, frame, sizeof(frame)), length);
        cr_assert_arr_eq(frame, expected, (size_t)length);
        return (size_t)length;
}

static size_t expect_reply_written(const struct reply *reply) {
        ptrdiff_t length = reply_encode_protobuf(reply, expected, sizeof(expected));
        cr_assert_eq(reply_encode(reply, frame, sizeof(frame)), length);
        cr_assert_arr_eq(frame, expected, (size_t)length);
        return (size_t)length;
}

static void expect_request_read(const uint8_t *message, size_t length) {
        struct request ours = {0}, theirs = {0};
        arena_reset(&arena);
        arena_reset(&other);
        int error = request_decode_protobuf(&other, message, length, &theirs);
        cr_assert_eq(request_decode(&arena, message, length, &ours), error);
        cr_assert(error != 0 || requests_equal(&ours, &theirs));
}

static void expect_reply_read(const uint8_t *message, size_t length) {
        struct reply ours = {0}, theirs = {0};
        arena_reset(&arena);
        arena_reset(&other);
        int error = reply_decode_protobuf(&other, message, length, &theirs);
        cr_assert_eq(reply_decode(&arena, message, length, &ours), error);
        cr_assert(error != 0 || replies_equal(&ours, &theirs));
}

Test(shortcut, writes_requests_as_protobuf_does) {
        for (unsigned i = 0; i < ROUNDS; i++) {
                struct request request = random_request();
                size_t length = expect_request_written(&request);
                expect_request_read(frame + FRAME_HEADER_BYTES, length - FRAME_HEADER_BYTES);
        }
}

Test(shortcut, writes_replies_as_protobuf_does) {
        for (unsigned i = 0; i < ROUNDS; i++) {
                struct reply reply = random_reply();
                size_t length = expect_reply_written(&reply);
                expect_reply_read(frame + FRAME_HEADER_BYTES, length - FRAME_HEADER_BYTES);
        }
}

Test(shortcut, agrees_on_every_sample) {
        size_t count;
        const struct request *requests = sample_requests(&count);
        for (size_t i = 0; i < count; i++)
                expect_request_read(frame + FRAME_HEADER_BYTES,
                        expect_request_written(&requests[i]) - FRAME_HEADER_BYTES);
        const struct reply *replies = sample_replies(&count);
        for (size_t i = 0; i < count; i++)
                expect_reply_read(frame + FRAME_HEADER_BYTES,
                        expect_reply_written(&replies[i]) - FRAME_HEADER_BYTES);
}

/* A byte changed, taken out or put in, a piece moved, or the end cut off. */
static size_t bend(uint8_t *message, size_t length) {
        size_t at = random_next() % length, from = random_next() % length;
        switch (random_next() % 6) {
        case 0:
                message[at] = (uint8_t)random_next();
                return length;
        case 1:
                message[at] ^= (uint8_t)(1u << random_next() % 8);
                return length;
        case 2:
                memmove(message + at, message + at + 1, length - at - 1);
                return length - 1;
        case 3:
                memmove(message + at + 1, message + at, length - at);
                return length + 1;
        case 4:
                memmove(message + at, message + from, length - (at > from ? at : from));
                return length;
        default:
                return at;
        }
}

Test(shortcut, reads_bent_requests_as_protobuf_does) {
        for (unsigned i = 0; i < ROUNDS; i++) {
                struct request request = random_request();
                size_t length = expect_request_written(&request) - FRAME_HEADER_BYTES;
                for (unsigned bends = 0; bends < 4 && length > 0; bends++) {
                        length = bend(frame + FRAME_HEADER_BYTES, length);
                        expect_request_read(frame + FRAME_HEADER_BYTES, length);
                }
        }
}

Test(shortcut, reads_bent_replies_as_protobuf_does) {
        for (unsigned i = 0; i < ROUNDS; i++) {
                struct reply reply = random_reply();
                size_t length = expect_reply_written(&reply) - FRAME_HEADER_BYTES;
                for (unsigned bends = 0; bends < 4 && length > 0; bends++) {
                        length = bend(frame + FRAME_HEADER_BYTES, length);
                        expect_reply_read(frame + FRAME_HEADER_BYTES, length);
                }
        }
}

/* Else it would be no use. */
Test(shortcut, takes_what_is_common) {
        const struct request alloc = {
                .id = 1000, .kind = REQUEST_ALLOC, .alloc = {.length = 4096, .count = 64}};
        const struct request release = {.id = 1001,
                .kind = REQUEST_RELEASE,
                .release = {.ranges = {places, generations, 64}}};
        const struct reply done = {.id = 1001, .kind = REPLY_DONE};
        const struct reply ranges = {
                .id = 1000, .kind = REPLY_RANGES, .ranges = {places, generations, 64}};
        struct request request;
        struct reply reply;
        size_t length = shortcut_write_request(&alloc, frame, sizeof(frame));
        cr_assert(shortcut_read_request(&arena, frame + 4, length - 4, &request));
        length = shortcut_write_request(&release, frame, sizeof(frame));
        cr_assert(shortcut_read_request(&arena, frame + 4, length - 4, &request));
        length = shortcut_write_reply(&done, frame, sizeof(frame));
        cr_assert(shortcut_read_reply(&arena, frame + 4, length - 4, &reply));
        length = shortcut_write_reply(&ranges, frame, sizeof(frame));
        cr_assert(shortcut_read_reply(&arena, frame + 4, length - 4, &reply));
}

Test(shortcut, leaves_the_output_alone_without_memory) {
        const struct request release = {
                .id = 1, .kind = REQUEST_RELEASE, .release = {.ranges = {places, generations, 64}}};
        struct request out = {.id = 4711};
        struct arena small;
        cr_assert_eq(arena_init(&small, 512), 0);
        ptrdiff_t length = request_encode(&release, frame, sizeof(frame));
        cr_assert_eq(request_decode(&small, frame + 4, (size_t)length - 4, &out), -ENOMEM);
        cr_assert_eq(out.id, 4711);
        arena_deinit(&small);
}

/* Bytes that no encoder writes: cut off, changed, and decoded into too little memory. Messages are
 * decoded from memory of exactly their length, so that a sanitizer sees each read behind the end. */
#include <criterion/criterion.h>
#include <errno.h>

#include "proto/frame.h"
#include "samples.h"
#include "wire_builder.h"

/* Larger samples are left out where the work grows with the square of their length. */
#define SMALL_BYTES 6000u

struct codec {
        int (*decode)(struct arena *arena, const uint8_t *message, size_t length);
        bool (*unchanged)(void);
        struct arena arena;
};

static struct request request;
static struct reply reply;

static int decode_request(struct arena *arena, const uint8_t *message, size_t length) {
        request = (struct request){.id = 4711, .kind = REQUEST_KIND_END};
        return request_decode(arena, message, length, &request);
}

static bool request_unchanged(void) {
        return request.id == 4711 && request.kind == REQUEST_KIND_END;
}

static int decode_reply(struct arena *arena, const uint8_t *message, size_t length) {
        reply = (struct reply){.id = 4711, .kind = (enum reply_kind)77};
        return reply_decode(arena, message, length, &reply);
}

static bool reply_unchanged(void) {
        return reply.id == 4711 && reply.kind == (enum reply_kind)77;
}

static struct codec codecs[] = {
        {.decode = decode_request, .unchanged = request_unchanged},
        {.decode = decode_reply, .unchanged = reply_unchanged},
};

static void setup(void) {
        cr_assert_eq(arena_init(&codecs[0].arena, MESSAGE_ARENA_REQUEST), 0);
        cr_assert_eq(arena_init(&codecs[1].arena, MESSAGE_ARENA_REPLY), 0);
}

static void teardown(void) {
        arena_deinit(&codecs[0].arena);
        arena_deinit(&codecs[1].arena);
}

TestSuite(hostile, .init = setup, .fini = teardown);

typedef void message_test(struct codec *codec, const uint8_t *message, size_t length);

/* Runs the test on the message of every sample up to max_bytes. */
static void each_sample(size_t max_bytes, message_test *test) {
        size_t count;
        const struct request *requests = sample_requests(&count);
        uint8_t *frame = malloc(FRAME_HEADER_BYTES + FRAME_REPLY_MAX);
        for (size_t i = 0; i < count; i++) {
                size_t bytes = request_frame_bytes(&requests[i]);
                if (bytes > max_bytes)
                        continue;
                request_encode(&requests[i], frame, bytes);
                test(&codecs[0], frame + FRAME_HEADER_BYTES, bytes - FRAME_HEADER_BYTES);
        }
        const struct reply *replies = sample_replies(&count);
        for (size_t i = 0; i < count; i++) {
                size_t bytes = reply_frame_bytes(&replies[i]);
                if (bytes > max_bytes)
                        continue;
                reply_encode(&replies[i], frame, bytes);
                test(&codecs[1], frame + FRAME_HEADER_BYTES, bytes - FRAME_HEADER_BYTES);
        }
        free(frame);
}

/* Decodes a copy that ends where its memory ends. Memory always suffices. */
static void decode_copy(struct codec *codec, const uint8_t *message, size_t length) {
        uint8_t *copy = malloc(length ? length : 1);
        memcpy(copy, message, length);
        arena_reset(&codec->arena);
        int error = codec->decode(&codec->arena, copy, length);
        cr_assert(error == 0 || error == -EBADMSG, "%d", error);
        if (error < 0)
                cr_assert(codec->unchanged());
        free(copy);
}

static void cut_everywhere(struct codec *codec, const uint8_t *message, size_t length) {
        for (size_t bytes = 0; bytes < length; bytes++)
                decode_copy(codec, message, bytes);
}

Test(hostile, truncation_at_every_byte) {
        each_sample(SMALL_BYTES, cut_everywhere);
}

static void body_cut_is_refused(struct codec *codec, const uint8_t *message, size_t length) {
        if (message[length - 2] == 0 || length < 4)
                return;
        arena_reset(&codec->arena);
        cr_assert_eq(codec->decode(&codec->arena, message, length - 1), -EBADMSG);
        cr_assert(codec->unchanged());
}

Test(hostile, envelope_without_its_last_byte_is_refused) {
        each_sample(SIZE_MAX, body_cut_is_refused);
}

static void change_every_byte(struct codec *codec, const uint8_t *message, size_t length) {
        uint8_t *changed = malloc(length);
        memcpy(changed, message, length);
        for (size_t i = 0; i < length; i++) {
                for (unsigned bit = 0; bit < 8; bit++) {
                        changed[i] = message[i] ^ (uint8_t)(1u << bit);
                        decode_copy(codec, changed, length);
                }
                changed[i] = 0xff;
                decode_copy(codec, changed, length);
                changed[i] = 0;
                decode_copy(codec, changed, length);
                changed[i] = message[i];
        }
        free(changed);
}

Test(hostile, corruption_of_every_byte) {
        each_sample(1500, change_every_byte);
}

static void raise_the_budget(struct codec *codec, const uint8_t *message, size_t length) {
        struct arena whole = codec->arena, arena = whole;
        arena_reset(&arena);
        cr_assert_eq(codec->decode(&arena, message, length), 0);
        size_t needed = arena.used;
        for (size_t size = 0; size < needed; size += 16) {
                arena = (struct arena){.bytes = whole.bytes, .size = size};
                cr_assert_eq(codec->decode(&arena, message, length), -ENOMEM, "%zu of %zu", size,
                        needed);
                cr_assert(codec->unchanged());
        }
        arena = (struct arena){.bytes = whole.bytes, .size = needed};
        cr_assert_eq(codec->decode(&arena, message, length), 0);
}

Test(hostile, every_allocation_may_fail) {
        each_sample(SMALL_BYTES, raise_the_budget);
}

Test(hostile, any_two_bytes) {
        for (size_t c = 0; c < 2; c++)
                for (unsigned pair = 0; pair < 0x10000; pair++) {
                        const uint8_t bytes[] = {(uint8_t)pair, (uint8_t)(pair >> 8)};
                        decode_copy(&codecs[c], bytes, 1);
                        decode_copy(&codecs[c], bytes, 2);
                }
}

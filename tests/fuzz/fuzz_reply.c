/* What can be decoded can be encoded and says the same when it is decoded again. It takes no more
 * bytes but for what is then said in words: a status that was missing, times that were.
 * By hand or by protobuf-c, it is the same. */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "proto/frame.h"
#include "proto/shortcut.h"
#include "samples.h"

#define SAID_IN_WORDS 8u

static struct arena arena, again;
static uint8_t frame[FRAME_HEADER_BYTES + FRAME_REPLY_MAX], plain_frame[sizeof(frame)];

/* What is decoded by hand is what protobuf-c decodes. */
static void compare_decoded(
        const uint8_t *bytes, size_t length, int error, const struct reply *decoded) {
        struct reply plain;
        arena_reset(&again);
        fuzz_require(reply_decode_protobuf(&again, bytes, length, &plain) == error);
        fuzz_require(error != 0 || replies_equal(decoded, &plain));
}

static void once_more(const struct reply *reply, size_t length) {
        ptrdiff_t bytes = reply_encode(reply, frame, sizeof(frame));
        fuzz_require(bytes > 0 && (size_t)bytes == reply_frame_bytes(reply));
        fuzz_require(reply_encode_protobuf(reply, plain_frame, sizeof(plain_frame)) == bytes);
        fuzz_require(memcmp(frame, plain_frame, (size_t)bytes) == 0);
        size_t message_bytes = (size_t)bytes - FRAME_HEADER_BYTES;
        fuzz_require(message_bytes <= length + SAID_IN_WORDS);
        struct reply copy;
        arena_reset(&again);
        fuzz_require(reply_decode(&again, frame + FRAME_HEADER_BYTES, message_bytes, &copy) == 0);
        fuzz_require(replies_equal(reply, &copy));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
        if (!arena.bytes)
                fuzz_require(arena_init(&arena, MESSAGE_ARENA_REPLY) == 0 &&
                             arena_init(&again, MESSAGE_ARENA_REPLY) == 0);
        if (length > FRAME_REPLY_MAX)
                return 0;
        struct reply decoded;
        arena_reset(&arena);
        int error = reply_decode(&arena, bytes, length, &decoded);
        fuzz_require(error == 0 || error == -EBADMSG);
        compare_decoded(bytes, length, error, &decoded);
        if (error == 0 && decoded.kind != REPLY_NONE)
                once_more(&decoded, length);
        return 0;
}

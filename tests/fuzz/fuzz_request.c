/* What can be decoded can be encoded, in no more bytes, and says the same when it is decoded again;
 * and by hand or by protobuf-c, it is the same. */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "proto/frame.h"
#include "proto/shortcut.h"
#include "samples.h"

static struct arena arena, again;
static uint8_t frame[FRAME_HEADER_BYTES + FRAME_REQUEST_MAX], plain_frame[sizeof(frame)];

/* What is decoded by hand is what protobuf-c decodes. */
static void compare_decoded(
        const uint8_t *bytes, size_t length, int error, const struct request *decoded) {
        struct request plain;
        arena_reset(&again);
        fuzz_require(request_decode_protobuf(&again, bytes, length, &plain) == error);
        fuzz_require(error != 0 || requests_equal(decoded, &plain));
}

static void once_more(const struct request *request, size_t length) {
        ptrdiff_t bytes = request_encode(request, frame, sizeof(frame));
        fuzz_require(bytes > 0 && (size_t)bytes == request_frame_bytes(request));
        fuzz_require(request_encode_protobuf(request, plain_frame, sizeof(plain_frame)) == bytes);
        fuzz_require(memcmp(frame, plain_frame, (size_t)bytes) == 0);
        size_t message_bytes = (size_t)bytes - FRAME_HEADER_BYTES;
        fuzz_require(message_bytes <= length);
        struct request copy;
        arena_reset(&again);
        fuzz_require(request_decode(&again, frame + FRAME_HEADER_BYTES, message_bytes, &copy) == 0);
        fuzz_require(requests_equal(request, &copy));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
        if (!arena.bytes)
                fuzz_require(arena_init(&arena, MESSAGE_ARENA_REQUEST) == 0 &&
                             arena_init(&again, MESSAGE_ARENA_REQUEST) == 0);
        if (length > FRAME_REQUEST_MAX)
                return 0;
        struct request decoded;
        arena_reset(&arena);
        int error = request_decode(&arena, bytes, length, &decoded);
        fuzz_require(error == 0 || error == -EBADMSG);
        compare_decoded(bytes, length, error, &decoded);
        if (error == 0 && decoded.kind != REQUEST_NONE)
                once_more(&decoded, length);
        return 0;
}

/* What can be decoded can be encoded and says the same when it is decoded again. It takes no more
 * bytes but for what is then said in words: a status that was missing, times that were. */
#include <errno.h>

#include "fuzz.h"
#include "proto/frame.h"
#include "samples.h"

#define SAID_IN_WORDS 8u

static struct arena arena, again;
static uint8_t frame[FRAME_HEADER_BYTES + FRAME_REPLY_MAX];

static void once_more(const struct reply *reply, size_t length) {
        ptrdiff_t bytes = reply_encode(reply, frame, sizeof(frame));
        fuzz_require(bytes > 0 && (size_t)bytes == reply_frame_bytes(reply));
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
        if (error == 0 && decoded.kind != REPLY_NONE)
                once_more(&decoded, length);
        return 0;
}

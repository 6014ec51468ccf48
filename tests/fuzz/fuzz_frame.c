/* A stream of frames, also as it arrives byte by byte: what is announced is what comes. */
#include "fuzz.h"
#include "proto/frame.h"

static int next(const uint8_t *bytes, size_t length, size_t *frame_bytes, size_t *wanted) {
        const uint8_t *message;
        size_t message_bytes;
        int found = frame_next(bytes, length, FRAME_REQUEST_MAX, &message, &message_bytes, wanted);
        if (found != 1)
                return found;
        fuzz_require(message == bytes + FRAME_HEADER_BYTES);
        fuzz_require(message_bytes > 0 && message_bytes <= FRAME_REQUEST_MAX);
        fuzz_require(message_bytes <= length - FRAME_HEADER_BYTES);
        uint8_t header[FRAME_HEADER_BYTES];
        frame_header(header, message_bytes);
        for (size_t i = 0; i < FRAME_HEADER_BYTES; i++)
                fuzz_require(header[i] == bytes[i]);
        *frame_bytes = FRAME_HEADER_BYTES + message_bytes;
        return 1;
}

/* Every shorter piece asks for more, and for no more than there is. */
static void arrive(const uint8_t *bytes, size_t frame_bytes) {
        for (size_t length = 0; length < frame_bytes; length++) {
                size_t ignored, wanted = 0;
                fuzz_require(next(bytes, length, &ignored, &wanted) == 0);
                fuzz_require(wanted > length && wanted <= frame_bytes);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
        while (length > 0) {
                size_t frame_bytes, wanted = 0;
                int found = next(bytes, length, &frame_bytes, &wanted);
                if (found == 0)
                        fuzz_require(wanted > length);
                if (found != 1)
                        break;
                arrive(bytes, frame_bytes);
                bytes += frame_bytes;
                length -= frame_bytes;
        }
        return 0;
}

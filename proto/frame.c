/* Length-prefixed frames. Stateless: looks at bytes, owns nothing. */
#include "frame.h"

#include <errno.h>

static uint32_t read_le32(const uint8_t *bytes) {
        return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
               (uint32_t)bytes[3] << 24;
}

int frame_next(const uint8_t *bytes, size_t length, size_t max_bytes, const uint8_t **message,
        size_t *message_bytes, size_t *wanted) {
        if (length < FRAME_HEADER_BYTES) {
                *wanted = FRAME_HEADER_BYTES;
                return 0;
        }
        size_t announced = read_le32(bytes);
        if (announced == 0)
                return -EBADMSG;
        if (announced > max_bytes)
                return -EMSGSIZE;
        if (length - FRAME_HEADER_BYTES < announced) {
                *wanted = FRAME_HEADER_BYTES + announced;
                return 0;
        }
        *message = bytes + FRAME_HEADER_BYTES;
        *message_bytes = announced;
        return 1;
}

void frame_header(uint8_t header[FRAME_HEADER_BYTES], size_t message_bytes) {
        for (unsigned i = 0; i < FRAME_HEADER_BYTES; i++)
                header[i] = (uint8_t)(message_bytes >> (8 * i));
}

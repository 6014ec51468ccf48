/* Numbers on protobuf's wire: seven bits a byte, the low ones first. Stateless. Internal. */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#define VARINT_BYTES 10u /* at most */

static inline int varint_read(const uint8_t **at, const uint8_t *end, uint64_t *out) {
        const uint8_t *byte = *at;
        uint64_t value = 0;
        for (unsigned i = 0; i < VARINT_BYTES && byte < end; i++, byte++) {
                value |= (uint64_t)(*byte & 0x7f) << (7 * i);
                if (*byte < 0x80) {
                        *at = byte + 1;
                        *out = value;
                        return 0;
                }
        }
        return -EBADMSG;
}

static inline size_t varint_bytes(uint64_t value) {
        return (size_t)(63 - __builtin_clzll(value | 1)) / 7 + 1;
}

static inline uint8_t *varint_write(uint8_t *at, uint64_t value) {
        for (; value >= 0x80; value >>= 7)
                *at++ = (uint8_t)(value | 0x80);
        *at++ = (uint8_t)value;
        return at;
}

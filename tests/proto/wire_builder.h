/* Builds messages byte by byte, also such as no encoder would write. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct wire {
        uint8_t *bytes; /* owned */
        size_t length, room;
};

static inline void wire_put(struct wire *wire, const void *bytes, size_t length) {
        if (wire->room - wire->length < length) {
                wire->room = (wire->length + length) * 2;
                wire->bytes = realloc(wire->bytes, wire->room);
                if (!wire->bytes)
                        abort();
        }
        if (length > 0)
                memcpy(wire->bytes + wire->length, bytes, length);
        wire->length += length;
}

static inline void wire_varint(struct wire *wire, uint64_t value) {
        for (; value >= 0x80; value >>= 7)
                wire_put(wire, &(uint8_t){(uint8_t)(value | 0x80)}, 1);
        wire_put(wire, &(uint8_t){(uint8_t)value}, 1);
}

static inline void wire_tag(struct wire *wire, uint32_t number, unsigned type) {
        wire_varint(wire, (uint64_t)number << 3 | type);
}

static inline void wire_number(struct wire *wire, uint32_t number, uint64_t value) {
        wire_tag(wire, number, 0);
        wire_varint(wire, value);
}

static inline void wire_bytes(
        struct wire *wire, uint32_t number, const void *bytes, size_t length) {
        wire_tag(wire, number, 2);
        wire_varint(wire, length);
        wire_put(wire, bytes, length);
}

/* An envelope with this body. */
static inline void wire_message(
        struct wire *wire, uint64_t id, uint32_t kind, const struct wire *body) {
        wire_number(wire, 1, id);
        wire_bytes(wire, kind, body->bytes, body->length);
}

static inline void wire_clear(struct wire *wire) {
        free(wire->bytes);
        *wire = (struct wire){0};
}

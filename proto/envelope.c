/* Reading and writing of protobuf's wire format as far as the envelope needs it. Stateless. Every
 * length is compared with what is left before it is used. */
#include "envelope.h"

#include <errno.h>

#include "varint.h"

#define FIELD_ID       1u
#define FIELD_MAX      ((1u << 29) - 1)
#define TYPE_VARINT    0u
#define TYPE_64        1u
#define TYPE_DELIMITED 2u
#define TYPE_32        5u

static int bytes_skip(const uint8_t **at, const uint8_t *end, uint64_t count) {
        if (count > (size_t)(end - *at))
                return -EBADMSG;
        *at += count;
        return 0;
}

int wire_field_read(const uint8_t **at, const uint8_t *end, struct wire_field *out) {
        uint64_t tag;
        if (varint_read(at, end, &tag) < 0 || tag >> 3 == 0 || tag >> 3 > FIELD_MAX)
                return -EBADMSG;
        out->number = (uint32_t)(tag >> 3);
        out->type = (unsigned)(tag & 7);
        switch (out->type) {
        case TYPE_VARINT:
                return varint_read(at, end, &out->varint);
        case TYPE_64:
                return bytes_skip(at, end, 8);
        case TYPE_32:
                return bytes_skip(at, end, 4);
        case TYPE_DELIMITED:
                if (varint_read(at, end, &out->varint) < 0)
                        return -EBADMSG;
                out->bytes = *at;
                out->length = (size_t)out->varint;
                return bytes_skip(at, end, out->varint);
        default:
                return -EBADMSG;
        }
}

int envelope_read(const uint8_t *message, size_t length, uint32_t kind_end, struct envelope *out) {
        struct envelope envelope = {0};
        const uint8_t *at = message, *end = message + length;
        while (at < end) {
                struct wire_field field;
                if (wire_field_read(&at, end, &field) < 0)
                        return -EBADMSG;
                if (field.number >= kind_end)
                        continue;
                if (field.number == FIELD_ID) {
                        if (field.type != TYPE_VARINT)
                                return -EBADMSG;
                        envelope.id = field.varint;
                        continue;
                }
                if (field.type != TYPE_DELIMITED || envelope.kind != 0)
                        return -EBADMSG;
                envelope.kind = field.number;
                envelope.body = field.bytes;
                envelope.body_bytes = field.length;
        }
        *out = envelope;
        return 0;
}

size_t envelope_bytes(uint64_t id, uint32_t kind, size_t body_bytes) {
        size_t id_bytes = id == 0 ? 0 : 1 + varint_bytes(id);
        return id_bytes + varint_bytes((uint64_t)kind << 3) + varint_bytes(body_bytes) + body_bytes;
}

uint8_t *envelope_write(uint8_t *message, uint64_t id, uint32_t kind, size_t body_bytes) {
        uint8_t *at = message;
        if (id != 0) {
                *at++ = FIELD_ID << 3 | TYPE_VARINT;
                at = varint_write(at, id);
        }
        at = varint_write(at, (uint64_t)kind << 3 | TYPE_DELIMITED);
        return varint_write(at, body_bytes);
}

/* The outer layer of both messages: field 1 is the id, and one length-delimited field, whose number
 * is the kind, is the body. It is read and written here and not by protobuf-c, so that unknown
 * fields cost nothing, a second body is refused where protobuf would merge the two (in time and
 * memory that grow with the square of the message), and a body is encoded in place. Internal. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct envelope {
        uint64_t id;
        uint32_t kind; /* field number of the body; 0: none that is known */
        const uint8_t *body;
        size_t body_bytes;
};

/* Bodies are the fields 2 … kind_end - 1; others are skipped. 0; -EBADMSG: not a message, or two bodies. */
int envelope_read(const uint8_t *message, size_t length, uint32_t kind_end, struct envelope *out);

/* Bytes of a message, header of the frame not counted. */
size_t envelope_bytes(uint64_t id, uint32_t kind, size_t body_bytes);

/* Writes all but the body; returns where that goes. The room has been checked. */
uint8_t *envelope_write(uint8_t *message, uint64_t id, uint32_t kind, size_t body_bytes);

/* One field of any message, as it lies on the wire. */
struct wire_field {
        uint32_t number;
        unsigned type; /* wire type: 0 varint, 1 64 bits, 2 length-delimited, 5 32 bits */
        uint64_t varint;
        const uint8_t *bytes; /* of a length-delimited field */
        size_t length;
};

/* Takes the next field off [*at, end). 0 or -EBADMSG. */
int wire_field_read(const uint8_t **at, const uint8_t *end, struct wire_field *out);

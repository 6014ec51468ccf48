/* What the bodies of requests and replies have in common: decoding into an arena, and texts, tokens
 * and ranges between plain C and protobuf-c's types. Internal to proto. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "message.h"

/* Where one message is decoded to, and whether that was too small. */
struct body_memory {
        struct arena *arena;
        bool exhausted;
};

void *body_alloc(struct body_memory *memory, size_t size);

/* Decodes a body. 0; -EBADMSG: malformed, or more than MESSAGE_FIELDS_MAX fields; -ENOMEM. */
int body_unpack(struct body_memory *memory, const ProtobufCMessageDescriptor *descriptor,
        const uint8_t *bytes, size_t length, ProtobufCMessage **out);

/* A terminated copy. -EBADMSG: over max_bytes or with a NUL in it; -ENOMEM. */
int body_text(struct body_memory *memory, const ProtobufCBinaryData *from, size_t max_bytes,
        const char **out);

/* NULL if there is none. -EBADMSG: of another length than MESSAGE_TOKEN_BYTES. */
int body_token(const ProtobufCBinaryData *from, const uint8_t **out);

/* Two arrays as one list of ranges. -EBADMSG: lengths differ or are over MESSAGE_BATCH_MAX. */
int body_ranges(const uint64_t *places, size_t place_count, const uint32_t *generations,
        size_t generation_count, struct message_ranges *out);

/* The other direction, without a copy: *out points at text (NULL: empty). -EMSGSIZE: over max_bytes. */
int body_put_text(const char *text, size_t max_bytes, ProtobufCBinaryData *out);

/* The same for texts that only people read: what is over max_bytes is cut off. */
void body_put_cut_text(const char *text, size_t max_bytes, ProtobufCBinaryData *out);

void body_put_token(const uint8_t *token, ProtobufCBinaryData *out);

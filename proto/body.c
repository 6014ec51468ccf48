/* Bounded decoding of message bodies. The arena belongs to the caller; nothing here is shared. */
#include "body.h"

#include <errno.h>
#include <string.h>

#include "envelope.h"

/* A field takes two bytes at least, so below this length no message has too many. */
#define FIELDS_CHECK_BYTES ((size_t)2 * MESSAGE_FIELDS_MAX)
#define TYPE_DELIMITED     2u

void *body_alloc(struct body_memory *memory, size_t size) {
        void *bytes = arena_alloc(memory->arena, size);
        if (!bytes)
                memory->exhausted = true;
        return bytes;
}

static void *allocator_alloc(void *memory, size_t size) {
        return body_alloc(memory, size);
}

static void allocator_free(void *memory, void *pointer) {
        (void)memory;
        (void)pointer;
}

/* Depth is that of the schema: only fields that it knows as messages are entered. */
static int fields_check(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
        size_t length, size_t *budget) {
        const uint8_t *at = bytes, *end = bytes + length;
        while (at < end) {
                struct wire_field field;
                if (wire_field_read(&at, end, &field) < 0 || (*budget)-- == 0)
                        return -EBADMSG;
                const ProtobufCFieldDescriptor *known =
                        protobuf_c_message_descriptor_get_field(descriptor, field.number);
                if (!known || known->type != PROTOBUF_C_TYPE_MESSAGE ||
                        field.type != TYPE_DELIMITED)
                        continue;
                if (fields_check(known->descriptor, field.bytes, field.length, budget) < 0)
                        return -EBADMSG;
        }
        return 0;
}

int body_unpack(struct body_memory *memory, const ProtobufCMessageDescriptor *descriptor,
        const uint8_t *bytes, size_t length, ProtobufCMessage **out) {
        size_t budget = MESSAGE_FIELDS_MAX;
        if (length > FIELDS_CHECK_BYTES && fields_check(descriptor, bytes, length, &budget) < 0)
                return -EBADMSG;
        ProtobufCAllocator allocator = {
                .alloc = allocator_alloc, .free = allocator_free, .allocator_data = memory};
        ProtobufCMessage *message =
                protobuf_c_message_unpack(descriptor, &allocator, length, bytes);
        if (!message)
                return memory->exhausted ? -ENOMEM : -EBADMSG;
        *out = message;
        return 0;
}

int body_text(struct body_memory *memory, const ProtobufCBinaryData *from, size_t max_bytes,
        const char **out) {
        if (from->len == 0) {
                *out = "";
                return 0;
        }
        if (from->len > max_bytes || memchr(from->data, '\0', from->len))
                return -EBADMSG;
        char *text = body_alloc(memory, from->len + 1);
        if (!text)
                return -ENOMEM;
        memcpy(text, from->data, from->len);
        text[from->len] = '\0';
        *out = text;
        return 0;
}

int body_token(const ProtobufCBinaryData *from, const uint8_t **out) {
        if (from->len != 0 && from->len != MESSAGE_TOKEN_BYTES)
                return -EBADMSG;
        *out = from->len == 0 ? NULL : from->data;
        return 0;
}

int body_ranges(const uint64_t *places, size_t place_count, const uint32_t *generations,
        size_t generation_count, struct message_ranges *out) {
        if (place_count != generation_count || place_count > MESSAGE_BATCH_MAX)
                return -EBADMSG;
        *out = (struct message_ranges){
                .places = places, .generations = generations, .count = place_count};
        return 0;
}

int body_put_text(const char *text, size_t max_bytes, ProtobufCBinaryData *out) {
        size_t length = text ? strnlen(text, max_bytes + 1) : 0;
        if (length > max_bytes)
                return -EMSGSIZE;
        *out = (ProtobufCBinaryData){.len = length, .data = (uint8_t *)(uintptr_t)text};
        return 0;
}

void body_put_cut_text(const char *text, size_t max_bytes, ProtobufCBinaryData *out) {
        *out = (ProtobufCBinaryData){
                .len = text ? strnlen(text, max_bytes) : 0, .data = (uint8_t *)(uintptr_t)text};
}

void body_put_token(const uint8_t *token, ProtobufCBinaryData *out) {
        *out = (ProtobufCBinaryData){
                .len = token ? MESSAGE_TOKEN_BYTES : 0, .data = (uint8_t *)(uintptr_t)token};
}

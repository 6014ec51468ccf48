/* The four messages that make up nearly all traffic, alloc, release, done and ranges, read and written by
 * hand: the bytes are those of protobuf-c, at a fraction of its time. What does not look as our own writers
 * write it (fields in another order, twice, unknown, arrays that are not packed) is left to protobuf-c, and so are all
 * errors. Internal to proto. */
#pragma once

#include "message.h"

/* False: not read, *out is unchanged; protobuf-c shall do it. */
bool shortcut_read_request(
        struct arena *arena, const uint8_t *message, size_t length, struct request *out);
bool shortcut_read_reply(
        struct arena *arena, const uint8_t *message, size_t length, struct reply *out);

/* Bytes of the whole frame; 0: not written, also where there is only just room enough. */
size_t shortcut_write_request(const struct request *request, uint8_t *frame, size_t size);
size_t shortcut_write_reply(const struct reply *reply, uint8_t *frame, size_t size);

/* What message.h declares without the shortcut: what it must agree with. */
int request_decode_protobuf(
        struct arena *arena, const uint8_t *message, size_t length, struct request *out);
int reply_decode_protobuf(
        struct arena *arena, const uint8_t *message, size_t length, struct reply *out);
ptrdiff_t request_encode_protobuf(const struct request *request, uint8_t *frame, size_t size);
ptrdiff_t reply_encode_protobuf(const struct reply *reply, uint8_t *frame, size_t size);

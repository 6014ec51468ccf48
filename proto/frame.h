/* Frames: a 4-byte little-endian length, then that many bytes of one message. The caps are checked
 * on the length alone, before anything is allocated or read. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_BYTES 4u
#define FRAME_REQUEST_MAX  (64u * 1024) /* message bytes of a request, header not counted */
#define FRAME_REPLY_MAX    (1024u * 1024)

/* Looks for a whole frame at the start of bytes. 1: *message and *message_bytes are set, and the frame
 * takes FRAME_HEADER_BYTES + *message_bytes; 0: more bytes are needed (*wanted: how many in all, header
 * included); -EMSGSIZE: longer than max_bytes; -EBADMSG: length 0. */
int frame_next(const uint8_t *bytes, size_t length, size_t max_bytes, const uint8_t **message,
        size_t *message_bytes, size_t *wanted);

/* Writes the header for a message of message_bytes. */
void frame_header(uint8_t header[FRAME_HEADER_BYTES], size_t message_bytes);

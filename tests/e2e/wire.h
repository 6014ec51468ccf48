/* A client that speaks the protocol by hand, and says what no library would. Failed expectations end the test. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "harness.h"
#include "proto/message.h"

struct wire {
        int fd;
        uint64_t next_id;
        struct arena arena;
        uint8_t *bytes; /* received and not yet taken */
        size_t length, size;
        int descriptors[8]; /* that came with replies; closed by wire_close */
        size_t descriptor_count;
};

void wire_open(struct wire *wire, const struct scene *scene);
void wire_close(struct wire *wire);

/* All of these bytes, or as many as the peer takes before it closes. */
void wire_send(struct wire *wire, const void *bytes, size_t length);

/* Sends a request under the next id, which is returned. */
uint64_t wire_request(struct wire *wire, struct request request);

/* The next reply; it lives until the next call. False: the peer has closed instead. */
bool wire_reply(struct wire *wire, struct reply *reply);

/* The peer must close the connection within milliseconds; replies before that are thrown away. */
void wire_expect_closed(struct wire *wire, int milliseconds);

/* hello, and the welcome that must come. */
struct reply_welcome wire_hello(struct wire *wire, const struct scene *scene);

/* Opens, says hello, and returns the segment that came with the welcome. */
int wire_segment(struct wire *wire, const struct scene *scene);

/* A ping that must be answered. */
void wire_expect_alive(struct wire *wire);

/* A frame of any content, written to frame; its length. */
size_t wire_frame(uint8_t *frame, const void *message, size_t length);

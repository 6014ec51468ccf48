/* One connection to the live server, frame by frame, and what the replies over it tell. A reply that cannot be decoded, or a
 * server that does not answer for long, ends the program. */
#pragma once

#include "proto/message.h"

struct actor {
        int fd; /* -1: not connected */
        uint32_t session;
        uint8_t *in; /* room for a reply; received and not decoded */
        size_t in_bytes;
};

/* Told of each reply, in its order. */
typedef void actor_hears(struct actor *actor, const struct reply *reply);

void actor_connect(struct actor *actor);

/* As many as the socket takes. */
void actor_send_bytes(struct actor *actor, const uint8_t *bytes, size_t length);

/* fd: passed along; -1: none. */
void actor_send(struct actor *actor, const struct request *request, int fd);

/* Reads what is there. */
void actor_read(struct actor *actor, actor_hears *hears);

/* Sends no more, reads until the server has closed, and closes. */
void actor_end(struct actor *actor, actor_hears *hears);

/* Makes one request of many and waits for its reply, which is valid until the next one is read. */
const struct reply *actor_ask(struct actor *actor, struct request *request);

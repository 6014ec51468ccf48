/* A session by hand that can be come back to: what its client keeps for that, and how it says hello with it. */
#pragma once

#include "wire.h"

struct ticket {
        const char *name;
        enum hello_access access;
        uint32_t features; /* of its hellos */
        uint32_t session;  /* 0: none yet */
        uint8_t token[MESSAGE_TOKEN_BYTES];
};

/* Says hello on a new connection; the reply to it. */
struct reply ticket_say(struct wire *wire, const struct scene *scene, const struct ticket *ticket);

/* A new session, which asks for something or has not heard of itself yet. */
void ticket_open(struct wire *wire, const struct scene *scene, struct ticket *ticket);
void ticket_open_unheard(struct wire *wire, const struct scene *scene, struct ticket *ticket);

/* Comes back to it; how far its requests came. */
struct message_done ticket_resume(
        struct wire *wire, const struct scene *scene, const struct ticket *ticket);

/* Tries to, and is refused. */
void ticket_refused(const struct scene *scene, const struct ticket *ticket, enum status status);

/* Takes so many ranges of one page, whose names are written to out; NULL: they are not wanted. */
void wire_take(struct wire *wire, uint32_t count, struct message_range *out);

/* How many holds a session has, asked over any connection. */
size_t wire_holds(struct wire *wire, uint32_t session);

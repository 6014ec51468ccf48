/* A reply that comes later than its request's turn, to a connection that may be gone by then. Embedded in whatever the request
 * began; belongs to the connection's worker. */
#pragma once

#include <stdint.h>

#include "list.h"
#include "proto/message.h"

struct call;
struct connection;

struct later {
        struct link in_connection;
        struct connection *connection; /* NULL: gone, or answered */
        uint64_t id;                   /* of the request */
};

/* The request that is being run is answered later. BUSY: another one of its connection's is, so nothing was begun. */
enum status later_begin(struct later *later, struct call *call);

/* Answers, unless the connection is gone. A later that was never begun is fine. */
void later_answer(struct later *later, struct reply *reply);
void later_refuse(struct later *later, enum status status, const char *detail);

/* The connection is closed: nobody wants the answers any more. */
void laters_forget(struct connection *connection);

/* From a message to the function that serves it: a table with one row per request. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/message.h"
#include "served_pool.h"

struct connection;
struct session;
struct worker;

#define CALL_DETAIL 320

/* One request while it is being run. */
struct call {
        struct worker *worker;
        struct connection *connection;
        struct served_pool *served; /* NULL before hello */
        struct session *session;    /* NULL for an observer */
        const struct request *request;
        struct reply reply; /* kind DONE unless the handler says otherwise; NONE: it comes later */
        int descriptor;     /* goes out with the reply; -1: none */
        char detail[CALL_DETAIL]; /* why it is refused, in one line */
};

/* Serves a request: STATUS_OK and call->reply, or why it is refused and call->detail. Refused requests
 * change nothing. */
typedef enum status request_handler(struct call *call);

enum request_needs {
        NEEDS_NOTHING = 0,
        NEEDS_NO_POOL = 1, /* comes before hello */
        NEEDS_POOL = 2,    /* comes after hello */
        NEEDS_SESSION = 4, /* not for observers */
        NEEDS_WRITE = 8,   /* not for read-only clients */
        NAMES_HOLDS =
                16, /* changes holds that the pool keeps count of, for a client that lost the reply */
};

struct dispatch_row {
        const char *name;
        unsigned needs;
        request_handler *handler;
};

/* The row of a request, NULL for one that this version does not know. */
const struct dispatch_row *dispatch_find(unsigned kind);

/* Who asks, as far as preconditions care. */
struct dispatch_asker {
        bool greeted, has_session, read_only;
};

/* STATUS_OK, or why such a client may not ask this, and in words. */
enum status dispatch_admit(
        const struct dispatch_row *row, struct dispatch_asker asker, const char **reason);

/* Decodes and serves one message and encodes the reply. Returns the monotonic clock in ns. */
uint64_t dispatch_run(struct connection *connection, const uint8_t *message, size_t length);

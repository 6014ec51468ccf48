/* One client's socket: receives, runs whole requests, sends, closes. It owns the descriptors and what is
 * kept of input and output; once closed, it is freed between two turns.
 *
 *   GREETING → OPEN → PARTING → LEAVING → CLOSED
 *
 * Any state may go to LEAVING (nothing is read any more; closes once all is sent) and to CLOSED. One that is
 * GREETING may move to another worker, where the session lives that it resumes, and greets there. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "list.h"
#include "output.h"
#include "peer.h"
#include "poller.h"
#include "proto/message.h"

struct arrival;
struct served_pool;
struct session;
struct worker;

enum connection_state {
        CONNECTION_GREETING, /* no hello yet */
        CONNECTION_OPEN,
        CONNECTION_PARTING, /* said goodbye; the reply comes when all is returned */
        CONNECTION_LEAVING,
        CONNECTION_CLOSED,
};

struct connection {
        struct worker *worker;
        struct link in_worker; /* among its connections, then among those to be freed */
        struct link in_watched, in_runnable;
        struct share *share; /* its uid's, which this is counted in */
        struct peer peer;
        struct user
                *user; /* whose connection it counts as; NULL once that has gone on to an orphan */
        uint64_t buffer_bytes; /* that the user was charged for */
        uint64_t in_flight;    /* replies since the socket last had taken all of them */
        int fd;
        enum connection_state state;
        bool expects_cache;         /* a descriptor may come */
        int passed;                 /* that came; owned; -1: none */
        bool must_tell;             /* no request is run until every reply is in the socket */
        struct served_pool *served; /* after hello */
        struct session *session;    /* owned; NULL before hello, after goodbye, for an observer */
        struct session *parting;    /* whose reclaim we wait for; the worker's */
        struct link laters;         /* of struct later, that it will be answered */
        struct worker *moves_to;    /* goes there, with the request that is being run; NULL */
        struct output output;
        uint8_t *input; /* owned; received and not run */
        size_t input_bytes;
        uint64_t input_since_ms;  /* when the first of them came */
        uint64_t output_since_ms; /* when the socket last took something of what waits */
        uint64_t accepted_ms;
        uint64_t received_ns; /* when what is being run was received */
        struct poller_socket socket;
        char *metrics; /* owned; what is left of a text that is fetched in pages; NULL: nothing */
        size_t metrics_bytes;
        bool more_input; /* the last receive may have left something in the socket */
        bool unread;     /* there is something in the socket, for its turn */
        bool ended;      /* its end was reported, and is not again */
        bool dead; /* its process has ended, or it is deaf: what it sent is run, and then it is closed */
        bool deaf;                    /* it has closed its end: replies reach nobody */
        size_t drained;               /* bytes of that */
        bool plain_receive;           /* no descriptor can come along with what it sends */
        struct poller_socket process; /* of the pidfd */
};

/* Starts serving; takes descriptors and input. 0 or -errno, with nothing taken or left behind. */
int connection_new(struct worker *worker, const struct arrival *arrival);

/* Encodes a reply. It is sent at the end of the turn. */
void connection_reply(struct connection *connection, const struct reply *reply);

/* As connection_reply, with a descriptor that stays open as long as the daemon runs. */
void connection_reply_with(
        struct connection *connection, const struct reply *reply, int descriptor);

/* Sends what was encoded for whoever it was encoded for. */
void connection_flush(struct worker *worker);

/* Sends what was encoded; nothing is read from it any more, and it is closed once all is sent. */
void connection_leave(struct connection *connection);

/* Not a client of ours: tells it and us why, once, and leaves. */
void connection_reject(struct connection *connection, const char *reason);

/* The request that is being run is the other worker's to run: hands the connection over at the end of the
 * turn, with this request and all behind it. */
void connection_move(struct connection *connection, struct worker *worker);

/* All that it held is returned: answers the goodbye of this id and leaves. */
void connection_farewell(struct connection *connection, uint64_t id);

/* Closes at once. reason is logged unless NULL. */
void connection_close(struct connection *connection, const char *reason);

/* Frees the worker's closed connections. Between two turns. */
void connections_bury(struct worker *worker);

/* Its turn: goes on with requests that were received before, or receives some. */
void connection_take_turn(struct connection *connection);

/* Closes it if it ran out of time. True: it need not be watched any more (or is closed). */
bool connection_expire(struct connection *connection, uint64_t now_ms);

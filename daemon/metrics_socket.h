/* The socket of metrics: whoever connects is told all of them, of all pools, as OpenMetrics. A request by HTTP is answered by HTTP;
 * whoever shuts down its side, or says nothing for a second, gets the text alone. It belongs to the main thread, which
 * enters no pool: a worker renders, one text at a time, for all who had asked before it began. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "list.h"

struct serving;
struct worker;

struct metrics_socket {
        struct serving *serving; /* NULL: there is no such socket */
        uv_pipe_t listener;
        uv_async_t rendered;
        struct link guests; /* of struct metrics_guest */
        unsigned guest_count;
        bool rendering;       /* a worker has been asked */
        pthread_mutex_t lock; /* guards the fields below, which a worker writes */
        char *text;           /* owned; NULL: none, or no memory for it */
        size_t text_bytes;
};

/* Begins to serve on a listening socket, which stays the caller's; -1: does nothing. 0 or -errno; to be stopped and
 * deinitialised in either case. */
int metrics_socket_init(struct metrics_socket *socket, struct serving *serving, int listen_fd);

/* Lets nobody in and everybody go. */
void metrics_socket_stop(struct metrics_socket *socket);

/* After the workers have ended; its handles are closed once the loop has run out. */
void metrics_socket_deinit(struct metrics_socket *socket);

/* Renders. On a worker's thread, which was asked to. */
void metrics_socket_render(struct metrics_socket *socket, struct worker *worker);

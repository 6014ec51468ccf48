/* Takes connections from the listening socket and spreads them over the workers. Runs on the main
 * loop. When descriptors run out it stops polling and tries again after a while, or when a
 * connection has been closed. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "peer.h"

struct guard;
struct users;
struct worker;

struct acceptor {
        uv_poll_t listener;
        uv_timer_t retry;
        uv_async_t closed;   /* a worker closed a connection while paused */
        _Atomic bool paused; /* not polling: descriptors ran out */
        bool starved;        /* and it was logged; until the backlog has been emptied once */
        int listen_fd;       /* the caller's */
        int waiting_fd;      /* accepted but not identified for want of a descriptor; -1; owned */
        struct users *users;
        struct guard *guard;
        struct worker *workers;
        unsigned worker_count;
};

/* Begins to accept. The guard is woken before a connection is handed over. 0; -errno, with only the storage left behind. */
int acceptor_init(struct acceptor *acceptor, uv_loop_t *loop, int listen_fd, struct users *users,
        struct guard *guard);

/* Who serves the connections; before the loop runs. */
void acceptor_set_workers(struct acceptor *acceptor, struct worker *workers, unsigned worker_count);

/* Accepts no more. */
void acceptor_stop(struct acceptor *acceptor);

/* After the workers have ended; its handles are closed once the loop has run out. */
void acceptor_deinit(struct acceptor *acceptor);

/* There may be a descriptor again. Any thread, while the acceptor's loop runs. */
void acceptor_connection_closed(struct acceptor *acceptor);

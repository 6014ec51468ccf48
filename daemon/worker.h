/* A worker: one thread with one loop that serves its share of the connections. Everything here belongs
 * to that thread, but for what the inbox holds.
 *
 * Buffers for receiving, decoding and encoding are the worker's and not the connections': what is in
 * them belongs to the connection whose turn it is, and is sent, or kept by it, before the turn ends. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "core/account.h"
#include "errand.h"
#include "list.h"
#include "peer.h"
#include "poller.h"
#include "proto/arena.h"
#include "proto/frame.h"
#include "proto/message.h"
#include "served_pool.h"
#include "turns.h"

struct connection;
struct serving;

/* Most that is received at once, behind what was kept of a frame. */
#define WORKER_RECEIVE_BYTES (128u * 1024)
#define WORKER_INPUT_BYTES   (WORKER_RECEIVE_BYTES + FRAME_HEADER_BYTES + FRAME_REQUEST_MAX)
/* What is encoded is sent once it is this much; behind it there is always room for one more reply. */
#define WORKER_OUTPUT_HIGH  (64u * 1024)
#define WORKER_OUTPUT_BYTES (WORKER_OUTPUT_HIGH + FRAME_HEADER_BYTES + FRAME_REPLY_MAX)
/* A connection's turn ends after this long, if others wait or not; and while there are such of other uids. */
#define WORKER_TURN_NS        UINT64_C(2000000)
#define WORKER_SHARED_TURN_NS UINT64_C(20000)

/* Room for handlers, so that none needs memory of its own. Valid until the next request. */
struct worker_scratch {
        struct block blocks[MESSAGE_BATCH_MAX];
        uint64_t places[MESSAGE_BATCH_MAX];
        uint32_t generations[MESSAGE_BATCH_MAX];
        struct pool_hold holds[MESSAGE_ENTRIES_MAX];
        struct reply_hold reply_holds[MESSAGE_ENTRIES_MAX];
        struct pool_session_info sessions[MESSAGE_ENTRIES_MAX];
        struct reply_client reply_clients[MESSAGE_ENTRIES_MAX];
        struct reply_order reply_orders[ORDER_COUNT];
        struct pool_user users[MESSAGE_ENTRIES_MAX];
        struct reply_user reply_users[MESSAGE_ENTRIES_MAX];
        uint64_t limits[QUOTA_END];
        struct pool_check_report report;
        struct statistics statistics;
        struct pool_map_share shares[MESSAGE_CELLS_MAX];
        uint32_t share_cells[MESSAGE_CELLS_MAX], share_sessions[MESSAGE_CELLS_MAX];
        uint64_t share_bytes[MESSAGE_CELLS_MAX];
        uint64_t cell_granted[MESSAGE_CELLS_MAX], cell_cached[MESSAGE_CELLS_MAX];
        char page[MESSAGE_PAGE_MAX + 1];
};

/* What other threads hand to a worker. */
struct inbox {
        pthread_mutex_t lock; /* guards the fields below */
        bool open;            /* the loop still listens */
        bool stop;
        bool park;            /* somebody has claimed the barrier */
        bool asked, render;   /* for a sign of life; for metrics */
        struct link arrivals; /* of struct arrival */
        struct link settled;  /* of struct wait */
        struct link errands;  /* of struct errand */
        _Atomic bool filled;  /* something is in here; read without the lock */
};

/* An accepted connection on its way to its worker. */
struct arrival {
        struct link in_inbox;
        int fd;
        struct peer peer;
        struct user *user; /* whose connection it counts as */
        uint8_t *input;    /* owned; what another worker received and did not run, or NULL */
        size_t input_bytes;
};

struct worker {
        struct serving *serving;
        unsigned index;
        pthread_t thread;
        uv_loop_t loop;
        struct poller poller; /* the loop and the connections' sockets */
        uv_async_t wake;
        uv_idle_t more;  /* active while there is work that waits for nothing */
        uv_timer_t tick; /* active while a connection may run out of time */
        bool stopping;
        struct inbox inbox;
        _Atomic uint32_t connection_count; /* the acceptor's, lowered here */

        struct link connections;    /* all, of struct connection */
        struct link closed;         /* of struct connection, to be freed between two turns */
        struct link watched;        /* that may run out of time */
        struct turns turns;         /* of connections with something to do */
        struct link reclaims;       /* of struct session, whose holds are being returned */
        struct link closed_orphans; /* of struct orphan, to be freed between two turns */
        struct link orphans;        /* of struct orphan, whose clients may come back */
        struct link jobs;           /* of struct job, under way */

        struct arena arena;             /* for the request that is being run */
        uint8_t *input, *output;        /* owned */
        size_t output_bytes;            /* encoded and not sent */
        struct connection *output_for;  /* whose they are */
        struct worker_scratch *scratch; /* owned */
};

/* Prepares a worker; it runs from worker_start on. 0 or -errno. */
int worker_init(struct worker *worker, struct serving *serving, unsigned index);
int worker_start(struct worker *worker);

/* Asks a worker to close its connections and end; the caller joins its thread. */
void worker_stop(struct worker *worker);

/* After the thread has ended, or if it never started. */
void worker_deinit(struct worker *worker);

/* Hands a connection over, which counts as this worker's from now on. Any thread; takes arrival, which is
 * freed. */
void worker_give(struct worker *worker, struct arrival *arrival);

/* Puts a settled wait, by its link, or an errand into the worker's inbox. Any thread. */
void worker_post_settled(struct worker *worker, struct link *in_inbox);
void worker_post_errand(struct worker *worker, struct errand *errand);

/* Makes it, before it does anything else: park at the barrier; render metrics; answer the watchdog. Any thread. */
void worker_ask_to_park(struct worker *worker);
void worker_ask_for_metrics(struct worker *worker);
void worker_ask_for_life(struct worker *worker);

/* Puts a connection among those that may run out of time. */
void worker_watch(struct worker *worker, struct link *in_watched);

/* A connection of this worker was closed. */
void worker_lost_connection(struct worker *worker);

/* Makes the loop come round again without waiting. */
void worker_has_more(struct worker *worker);

/* Its statistics of a pool. */
static inline struct statistics *worker_statistics(
        const struct worker *worker, const struct served_pool *served) {
        return &served->statistics[worker->index];
}

/* Monotonic clock. */
static inline uint64_t worker_clock_ns(void) {
        return poller_clock_ns();
}

/* The same without asking it: as it was when the last wake-up or request was over. */
static inline uint64_t worker_now_ms(const struct worker *worker) {
        return worker->poller.now_ns / 1000000u;
}

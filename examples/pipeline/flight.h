/* The files in flight: begun by the reader, not yet settled by the writer; with the ranges that hold their
 * bytes, and who has them in hand. It is the one thing that the reader's two threads share; lock guards all of
 * it. Functions ending in _locked want it held, the others take it themselves.
 *
 * Invariant: a file is in exactly one place: with a worker, in ready (to be handed to a worker), in again
 * (to be read again from its start), or in nobody's hand: open at the filler without a piece yet. Only the file
 * that the filler has open can be incomplete; it is behind all complete ones in ready.
 * The filler alone frees the open file, the courier all others. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include <buddyclient.h>

#include "options.h"
#include "picture.h"
#include "record.h"
#include "report.h"

#define ATTEMPTS_MAX 10 /* workers that one file may take down with it */

struct piece { /* part of a file, in one range */
        TAILQ_ENTRY(piece) link;
        struct buddyclient_range range; /* length 0: an empty piece holds none */
        uint64_t bytes;
        bool last;
};

TAILQ_HEAD(piece_list, piece);

enum file_place { PLACE_NOWHERE, PLACE_READY, PLACE_WORKER, PLACE_AGAIN };

struct file {
        TAILQ_ENTRY(file) link; /* in the list of its place */
        uint64_t number;
        char *path; /* owned */
        enum file_place place;
        unsigned slot;            /* with PLACE_WORKER */
        struct piece_list pieces; /* in order, those still held; owned */
        struct piece *unsent; /* first that its worker has not got; NULL: it has all there are */
        uint64_t pieces_released; /* pieces before the first one held */
        uint64_t pieces_consumed; /* pieces that the worker does not need any more */
        uint64_t held_bytes;      /* of the pool */
        uint64_t consumed_bytes;
        unsigned attempts; /* workers lost while they had it in hand */
        bool open;         /* the filler is at it */
        bool complete;     /* all pieces are queued */
        bool dropped;      /* reading failed half-way: no result */
        bool streamed; /* consumed pieces are released at once; to do it again is to read it again */
        bool restart;  /* the filler is to begin again */
        bool over;     /* the filler is to leave it: settled already, or given up */
};

TAILQ_HEAD(file_list, file);

struct slot {                   /* a worker as the courier sees it */
        int fd;                 /* -1: no worker here now */
        struct file_list files; /* in the order of sending */
        unsigned file_count;
        uint64_t held_bytes;
        bool blocked; /* its socket was full */
};

struct flight {
        pthread_mutex_t lock;
        pthread_cond_t changed; /* again, in_flight or held_bytes has */
        struct file_list ready;
        struct file_list again;
        struct slot slots[WORKERS_MAX];
        unsigned slot_count;
        uint64_t in_flight;
        uint64_t held_bytes;
        bool returning;        /* ranges that are not counted as held are on their way back */
        uint64_t window_bytes; /* a file that holds more is streamed */
        struct buddyclient_range *returns; /* to be released by the courier; owned */
        size_t return_count, return_space;
        struct picture picture;
        struct report report;
        bool finished;     /* the filler is through and nothing is in flight */
        int wake_fd;       /* eventfd: the courier has something to do */
        atomic_bool woken; /* it has not yet taken notice of that */
};

int flight_init(struct flight *flight, unsigned slot_count, uint64_t window_bytes);
void flight_deinit(struct flight *flight); /* nothing may be in flight */

/* Lets the courier's wait end. flight_slept: the courier, before it looks what there is to do. */
void flight_wake(struct flight *flight);
void flight_slept(struct flight *flight);

/* ---- The filler's side ---- */

/* A new file, open and in flight; copies the path. */
struct file *flight_begin(struct flight *flight, uint64_t number, const char *path);

/* An empty piece. */
struct piece *flight_piece_new(void);

/* A range was granted. */
void flight_hold(struct flight *flight, const struct buddyclient_range *range);

enum flight_verdict {
        FLIGHT_ADDED,
        FLIGHT_RESTART, /* not added: read the file again from its start */
        FLIGHT_OVER,    /* not added: the file is gone */
};

/* Queues the next piece, with whose last the file is complete and the courier's. What is not added goes back
 * to the pool. */
enum flight_verdict flight_add(struct flight *flight, struct file *file, struct piece *piece);

/* The open file cannot be read (any more): its worker, if it has one, forgets it. piece is what was under
 * way, or NULL. */
void flight_drop(struct flight *flight, struct file *file, struct piece *piece);

/* The open file needs memory: if all that this run holds is the file's own, its pieces are to be released as
 * soon as they are consumed. file may be NULL. */
void flight_make_room(struct flight *flight, struct file *file);

/* Waits up to a second for a range to come back. False: this run holds none. */
bool flight_wait_return(struct flight *flight);

/* The next file that is to be read again, now open. NULL: none; with to_the_end: none, and nothing is in flight. */
struct file *flight_next_again(struct flight *flight, bool to_the_end);

/* ---- The courier's side ---- */

void flight_consumed_locked(struct flight *flight, unsigned slot, uint64_t number, uint64_t pieces);
void flight_settled_locked(struct flight *flight, const struct settled_record *settled);

/* The slot's worker is lost: what it had is done again. */
void flight_worker_lost_locked(struct flight *flight, struct slot *slot);

/* A slot that can take the first ready file, or NULL. */
struct slot *flight_choose_locked(struct flight *flight);
void flight_assign_locked(struct flight *flight, struct slot *slot);

/* Takes the ranges that are to be released, the caller's to free; NULL if there are none. They count as held no
 * more. flight_returned: they are released. */
struct buddyclient_range *flight_take_returns(struct flight *flight, size_t *count);
void flight_returned(struct flight *flight);

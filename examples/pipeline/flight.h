/* The files in flight: begun by the reader, not yet settled by the writer; with the ranges that hold their
 * bytes, and who has them. It is the one thing that the reader's two threads share; lock guards all of
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
        struct piece_list pieces; /* in order, those that the reader holds; owned */
        struct piece_list given;  /* in order, those that worker or writer hold; owned */
        uint64_t held_bytes;      /* of the pool, by whomever */
        uint64_t consumed_bytes;  /* of the file, in pieces that nobody needs any more */
        uint64_t reading;         /* times that it was to be read again */
        unsigned attempts;        /* workers lost while they had it in hand */
        bool open;                /* the filler is at it */
        bool complete;            /* all pieces are queued */
        bool dropped;             /* reading failed half-way: no result */
        bool begun;               /* of this reading, pieces were given away */
        bool restart;             /* the filler is to begin again */
        bool over;                /* the filler is to leave it: settled already, or given up */
};

TAILQ_HEAD(file_list, file);

struct outgoing { /* a record about a range that is the worker's already, so it must go, whatever becomes of the file */
        TAILQ_ENTRY(outgoing) link;
        struct piece_record record;
        char *path; /* with the first piece; owned */
};

TAILQ_HEAD(outbox, outgoing);

struct slot {                   /* a worker as the courier sees it */
        int fd;                 /* -1: no worker here now */
        uint32_t peer;          /* 0: it has not said yet */
        struct outbox outbox;   /* to be sent before anything else is given */
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
        uint64_t left_us;                  /* when ranges last ceased to be counted as held */
        struct buddyclient_range *returns; /* to be released by the courier; owned */
        size_t return_count, return_space;
        struct picture picture;
        struct report report;
        bool finished;     /* the filler is through and nothing is in flight */
        int wake_fd;       /* eventfd: the courier has something to do */
        atomic_bool woken; /* it has not yet taken notice of that */
};

int flight_init(struct flight *flight, unsigned slot_count);
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

/* Waits up to a second for a range to come back. False: this run has held none for a while. */
bool flight_wait_return(struct flight *flight);

/* The next file that is to be read again, now open. NULL: none; with to_the_end: none, and nothing is in flight. */
struct file *flight_next_again(struct flight *flight, bool to_the_end);

/* ---- The courier's side ---- */

void flight_settled_locked(struct flight *flight, const struct settled_record *settled);

/* The slot's worker is lost, and its ranges with it: its files are done again. */
void flight_worker_lost_locked(struct flight *flight, struct slot *slot);

/* A slot that can take the first ready file, or NULL. */
struct slot *flight_choose_locked(struct flight *flight);
void flight_assign_locked(struct flight *flight, struct slot *slot);

/* The next pieces for the slot's worker, at most GIVE_BATCH of them: returns how many, and writes the ranges of those
 * that have one. */
#define GIVE_BATCH 64
size_t flight_gather_locked(
        const struct slot *slot, struct buddyclient_range *ranges, size_t *range_count);

/* They are given: notes them for sending, by their new names. */
void flight_given_locked(struct slot *slot, size_t pieces, const struct buddyclient_range *ranges);

/* Sends what the worker has room for. 0, also with some of it left; or -errno. */
int flight_send_locked(struct slot *slot);

/* Takes the ranges that are to be released, the caller's to free; NULL if there are none. They count as held no
 * more. flight_returned: they are released. */
struct buddyclient_range *flight_take_returns(struct flight *flight, size_t *count);
void flight_returned(struct flight *flight);

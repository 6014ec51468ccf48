/* The load of fault_kill: processes of two threads that take, mark, share, hand over and return ranges, and judge every answer.
 *
 * All that processes share is a board in memory that the supervisor made before it forked them. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "client/buddyclient.h"
#include "fault_stage.h"

#define WORKERS      4
#define THREADS      2 /* of each worker */
#define KEYS         16
#define WAIT_MS      20
#define PATIENCE_MS  20000 /* the timeout of clients that no absence of the daemon may disturb */
#define IMPATIENT    0     /* the worker whose client has a timeout that may end */
#define IMPATIENT_MS 500

enum fault_call {
        CALL_ALLOC,
        CALL_ALLOC_WAIT,
        CALL_ALLOC_MANY,
        CALL_RELEASE,
        CALL_RELEASE_MANY,
        CALL_ATTACH,
        CALL_GIVE,
        CALL_GIVE_MANY,
        CALL_PUBLISH,
        CALL_LOOKUP,
        CALL_UNPUBLISH,
        CALL_FIND,
        CALL_STATS,
        CALL_COUNT
};

extern const char *const fault_call_names[CALL_COUNT];

enum fault_phase { PHASE_LOAD, PHASE_QUIET, PHASE_RETURN };

/* A range for others to attach to: a sequence lock, written by one thread only. */
struct fault_offer {
        atomic_uint sequence; /* odd: being written, or by one that was killed at it */
        struct buddyclient_range range;
        uint64_t serial;
};

struct fault_slot {
        pid_t pid;            /* the supervisor's; 0: none runs */
        uint32_t incarnation; /* the supervisor's */
        int inbox[2];         /* a pipe of parcels */
        _Atomic uint64_t who; /* the client's id, the incarnation above it; 0: not connected */
        atomic_uint stops;    /* how often it was stopped and is let go on */
        atomic_uint quiet;    /* threads that hand over nothing any more */
        atomic_bool leave;    /* it is to return everything and end */
        struct fault_offer offers[THREADS];
};

struct fault_board {
        atomic_uint phase;
        struct fault_slot slots[WORKERS];
        _Atomic uint64_t calls[CALL_COUNT];
        _Atomic uint64_t
                cut_off; /* -ENOTCONN for an impatient call, or a process that was stopped meanwhile */
        _Atomic uint64_t full; /* -ENOMEM and -ETIMEDOUT */
        _Atomic uint64_t pages_checked, parcels;
        _Atomic uint64_t
                longest_us; /* that a call took, but waits and calls of stopped processes */
        atomic_uint failures;
        char failure[400]; /* the first one's */
};

/* The whole life of a worker process. Does not return. */
void worker_run(const struct fault_stage *stage, struct fault_board *board, unsigned slot,
        unsigned seed) __attribute__((noreturn));

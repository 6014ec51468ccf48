/* Clients of the soak: processes that churn, share, wait and misbehave, and what they share with their supervisor: a board in memory
 * that it made before it forked them. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/buddyclient.h"
#include "fault_stage.h"

#define SOAK_WORKERS 12
#define SOAK_HELD    64 /* ranges of one worker */
#define SOAK_KEYS    4  /* of each uid */
#define SOAK_ERRORS  134

enum soak_phase { SOAK_LOAD, SOAK_QUIET, SOAK_LEAVE };

enum soak_call {
        SOAK_ALLOC,
        SOAK_ALLOC_WAIT,
        SOAK_ALLOC_MANY,
        SOAK_RELEASE,
        SOAK_ATTACH,
        SOAK_GIVE,
        SOAK_PUBLISH,
        SOAK_LOOKUP,
        SOAK_UNPUBLISH,
        SOAK_STATS,
        SOAK_BAD_FRAME,
        SOAK_HALF_FRAME,
        SOAK_FLOOD,
        SOAK_SILENCE,
        SOAK_CALLS
};

extern const char *const soak_call_names[SOAK_CALLS];

struct soak_slot {
        pid_t pid;           /* the supervisor's */
        unsigned generation; /* how often it was replaced; the supervisor's */
        atomic_bool quiet;   /* it holds what is below, and does nothing any more */
        unsigned count;
        struct buddyclient_range held[SOAK_HELD];
};

struct soak_board {
        atomic_uint phase;
        _Atomic uint64_t calls[SOAK_CALLS], refused[SOAK_CALLS];
        _Atomic uint64_t errors[SOAK_ERRORS]; /* by errno */
        _Atomic uint64_t serial, pages_checked;
        struct soak_slot slots[SOAK_WORKERS];
        struct buddyclient_range offers[SOAK_WORKERS]; /* torn reads are refused by the daemon */
        _Atomic uint32_t sessions[SOAK_WORKERS];
        atomic_uint failures;
        char failure[200];
};

/* The whole life of a worker process. Does not return. */
void soak_worker_run(const struct fault_stage *stage, struct soak_board *board, unsigned slot)
        __attribute__((noreturn));

/* Which user a slot is: 0, or, as root, another's. */
uid_t soak_uid(unsigned slot);

/* Removes the keys of this process's user. */
void soak_unpublish(struct buddyclient *client);

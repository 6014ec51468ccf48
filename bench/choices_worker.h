/* Processes that measure, one choice each, when they are told to. Between two orders they sleep. They end when they
 * are told so, and with the process that started them. */
#pragma once

#include <stdatomic.h>
#include <sys/types.h>

#include "choices.h"

#define WHY_BYTES 200u

struct worker {
        int fd; /* orders go out, reports come in; owned; -1: none */
        pid_t pid;
};

struct worker_order {
        uint64_t bytes;
        int64_t slice_ns; /* 0: end */
        uint32_t gate;    /* begin when so many have come to it */
        uint32_t threads; /* 1; 2: one on each CPU */
};

/* What a worker has in common with those that may run beside it. */
struct worker_setup {
        const struct choice *choice;
        const struct choices_place *place;
        _Atomic uint32_t *gate; /* in memory that they share */
        int cpus[2];            /* [0] is where its only thread runs */
};

/* Starts one and waits until it has opened its choice. 0; -1: it has not, and why says so. */
int worker_start(
        struct worker *worker, const struct worker_setup *setup, char why[static WHY_BYTES]);

/* Gives an order; takes its report: ns of a pair, as each thread saw it. -1: the worker failed. */
int worker_order(struct worker *worker, const struct worker_order *order);
int worker_report(struct worker *worker, double *ns);

/* Fine on one that was not started. */
void worker_stop(struct worker *worker);

/* Work that takes its time, on a thread of libuv's, so that no worker's loop waits for it. Begun by a request and answered when
 * it is done; embedded in what the work needs. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "later.h"
#include "list.h"

struct call;

struct job {
        uv_work_t work;
        struct link in_worker; /* among its worker's jobs */
        struct later later;
        _Atomic bool cancelled; /* the daemon stops: end as soon as may be */
        void (*run)(
                struct job *job); /* on its own thread: enters pools only where any thread may */
        void (*finish)(struct job *job); /* on its worker, once: answers and frees */
};

/* Begins a job whose run and finish are set. STATUS_OK: it is libuv's until finish is called; else refused. */
enum status job_begin(struct job *job, struct call *call);

/* The worker ends. */
void jobs_cancel(struct link *jobs);

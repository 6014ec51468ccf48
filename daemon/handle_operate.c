/* kick, drain, trim and grow: what an operator does to a pool that is being served. What takes its time is done by a job. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "connection.h"
#include "handle.h"
#include "job.h"
#include "kick.h"
#include "log.h"
#include "trim.h"
#include "worker.h"

static const char *pool_name(const struct call *call) {
        return call->served->store->settings.name;
}

enum status handle_kick(struct call *call) {
        enum status status = call_admit_operator(call);
        return status == STATUS_OK ? kick_begin(call) : status;
}

/* ---- drain ---- */

/* While nobody runs a request: whoever is granted something has been granted it before. */
static bool draining_set(struct call *call, bool draining) {
        struct served_pool *served = call->served;
        call_stop_others(call);
        bool changed = atomic_exchange(&served->draining, draining) != draining;
        call_let_others_go_on(call);
        if (changed)
                pulse_press(&served->pulse, draining ? 1 : -1);
        return changed;
}

enum status handle_drain(struct call *call) {
        struct served_pool *served = call->served;
        bool off = call->request->drain.off;
        enum status status = call_admit_operator(call);
        if (status != STATUS_OK)
                return status;
        if (draining_set(call, !off))
                log_event(LOG_EVENT_POOL_DRAINED, &(struct log_subject){.pool = pool_name(call)},
                        "pool '%s' %s: asked for by uid %" PRIu32 ", pid %" PRIu32, pool_name(call),
                        off ? "serves again" : "is draining, nothing is granted",
                        call->connection->peer.uid, call->connection->peer.pid);
        if (off)
                return STATUS_OK;
        /* Nothing is put into caches from here on; what is in them goes. */
        for (uint32_t from = 0; cache_take_back_next(served, &from);)
                continue;
        waiters_turn_away(&served->waiters);
        return STATUS_OK;
}

/* ---- trim ---- */

struct trim_job {
        struct job job;
        struct served_pool *served;
        uint64_t began_ns;
        struct trimmed trimmed;
};

static void trim_run(struct job *job) {
        struct trim_job *trim = LINK_OWNER(job, struct trim_job, job);
        trim->trimmed = trim_pool(trim->served, 0, &job->cancelled);
}

static void trim_finish(struct job *job) {
        struct trim_job *trim = LINK_OWNER(job, struct trim_job, job);
        struct reply reply = {
                .kind = REPLY_RETURNED,
                .returned = {.count = trim->trimmed.units,
                        .bytes = trim->trimmed.bytes,
                        .microseconds = (worker_clock_ns() - trim->began_ns) / 1000},
        };
        char detail[CALL_DETAIL];
        snprintf(detail, sizeof(detail), "cannot give memory back: %s; %s were given before",
                strerror(-trim->trimmed.error), bytes_rounded(trim->trimmed.bytes).text);
        if (trim->trimmed.error)
                later_refuse(&job->later, STATUS_INVALID, detail);
        else
                later_answer(&job->later, &reply);
        free(trim);
}

enum status handle_trim(struct call *call) {
        enum status status = call_admit_operator(call);
        if (status != STATUS_OK)
                return status;
        if (call->served->store->settings.commit == COMMIT_EAGER)
                return call_refuse(call, STATUS_INVALID,
                        "pool '%s' is eager: every page of it stays reserved, so nothing can be "
                        "given back; make it with commit = lazy for that",
                        pool_name(call));
        struct trim_job *trim = calloc(1, sizeof(*trim));
        if (!trim)
                return call_refuse(call, STATUS_NO_SPACE, "the daemon is out of memory");
        trim->job.run = trim_run;
        trim->job.finish = trim_finish;
        trim->served = call->served;
        trim->began_ns = worker_clock_ns();
        status = job_begin(&trim->job, call);
        if (status != STATUS_OK)
                free(trim);
        return status;
}

/* ---- grow ---- */

struct grow_job {
        struct job job;
        struct served_pool *served;
        uint64_t from_bytes, to_bytes;
        uint32_t uid, pid; /* who asked */
        int error;
        char fault[RESERVE_FAULT_BYTES];
};

static void grow_run(struct job *job) {
        struct grow_job *grow = LINK_OWNER(job, struct grow_job, job);
        grow->error = store_reserve_growth(grow->served->store,
                (struct store_growth){grow->from_bytes, grow->to_bytes}, &job->cancelled,
                grow->fault);
}

/* Back on the worker: check, which stops the workers, finds the pool grown or not. */
static void grow_finish(struct job *job) {
        struct grow_job *grow = LINK_OWNER(job, struct grow_job, job);
        struct served_pool *served = grow->served;
        struct reply reply = {.kind = REPLY_DONE};
        if (!grow->error)
                grow->error = pool_grow(served->pool, grow->to_bytes / served->page_bytes);
        atomic_store(&served->growing, false);
        if (grow->error) {
                later_refuse(&job->later, STATUS_NO_SPACE, grow->fault);
        } else {
                waiters_serve(&served->waiters);
                log_event(LOG_EVENT_POOL_GROWN,
                        &(struct log_subject){.pool = served->store->settings.name},
                        "pool '%s' has grown from %s to %s: asked for by uid %" PRIu32
                        ", pid %" PRIu32,
                        served->store->settings.name, bytes_rounded(grow->from_bytes).text,
                        bytes_rounded(grow->to_bytes).text, grow->uid, grow->pid);
                later_answer(&job->later, &reply);
        }
        free(grow);
}

static enum status grow_check(struct call *call, uint64_t now_bytes) {
        uint64_t asked = call->request->grow.size_bytes, page = call->served->page_bytes;
        uint64_t most = pool_pages_max(call->served->pool) * page;
        if (asked < now_bytes)
                return call_refuse(call, STATUS_INVALID,
                        "pool '%s' has %s and does not shrink; give more than that",
                        pool_name(call), bytes_exact(now_bytes).text);
        if (asked > most)
                return call_refuse(call, STATUS_TOO_BIG,
                        "pool '%s' can grow to %s, its max-size, and not to %s", pool_name(call),
                        bytes_exact(most).text, bytes_exact(asked).text);
        if (asked % page != 0)
                return call_refuse(call, STATUS_INVALID,
                        "%s are not a multiple of the page size %s; give %s",
                        bytes_exact(asked).text, bytes_exact(page).text,
                        bytes_exact(asked - asked % page).text);
        return STATUS_OK;
}

static enum status grow_begin(struct call *call, uint64_t now_bytes) {
        struct grow_job *grow = calloc(1, sizeof(*grow));
        if (!grow)
                return call_refuse(call, STATUS_NO_SPACE, "the daemon is out of memory");
        grow->job.run = grow_run;
        grow->job.finish = grow_finish;
        grow->served = call->served;
        grow->from_bytes = now_bytes;
        grow->to_bytes = call->request->grow.size_bytes;
        grow->uid = call->connection->peer.uid;
        grow->pid = call->connection->peer.pid;
        enum status status = job_begin(&grow->job, call);
        if (status != STATUS_OK)
                free(grow);
        return status;
}

enum status handle_grow(struct call *call) {
        struct served_pool *served = call->served;
        enum status status = call_admit_operator(call);
        if (status != STATUS_OK)
                return status;
        if (atomic_exchange(&served->growing, true))
                return call_refuse(call, STATUS_BUSY,
                        "pool '%s' is growing already; try again when that is done",
                        pool_name(call));
        uint64_t now_bytes = pool_pages(served->pool) * served->page_bytes;
        status = grow_check(call, now_bytes);
        bool same = call->request->grow.size_bytes == now_bytes;
        if (status == STATUS_OK && !same)
                status = grow_begin(call, now_bytes);
        if (status != STATUS_OK || same)
                atomic_store(&served->growing, false);
        return status;
}

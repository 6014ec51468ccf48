/* See job.h. */
#include "job.h"

#include "handle.h"
#include "worker.h"

static void job_run(uv_work_t *work) {
        struct job *job = LINK_OWNER(work, struct job, work);
        job->run(job);
}

static void job_done(uv_work_t *work, int status) {
        struct job *job = LINK_OWNER(work, struct job, work);
        (void)status; /* none is cancelled before it runs */
        link_remove(&job->in_worker);
        job->finish(job);
}

enum status job_begin(struct job *job, struct call *call) {
        struct worker *worker = call->worker;
        enum status status = later_begin(&job->later, call);
        if (status != STATUS_OK)
                return status;
        link_init(&job->in_worker);
        list_append(&worker->jobs, &job->in_worker);
        uv_queue_work(&worker->loop, &job->work, job_run, job_done);
        return STATUS_OK;
}

void jobs_cancel(struct link *jobs) {
        for (struct link *at = jobs->next; at != jobs; at = at->next)
                atomic_store(&LINK_OWNER(at, struct job, in_worker)->cancelled, true);
}

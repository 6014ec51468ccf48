/* See orphans.h. An orphan with a timer is freed by its close callback, any other between two turns, as the poller may still
 * have something to report of it. */
#include "orphans.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "serving.h"
#include "session.h"

#define RECLAIM_BEFORE_READY_NS UINT64_C(50000000) /* clients that live are waiting */

struct orphan {
        struct link in_orphans;
        struct worker *worker;
        struct served_pool *served;
        struct pool_session_info info;
        int pidfd;                    /* owned; -1: the process cannot be watched */
        struct poller_socket process; /* of the pidfd */
        bool timed;
        uv_timer_t grace;  /* of a process that cannot be seen */
        struct user *user; /* whose connection it counts as; NULL while it is the caller's */
};

static void orphan_closed(uv_handle_t *grace) {
        free(LINK_OWNER(grace, struct orphan, grace));
}

static void orphan_close(struct orphan *orphan) {
        served_pool_presence(orphan->served, orphan->info.session)->orphan = NULL;
        atomic_fetch_sub_explicit(&orphan->served->orphans, 1, memory_order_relaxed);
        link_remove(&orphan->in_orphans);
        if (orphan->user)
                users_leave(&orphan->worker->serving->users, orphan->user);
        poller_watch(&orphan->worker->poller, &orphan->process, orphan->pidfd, 0);
        if (orphan->pidfd >= 0)
                close(orphan->pidfd);
        if (orphan->timed)
                uv_close((uv_handle_t *)&orphan->grace, orphan_closed);
        else
                list_append(&orphan->worker->closed_orphans, &orphan->in_orphans);
}

/* ---- The end of one that did not come back ---- */

static void orphan_end(struct orphan *orphan, const char *ending) {
        if (session_adopt(orphan->worker, orphan->served, &orphan->info, ending, NULL) != 0)
                log_event(LOG_EVENT_FAILURE, &(struct log_subject){.client = orphan->info.session},
                        "out of memory: what session %" PRIu32
                        " holds is returned at the next start",
                        orphan->info.session);
        orphan_close(orphan);
}

static void orphan_died(struct poller_socket *process, uint32_t events) {
        (void)events;
        orphan_end(LINK_OWNER(process, struct orphan, process), "is gone");
}

static void orphan_stayed_away(uv_timer_t *grace) {
        orphan_end(LINK_OWNER(grace, struct orphan, grace),
                "cannot be seen and did not come back in time");
}

int orphan_kick(struct orphan *orphan, struct kick *kick) {
        int error = session_adopt(
                orphan->worker, orphan->served, &orphan->info, "was ended by an operator", kick);
        if (!error)
                orphan_close(orphan);
        return error;
}

/* ---- Its coming back ---- */

int orphan_resume(struct connection *connection, struct served_pool *served,
        const struct pool_session_info *info, struct session **out) {
        struct orphan *orphan = served_pool_presence(served, info->session)->orphan;
        if (!orphan)
                return -ENOENT;
        int error = session_reopen(connection, served, info, out);
        if (!error)
                orphan_close(orphan);
        return error;
}

/* ---- Finding them ---- */

static struct orphan *orphan_new(struct worker *worker, struct served_pool *served,
        const struct pool_session_info *info, int pidfd) {
        struct orphan *orphan = malloc(sizeof(*orphan));
        if (!orphan)
                return NULL;
        *orphan =
                (struct orphan){.worker = worker, .served = served, .info = *info, .pidfd = pidfd};
        list_append(&worker->orphans, &orphan->in_orphans);
        struct presence *presence = served_pool_presence(served, info->session);
        presence->orphan = orphan;
        atomic_store_explicit(&presence->worker, worker->index + 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&served->orphans, 1, memory_order_relaxed);
        return orphan;
}

static int orphan_watch(struct orphan *orphan) {
        orphan->process.ready = orphan_died;
        return poller_watch(&orphan->worker->poller, &orphan->process, orphan->pidfd, EPOLLIN);
}

static void orphan_give_time(struct orphan *orphan) {
        uv_loop_t *loop = &orphan->worker->loop;
        uint64_t grace_s = atomic_load(&orphan->served->grace_s);
        uv_update_time(loop);
        uv_timer_init(loop, &orphan->grace);
        orphan->timed = true;
        uv_timer_start(&orphan->grace, orphan_stayed_away, grace_s * 1000, 0);
}

int orphan_keep(struct worker *worker, struct served_pool *served,
        const struct pool_session_info *info, struct orphan_process process) {
        int pidfd = process.pidfd;
        struct orphan *orphan = orphan_new(worker, served, info, pidfd);
        if (!orphan)
                return -ENOMEM;
        int error = pidfd >= 0 ? orphan_watch(orphan) : 0;
        if (error) {
                orphan->pidfd = -1; /* stays the caller's */
                orphan_close(orphan);
                return error;
        }
        orphan->user = process.user;
        if (pidfd < 0 && info->identity.pid == 0)
                orphan_give_time(orphan);
        return 0;
}

static int orphan_judge(
        struct worker *worker, struct served_pool *served, const struct pool_session_info *info) {
        const struct pool_session_identity *identity = &info->identity;
        if (info->state == SESSION_CLOSING)
                return session_adopt(worker, served, info, "was ending already", NULL);
        if (info->state == SESSION_OPENING)
                return session_adopt(worker, served, info, "never heard of its session", NULL);
        if (store_is_of_earlier_boot(served->store))
                return session_adopt(
                        worker, served, info, "ended with the system's last boot", NULL);
        int pidfd = -1;
        int error =
                identity->pid == 0 ? 0 : process_open(identity->pid, identity->start_time, &pidfd);
        if (error == -ESRCH)
                return session_adopt(worker, served, info, "died while no daemon ran", NULL);
        if (error)
                log_event(LOG_EVENT_CLIENT_UNWATCHED,
                        &(struct log_subject){.pool = served->store->settings.name,
                                .client = info->session,
                                .has_process = true,
                                .pid = identity->pid,
                                .uid = identity->uid},
                        "cannot watch pid %" PRIu32
                        " (%s): what it holds in pool %s stays held unless it comes back",
                        identity->pid, strerror(-error), served->store->settings.name);
        struct users *users = &worker->serving->users;
        struct user *user = users_take_in(users, identity->uid);
        error = user ? orphan_keep(worker, served, info, (struct orphan_process){pidfd, user})
                     : -ENOMEM;
        if (error && user)
                users_leave(users, user);
        if (error && pidfd >= 0)
                close(pidfd);
        return error;
}

static int orphans_adopt_pool(struct serving *serving, struct served_pool *served) {
        uint32_t session = 0;
        while ((session = pool_session_next(served->pool, session)) != 0) {
                struct pool_session_info info;
                if (session == SESSION_OPERATOR ||
                        pool_session_info(served->pool, session, &info) != 0)
                        continue;
                struct worker *worker = &serving->workers[session % serving->worker_count];
                int error = orphan_judge(worker, served, &info);
                if (error)
                        return error;
        }
        store_stamp_boot(served->store);
        return 0;
}

static void orphans_reclaim(struct worker *worker, uint64_t until_ns) {
        while (link_used(&worker->reclaims) && worker_clock_ns() < until_ns)
                session_reclaim(LINK_OWNER(worker->reclaims.next, struct session, in_reclaims));
}

int orphans_adopt(struct serving *serving) {
        uint64_t until_ns = worker_clock_ns() + RECLAIM_BEFORE_READY_NS;
        for (size_t i = 0; i < serving->pool_count; i++) {
                int error = orphans_adopt_pool(serving, &serving->pools[i]);
                if (error)
                        return error;
        }
        for (unsigned i = 0; i < serving->worker_count; i++)
                orphans_reclaim(&serving->workers[i], until_ns);
        return 0;
}

void orphans_bury(struct worker *worker) {
        while (link_used(&worker->closed_orphans)) {
                struct orphan *orphan =
                        LINK_OWNER(worker->closed_orphans.next, struct orphan, in_orphans);
                link_remove(&orphan->in_orphans);
                free(orphan);
        }
}

void orphans_forget(struct worker *worker) {
        while (link_used(&worker->orphans))
                orphan_close(LINK_OWNER(worker->orphans.next, struct orphan, in_orphans));
}

/* See orphans.h. */
#include "orphans.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "serving.h"
#include "session.h"

struct orphan {
        struct link in_orphans;
        uv_poll_t process;
        int pidfd; /* owned */
        struct serving *serving;
        struct served_pool *served;
        struct pool_session_info info;
};

static void orphan_closed(uv_handle_t *process) {
        free(LINK_OWNER(process, struct orphan, process));
}

static void orphan_close(struct orphan *orphan) {
        link_remove(&orphan->in_orphans);
        uv_close((uv_handle_t *)&orphan->process, orphan_closed);
        close(orphan->pidfd);
}

static void orphan_died(uv_poll_t *process, int status, int events) {
        (void)status;
        (void)events;
        struct orphan *orphan = LINK_OWNER(process, struct orphan, process);
        if (session_adopt(&orphan->serving->workers[0], orphan->served, &orphan->info) != 0)
                log_error("out of memory: what session %" PRIu32
                          " holds is returned at the next start",
                        orphan->info.session);
        orphan_close(orphan);
}

/* Takes pidfd. */
static int orphan_new(struct serving *serving, struct served_pool *served,
        const struct pool_session_info *info, int pidfd) {
        struct orphan *orphan = malloc(sizeof(*orphan));
        if (!orphan) {
                close(pidfd);
                return -ENOMEM;
        }
        *orphan = (struct orphan){
                .pidfd = pidfd, .serving = serving, .served = served, .info = *info};
        int error = uv_poll_init(&serving->workers[0].loop, &orphan->process, pidfd);
        if (error) {
                close(pidfd);
                free(orphan);
                return error;
        }
        list_append(&serving->orphans, &orphan->in_orphans);
        return uv_poll_start(&orphan->process, UV_READABLE, orphan_died);
}

static int orphan_judge(
        struct serving *serving, struct served_pool *served, const struct pool_session_info *info) {
        const struct pool_session_identity *identity = &info->identity;
        int pidfd, error = -ESRCH;
        if (info->state != SESSION_CLOSING) {
                if (identity->pid == 0)
                        return 0; /* whether it lives cannot be seen from here */
                error = process_open(identity->pid, identity->start_time, &pidfd);
        }
        if (error == -ESRCH)
                return session_adopt(&serving->workers[0], served, info);
        if (error) {
                log_warning("cannot watch pid %" PRIu32
                            " (%s): what it holds in pool %s stays held",
                        identity->pid, strerror(-error), served->store->settings.name);
                return 0;
        }
        return orphan_new(serving, served, info, pidfd);
}

static int orphans_adopt_pool(struct serving *serving, struct served_pool *served) {
        uint32_t session = 0;
        while ((session = pool_session_next(served->pool, session)) != 0) {
                struct pool_session_info info;
                if (session == SESSION_OPERATOR ||
                        pool_session_info(served->pool, session, &info) != 0)
                        continue;
                int error = orphan_judge(serving, served, &info);
                if (error)
                        return error;
        }
        return 0;
}

int orphans_adopt(struct serving *serving) {
        for (size_t i = 0; i < serving->pool_count; i++) {
                int error = orphans_adopt_pool(serving, &serving->pools[i]);
                if (error)
                        return error;
        }
        struct link *reclaims = &serving->workers[0].reclaims;
        while (link_used(reclaims))
                session_reclaim(LINK_OWNER(reclaims->next, struct session, in_reclaims));
        return 0;
}

void orphans_forget(struct serving *serving) {
        while (link_used(&serving->orphans))
                orphan_close(LINK_OWNER(serving->orphans.next, struct orphan, in_orphans));
}

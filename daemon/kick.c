/* See kick.h. A kick is one errand to the session's worker and back home. */
#include "kick.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "errand.h"
#include "handle.h"
#include "later.h"
#include "log.h"
#include "orphans.h"
#include "serving.h"
#include "session.h"

struct kick {
        struct errand errand;
        struct later later;  /* home's alone */
        struct worker *home; /* that was asked */
        struct served_pool *served;
        struct pool_session_info info; /* of the session, when it was asked for */
        uint64_t began_ns;
        bool ended; /* by this kick, with what was returned: */
        struct pool_reclaimed reclaimed;
};

static void kick_drop(struct errand *errand) {
        free(LINK_OWNER(errand, struct kick, errand));
}

/* ---- Back home ---- */

static void kick_answer(struct errand *errand, struct worker *here) {
        struct kick *kick = LINK_OWNER(errand, struct kick, errand);
        (void)here;
        struct reply reply = {
                .kind = REPLY_RETURNED,
                .returned = {.count = kick->reclaimed.holds,
                        .bytes = kick->reclaimed.bytes,
                        .microseconds = (worker_clock_ns() - kick->began_ns) / 1000},
        };
        char detail[64];
        snprintf(detail, sizeof(detail), "client %" PRIu32 " has just ended by itself",
                kick->info.session);
        if (kick->ended)
                later_answer(&kick->later, &reply);
        else
                later_refuse(&kick->later, STATUS_NOT_FOUND, detail);
        free(kick);
}

static void kick_go_home(struct kick *kick) {
        kick->errand.run = kick_answer;
        worker_post_errand(kick->home, &kick->errand);
}

void kick_done(struct kick *kick, const struct pool_reclaimed *reclaimed) {
        kick->reclaimed = *reclaimed;
        kick_go_home(kick);
}

/* ---- At the session's worker ---- */

static bool kick_is_of(const struct kick *kick) {
        struct pool_session_info now;
        return pool_session_info(kick->served->pool, kick->info.session, &now) == 0 &&
               memcmp(now.identity.token, kick->info.identity.token, sizeof(now.identity.token)) ==
                       0;
}

static void kick_arrive(struct errand *errand, struct worker *here) {
        struct kick *kick = LINK_OWNER(errand, struct kick, errand);
        struct presence *presence = served_pool_presence(kick->served, kick->info.session);
        bool there = !here->stopping && kick_is_of(kick);
        if (there && (presence->session || presence->orphan))
                atomic_store(&presence->kicked, presence_mark(kick->info.identity.token));
        if (there && presence->session) {
                kick->ended = true;
                session_kick(presence->session, kick);
        } else if (there && presence->orphan) {
                kick->ended = true;
                if (orphan_kick(presence->orphan, kick) != 0) {
                        kick->ended = false;
                        kick_go_home(kick);
                }
        } else {
                kick_go_home(kick);
        }
}

/* ---- Asked for ---- */

enum status kick_begin(struct call *call) {
        struct served_pool *served = call->served;
        uint32_t session = call->request->kick.session;
        struct pool_session_info info;
        if (session == SESSION_OPERATOR)
                return call_refuse(call, STATUS_INVALID,
                        "client %u is the operator itself: buddyctl free returns what it holds",
                        SESSION_OPERATOR);
        if (pool_session_info(served->pool, session, &info) != 0 || info.state == SESSION_CLOSING)
                return call_refuse(call, STATUS_NOT_FOUND, "no client %" PRIu32 " in pool '%s'",
                        session, served->store->settings.name);
        uint32_t worker = atomic_load_explicit(
                &served_pool_presence(served, session)->worker, memory_order_acquire);
        struct kick *kick = calloc(1, sizeof(*kick));
        if (!kick)
                return call_refuse(call, STATUS_NO_SPACE, "the daemon is out of memory");
        *kick = (struct kick){
                .errand = {.run = kick_arrive, .drop = kick_drop},
                .home = call->worker,
                .served = served,
                .info = info,
                .began_ns = worker_clock_ns(),
        };
        enum status status = later_begin(&kick->later, call);
        if (status != STATUS_OK) {
                free(kick);
                return status;
        }
        const struct log_subject about = {
                .pool = served->store->settings.name,
                .client = session,
                .client_name = info.identity.name,
                .has_process = true,
                .pid = info.identity.pid,
                .uid = info.identity.uid,
        };
        log_event(LOG_EVENT_CLIENT_KICKED, &about,
                "client %" PRIu32 " '%s' (pid %" PRIu32 ", uid %" PRIu32
                ") of pool '%s' is ended by uid %" PRIu32 ", pid %" PRIu32,
                session, info.identity.name, info.identity.pid, info.identity.uid,
                served->store->settings.name, call->connection->peer.uid,
                call->connection->peer.pid);
        struct worker *owner =
                worker == 0 ? call->worker : &call->worker->serving->workers[worker - 1];
        worker_post_errand(owner, &kick->errand);
        return STATUS_OK;
}

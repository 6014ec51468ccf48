/* See wait.h. A wait is freed by its timer's close callback. */
#include "wait.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "connection.h"
#include "served_pool.h"
#include "session.h"
#include "worker.h"

struct wait {
        struct waiter waiter;
        uv_timer_t timer;
        struct worker *worker;
        struct session *session; /* NULL: nobody wants the reply any more */
        struct connection *connection;
        struct link in_session;
        struct link in_inbox; /* its worker's, once settled; guarded by the inbox's lock */
        struct wait_request request;
};

static void wait_closed(uv_handle_t *timer) {
        free(LINK_OWNER(timer, struct wait, timer));
}

static void wait_free(struct wait *wait) {
        uv_close((uv_handle_t *)&wait->timer, wait_closed);
}

static void wait_forget(struct wait *wait) {
        struct session *session = wait->session;
        link_remove(&wait->in_session);
        session->wait_count--;
        struct presence *presence = served_pool_presence(session->served, session->id);
        atomic_fetch_sub_explicit(&presence->waiting, 1, memory_order_relaxed);
        pulse_press(&session->served->pulse, -1);
        wait->session = NULL;
}

static void wait_settled(struct waiter *waiter) {
        struct wait *wait = LINK_OWNER(waiter, struct wait, waiter);
        worker_post_settled(wait->worker, &wait->in_inbox);
}

/* Forgotten first: a reply that cannot be sent ends the session and all its waits. */
static void wait_answer(struct wait *wait, struct reply *reply) {
        reply->id = wait->request.id;
        wait_forget(wait);
        connection_reply(wait->connection, reply);
}

static void wait_refuse(struct wait *wait, enum status status, const char *detail) {
        struct reply reply = {
                .kind = REPLY_REFUSED,
                .refused = {.status = status, .detail = detail},
        };
        wait_answer(wait, &reply);
}

static void wait_expired(uv_timer_t *timer) {
        struct wait *wait = LINK_OWNER(timer, struct wait, timer);
        struct served_pool *served = wait->session->served;
        unsigned ahead = 0;
        if (waiters_withdraw(&served->waiters, &wait->waiter, &ahead))
                return; /* settled meanwhile: it is in the inbox and will be delivered */
        char why[SERVED_POOL_DETAIL], detail[SERVED_POOL_DETAIL + 48];
        if (ahead > 0)
                served_pool_explain_turn(served, wait->session->uid, ahead, why);
        else
                served_pool_explain(served, wait->request.order, 1, why);
        snprintf(
                detail, sizeof(detail), "waited %" PRId64 " ms: %s", wait->request.timeout_ms, why);
        wait_refuse(wait, STATUS_TIMED_OUT, detail);
        wait_free(wait);
}

static struct wait *wait_new(struct session *session, const struct wait_request *request) {
        struct wait *wait = malloc(sizeof(*wait));
        if (!wait)
                return NULL;
        *wait = (struct wait){
                .waiter = {.session = session->id,
                        .order = request->order,
                        .waited_ms = request->waited_ms,
                        .settled = wait_settled},
                .worker = session->worker,
                .session = session,
                .connection = session->connection,
                .request = *request,
        };
        link_init(&wait->in_inbox);
        uv_timer_init(&session->worker->loop, &wait->timer);
        list_append(&session->waits, &wait->in_session);
        session->wait_count++;
        atomic_fetch_add_explicit(&served_pool_presence(session->served, session->id)->waiting, 1,
                memory_order_relaxed);
        pulse_press(&session->served->pulse, 1);
        return wait;
}

int wait_begin(struct session *session, const struct wait_request *request, struct block *block) {
        if (session->wait_count >= WAITS_MAX)
                return -EBUSY;
        if (session->wait_count >= atomic_load(&session->served->limits[QUOTA_CLIENT_WAITS]))
                return -EUSERS;
        struct wait *wait = wait_new(session, request);
        if (!wait)
                return -ENOMEM;
        /* What is returned from here on comes to us and not into a cache; what is in one is taken out. */
        for (uint32_t from = 0; cache_take_back_next(session->served, &from);)
                continue;
        int result = waiters_enter(&session->served->waiters, &wait->waiter, session->uid);
        if (result == 0) {
                if (request->timeout_ms >= 0) {
                        uv_update_time(&session->worker->loop);
                        uv_timer_start(
                                &wait->timer, wait_expired, (uint64_t)request->timeout_ms, 0);
                }
                return 0;
        }
        if (result == 1)
                *block = wait->waiter.block;
        wait_forget(wait);
        wait_free(wait);
        return result;
}

static void wait_deliver_block(struct wait *wait) {
        struct served_pool *served = wait->session->served;
        struct block block = wait->waiter.block;
        uint64_t place = served_pool_place(served, block);
        struct reply reply = {
                .kind = REPLY_RANGES,
                .ranges = {&place, &block.generation, 1},
        };
        statistics_grant(worker_statistics(wait->worker, served), 1, wait->request.length,
                served->page_bytes << block.order);
        wait_answer(wait, &reply);
}

static void wait_deliver_refusal(struct wait *wait) {
        char detail[SERVED_POOL_DETAIL];
        if (wait->waiter.error == -EDQUOT) {
                struct served_pool *served = wait->session->served;
                statistics_count(&worker_statistics(wait->worker, served)->quota_refusals, 1);
                wait_refuse(wait, STATUS_QUOTA,
                        "its turn came, but what this client or its uid has taken meanwhile is "
                        "all that it may hold: see buddyctl quota");
                return;
        }
        if (wait->waiter.state == WAITER_TURNED_AWAY)
                served_pool_explain_draining(wait->session->served, detail);
        else
                served_pool_explain_unbacked(wait->session->served, wait->request.order, 1, detail);
        wait_refuse(wait, STATUS_NO_SPACE, detail);
}

void waits_deliver(struct link *settled) {
        while (link_used(settled)) {
                struct wait *wait = LINK_OWNER(settled->next, struct wait, in_inbox);
                link_remove(&wait->in_inbox);
                if (wait->session && wait->waiter.state == WAITER_GRANTED)
                        wait_deliver_block(wait);
                else if (wait->session)
                        wait_deliver_refusal(wait);
                wait_free(wait);
        }
}

void waits_withdraw(struct session *session) {
        while (link_used(&session->waits)) {
                struct wait *wait = LINK_OWNER(session->waits.next, struct wait, in_session);
                bool settled = waiters_withdraw(&session->served->waiters, &wait->waiter, NULL);
                wait_forget(wait);
                uv_timer_stop(&wait->timer);
                if (!settled) /* else it is in the inbox, whose delivery frees it */
                        wait_free(wait);
        }
}

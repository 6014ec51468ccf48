/* See worker.h. */
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "connection.h"
#include "job.h"
#include "kick.h"
#include "orphans.h"
#include "ration.h"
#include "serving.h"
#include "session.h"
#include "wait.h"

#define TICK_MS 500u

/* The worker whose thread this is: what it posts to itself needs no wake-up. */
static _Thread_local struct worker *worker_here;

/* ---- Inbox ---- */

static int inbox_init(struct inbox *inbox) {
        *inbox = (struct inbox){.open = true};
        link_init(&inbox->arrivals);
        link_init(&inbox->settled);
        link_init(&inbox->errands);
        return -pthread_mutex_init(&inbox->lock, NULL);
}

/* The handle is closed under the same lock, so it is valid here. */
static void worker_wake_locked(struct worker *worker) {
        atomic_store_explicit(&worker->inbox.filled, true, memory_order_release);
        if (worker->inbox.open && worker != worker_here)
                uv_async_send(&worker->wake);
}

void worker_give(struct worker *worker, struct arrival *arrival) {
        atomic_fetch_add(&worker->connection_count, 1);
        pthread_mutex_lock(&worker->inbox.lock);
        list_append(&worker->inbox.arrivals, &arrival->in_inbox);
        worker_wake_locked(worker);
        pthread_mutex_unlock(&worker->inbox.lock);
}

void worker_post_settled(struct worker *worker, struct link *in_inbox) {
        pthread_mutex_lock(&worker->inbox.lock);
        list_append(&worker->inbox.settled, in_inbox);
        worker_wake_locked(worker);
        pthread_mutex_unlock(&worker->inbox.lock);
}

void worker_post_errand(struct worker *worker, struct errand *errand) {
        pthread_mutex_lock(&worker->inbox.lock);
        link_init(&errand->in_inbox);
        list_append(&worker->inbox.errands, &errand->in_inbox);
        worker_wake_locked(worker);
        pthread_mutex_unlock(&worker->inbox.lock);
}

void worker_stop(struct worker *worker) {
        pthread_mutex_lock(&worker->inbox.lock);
        worker->inbox.stop = true;
        worker_wake_locked(worker);
        pthread_mutex_unlock(&worker->inbox.lock);
}

void worker_ask_to_park(struct worker *worker) {
        pthread_mutex_lock(&worker->inbox.lock);
        worker->inbox.park = true;
        worker_wake_locked(worker);
        pthread_mutex_unlock(&worker->inbox.lock);
}

void worker_ask_for_life(struct worker *worker) {
        pthread_mutex_lock(&worker->inbox.lock);
        worker->inbox.asked = true;
        worker_wake_locked(worker);
        pthread_mutex_unlock(&worker->inbox.lock);
}

void worker_ask_for_metrics(struct worker *worker) {
        pthread_mutex_lock(&worker->inbox.lock);
        worker->inbox.render = true;
        worker_wake_locked(worker);
        pthread_mutex_unlock(&worker->inbox.lock);
}

static void arrival_drop(struct worker *worker, struct arrival *arrival) {
        users_leave(&worker->serving->users, arrival->user);
        close(arrival->fd);
        peer_deinit(&arrival->peer);
        free(arrival->input);
        free(arrival);
}

static void worker_welcome(struct worker *worker, struct arrival *arrival) {
        int error = connection_new(worker, arrival);
        if (!error) {
                free(arrival);
                return;
        }
        ration_event(LOG_EVENT_CONNECTION_REFUSED, NULL, "cannot serve a connection of pid %u: %s",
                arrival->peer.pid, uv_strerror(error));
        arrival_drop(worker, arrival);
        worker_lost_connection(worker);
}

static void worker_end(struct worker *worker);

static void worker_run_errands(struct worker *worker, struct link *errands) {
        while (link_used(errands)) {
                struct errand *errand = LINK_OWNER(errands->next, struct errand, in_inbox);
                link_remove(&errand->in_inbox);
                errand->run(errand, worker);
        }
}

static void worker_open_inbox(struct worker *worker) {
        struct inbox *inbox = &worker->inbox;
        struct link arrivals, settled, errands;
        link_init(&arrivals);
        link_init(&settled);
        link_init(&errands);
        pthread_mutex_lock(&inbox->lock);
        list_move(&inbox->arrivals, &arrivals);
        list_move(&inbox->settled, &settled);
        list_move(&inbox->errands, &errands);
        bool stop = inbox->stop, park = inbox->park, asked = inbox->asked;
        bool render = inbox->render;
        inbox->park = inbox->asked = inbox->render = false;
        atomic_store_explicit(&inbox->filled, false, memory_order_relaxed);
        pthread_mutex_unlock(&inbox->lock);

        if (asked)
                watchdog_answer(&worker->serving->watchdog);
        if (park)
                barrier_park(&worker->serving->barrier);
        if (render)
                metrics_socket_render(&worker->serving->metrics_socket, worker);
        waits_deliver(&settled);
        worker_run_errands(worker, &errands);
        while (link_used(&arrivals)) {
                struct arrival *arrival = LINK_OWNER(arrivals.next, struct arrival, in_inbox);
                link_remove(&arrival->in_inbox);
                worker_welcome(worker, arrival);
        }
        if (stop && !worker->stopping)
                worker_end(worker);
}

/* ---- Turns of the loop ---- */

static void worker_on_wake(uv_async_t *wake) {
        (void)wake; /* the inbox is opened before the worker waits again */
}

/* Delivers what the last turn left. */
static void worker_before_turn(struct worker *worker) {
        connection_flush(worker);
        while (atomic_load_explicit(&worker->inbox.filled, memory_order_acquire)) {
                worker_open_inbox(worker);
                connection_flush(worker);
        }
        connections_bury(worker);
        orphans_bury(worker);
}

/* A slice for each session that is being returned; for one of them only, while others wait. */
static void worker_reclaim(struct worker *worker) {
        struct link round;
        link_init(&round);
        list_move(&worker->reclaims, &round);
        while (link_used(&round)) {
                struct session *session = LINK_OWNER(round.next, struct session, in_reclaims);
                link_remove(&session->in_reclaims);
                if (!session_reclaim(session))
                        list_append(&worker->reclaims, &session->in_reclaims);
                if (turns_contended(&worker->turns)) {
                        list_move(&worker->reclaims, &round);
                        list_move(&round, &worker->reclaims);
                        return;
                }
        }
}

/* Turns for as long as one may last, and then a look at the sockets: whoever has used less goes before who goes on. */
static void worker_take_turns(struct worker *worker) {
        uint64_t began_ns = worker->poller.now_ns = worker_clock_ns(), before_ns = began_ns;
        uint64_t until_ns = began_ns + (turns_contended(&worker->turns) ? WORKER_SHARED_TURN_NS
                                                                        : WORKER_TURN_NS);
        struct share *share;
        struct link *turn;
        while (before_ns < until_ns && (turn = turns_next(&worker->turns, &share)) != NULL) {
                share->connections++; /* it may leave with its last connection */
                connection_take_turn(LINK_OWNER(turn, struct connection, in_runnable));
                uint64_t now_ns = worker->poller.now_ns = worker_clock_ns();
                turns_charge(share, now_ns - before_ns);
                before_ns = now_ns;
                turns_leave(&worker->turns, share);
        }
}

static void worker_on_more(uv_idle_t *more) {
        struct worker *worker = more->data;
        worker_reclaim(worker);
        worker_take_turns(worker);
        if (!link_used(&worker->reclaims) && !turns_waiting(&worker->turns))
                uv_idle_stop(more);
}

void worker_has_more(struct worker *worker) {
        if (!worker->stopping)
                uv_idle_start(&worker->more, worker_on_more);
}

static void worker_on_tick(uv_timer_t *tick) {
        struct worker *worker = tick->data;
        uint64_t now_ms = worker_now_ms(worker);
        struct link round;
        link_init(&round);
        list_move(&worker->watched, &round);
        while (link_used(&round)) {
                struct connection *connection =
                        LINK_OWNER(round.next, struct connection, in_watched);
                link_remove(&connection->in_watched);
                if (!connection_expire(connection, now_ms))
                        list_append(&worker->watched, &connection->in_watched);
        }
        if (!link_used(&worker->watched))
                uv_timer_stop(tick);
}

void worker_watch(struct worker *worker, struct link *in_watched) {
        list_append(&worker->watched, in_watched);
        if (uv_is_active((uv_handle_t *)&worker->tick))
                return;
        uv_update_time(&worker->loop);
        uv_timer_start(&worker->tick, worker_on_tick, TICK_MS, TICK_MS);
}

void worker_lost_connection(struct worker *worker) {
        atomic_fetch_sub_explicit(&worker->connection_count, 1, memory_order_relaxed);
        acceptor_connection_closed(&worker->serving->acceptor);
}

/* ---- Beginning and end ---- */

static int worker_init_loop(struct worker *worker) {
        int error = uv_loop_init(&worker->loop);
        if (error)
                return error;
        error = poller_init(&worker->poller, &worker->loop);
        if (error)
                goto close_loop;
        error = uv_async_init(&worker->loop, &worker->wake, worker_on_wake);
        if (error)
                goto deinit_poller;
        uv_idle_init(&worker->loop, &worker->more);
        uv_timer_init(&worker->loop, &worker->tick);
        worker->more.data = worker->tick.data = worker;
        return 0;

deinit_poller:
        poller_deinit(&worker->poller);
close_loop:
        uv_loop_close(&worker->loop);
        return error;
}

static int worker_init_buffers(struct worker *worker) {
        worker->input = malloc(WORKER_INPUT_BYTES);
        worker->output = malloc(WORKER_OUTPUT_BYTES);
        worker->scratch = malloc(sizeof(*worker->scratch));
        if (!worker->input || !worker->output || !worker->scratch)
                return -ENOMEM;
        return arena_init(&worker->arena, MESSAGE_ARENA_REQUEST);
}

static void worker_free_buffers(struct worker *worker) {
        arena_deinit(&worker->arena);
        free(worker->input);
        free(worker->output);
        free(worker->scratch);
}

int worker_init(struct worker *worker, struct serving *serving, unsigned index) {
        *worker = (struct worker){.serving = serving, .index = index};
        link_init(&worker->connections);
        link_init(&worker->closed);
        link_init(&worker->watched);
        turns_init(&worker->turns);
        link_init(&worker->reclaims);
        link_init(&worker->orphans);
        link_init(&worker->closed_orphans);
        link_init(&worker->jobs);
        int error = worker_init_buffers(worker);
        if (error)
                goto free_buffers;
        error = inbox_init(&worker->inbox);
        if (error)
                goto free_buffers;
        error = worker_init_loop(worker);
        if (error)
                goto destroy_lock;
        return 0;

destroy_lock:
        pthread_mutex_destroy(&worker->inbox.lock);
free_buffers:
        worker_free_buffers(worker);
        return error;
}

static void worker_close_handles(struct worker *worker) {
        pthread_mutex_lock(&worker->inbox.lock);
        worker->inbox.open = false;
        uv_close((uv_handle_t *)&worker->wake, NULL);
        pthread_mutex_unlock(&worker->inbox.lock);
        uv_close((uv_handle_t *)&worker->more, NULL);
        uv_close((uv_handle_t *)&worker->tick, NULL);
}

/* Leaves every session in the ledger: whether it outlives the daemon is the store's decision. */
static void worker_end(struct worker *worker) {
        worker->stopping = true;
        while (link_used(&worker->connections))
                connection_close(
                        LINK_OWNER(worker->connections.next, struct connection, in_worker), NULL);
        while (link_used(&worker->reclaims)) {
                struct session *session =
                        LINK_OWNER(worker->reclaims.next, struct session, in_reclaims);
                link_remove(&session->in_reclaims);
                if (session->kick)
                        kick_done(session->kick, &session->reclaimed);
                free(session);
        }
        orphans_forget(worker);
        jobs_cancel(&worker->jobs);
        worker_close_handles(worker);
}

static void *worker_main(void *argument) {
        struct worker *worker = argument;
        worker_here = worker;
        do
                worker_before_turn(worker);
        while (poller_turn(&worker->poller));
        connections_bury(worker);
        orphans_bury(worker);
        barrier_retire(&worker->serving->barrier);
        return NULL;
}

int worker_start(struct worker *worker) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, &before);
        int error = pthread_create(&worker->thread, NULL, worker_main, worker);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -error;
}

void worker_deinit(struct worker *worker) {
        orphans_bury(worker);
        if (worker->inbox.open) { /* never started */
                worker_close_handles(worker);
                uv_run(&worker->loop, UV_RUN_DEFAULT);
        }
        /* What others posted while it ended: the waits are withdrawn, their timers closed with the loop. */
        waits_deliver(&worker->inbox.settled);
        uv_run(&worker->loop, UV_RUN_DEFAULT);
        while (link_used(&worker->inbox.errands)) {
                struct errand *errand =
                        LINK_OWNER(worker->inbox.errands.next, struct errand, in_inbox);
                link_remove(&errand->in_inbox);
                errand->drop(errand);
        }
        while (link_used(&worker->inbox.arrivals)) {
                struct arrival *arrival =
                        LINK_OWNER(worker->inbox.arrivals.next, struct arrival, in_inbox);
                link_remove(&arrival->in_inbox);
                arrival_drop(worker, arrival);
        }
        poller_deinit(&worker->poller);
        uv_loop_close(&worker->loop);
        pthread_mutex_destroy(&worker->inbox.lock);
        worker_free_buffers(worker);
}

/* See acceptor.h. */
#include "acceptor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guard.h"
#include "proto/message.h"
#include "ration.h"
#include "users.h"
#include "worker.h"

#define RETRY_MS       100u
#define ACCEPT_AT_ONCE 64 /* before signals get their turn */

static void acceptor_on_listener(uv_poll_t *listener, int status, int events);

static bool out_of_descriptors(int error) {
        return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

static void acceptor_pause(struct acceptor *acceptor, int error) {
        if (!acceptor->starved)
                ration_event(LOG_EVENT_CONNECTIONS_PAUSED, NULL,
                        "cannot accept connections now: %s; raise the limit on open files "
                        "(LimitNOFILE=, ulimit -n) if this stays so",
                        strerror(-error));
        acceptor->starved = true;
        atomic_store(&acceptor->paused, true);
        uv_poll_stop(&acceptor->listener);
}

static void acceptor_resume(struct acceptor *acceptor) {
        uv_timer_stop(&acceptor->retry);
        atomic_store(&acceptor->paused, false);
        uv_poll_start(&acceptor->listener, UV_READABLE, acceptor_on_listener);
}

static void acceptor_on_retry(uv_timer_t *retry) {
        acceptor_resume(retry->data);
        acceptor_on_listener(&((struct acceptor *)retry->data)->listener, 0, UV_READABLE);
}

static struct worker *acceptor_choose(struct acceptor *acceptor) {
        struct worker *chosen = &acceptor->workers[0];
        for (unsigned i = 1; i < acceptor->worker_count; i++)
                if (atomic_load(&acceptor->workers[i].connection_count) <
                        atomic_load(&chosen->connection_count))
                        chosen = &acceptor->workers[i];
        return chosen;
}

/* Says why, as far as its socket takes it, and to the log. */
static void acceptor_refuse(int fd, const struct peer *peer, const struct users_excess *excess) {
        uint8_t frame[512];
        char detail[160];
        if (excess->allowed)
                snprintf(detail, sizeof(detail),
                        "uid %" PRIu32 " has %" PRIu64 " of its %" PRIu64 " connections "
                        "(user-connections): close some, or have it raised with buddyctl quota",
                        peer->uid, excess->used, excess->allowed);
        else
                snprintf(detail, sizeof(detail), "the daemon is out of memory");
        struct reply reply = {
                .kind = REPLY_REFUSED,
                .refused = {.status = excess->allowed ? STATUS_QUOTA : STATUS_NO_SPACE,
                        .detail = detail},
        };
        ptrdiff_t length = reply_encode(&reply, frame, sizeof(frame));
        if (length > 0 && send(fd, frame, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                length = 0; /* it is told nothing, then */
        ration_event(LOG_EVENT_CONNECTION_REFUSED, NULL,
                "connection of pid %" PRIu32 " (uid %" PRIu32 ") closed: %s", peer->pid, peer->uid,
                detail);
}

/* Takes fd unless descriptors have run out. */
static int acceptor_hand_over(struct acceptor *acceptor, int fd) {
        struct arrival *arrival = calloc(1, sizeof(*arrival));
        if (!arrival)
                return -ENOMEM;
        int error = peer_identify(fd, &arrival->peer);
        if (error) {
                free(arrival);
                if (out_of_descriptors(error))
                        return error;
                if (error != -ESRCH)
                        ration_event(LOG_EVENT_CONNECTION_REFUSED, NULL,
                                "refused a connection that cannot be identified: %s",
                                strerror(-error));
                close(fd);
                return 0;
        }
        struct users_excess excess;
        arrival->user = users_enter(acceptor->users, arrival->peer.uid, &excess);
        if (!arrival->user) {
                acceptor_refuse(fd, &arrival->peer, &excess);
                peer_deinit(&arrival->peer);
                free(arrival);
                close(fd);
                return 0;
        }
        arrival->fd = fd;
        guard_wake(acceptor->guard);
        worker_give(acceptor_choose(acceptor), arrival);
        return 0;
}

/* 0: one was accepted; -EAGAIN: there is none. */
static int acceptor_accept_one(struct acceptor *acceptor) {
        int fd = acceptor->waiting_fd;
        acceptor->waiting_fd = -1;
        if (fd < 0)
                fd = accept4(acceptor->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
                return -errno;
        int error = acceptor_hand_over(acceptor, fd);
        if (error)
                acceptor->waiting_fd = fd;
        return error;
}

static void acceptor_on_listener(uv_poll_t *listener, int status, int events) {
        struct acceptor *acceptor = listener->data;
        (void)status;
        (void)events;
        int error = 0;
        for (int i = 0; i < ACCEPT_AT_ONCE && !error; i++) {
                error = acceptor_accept_one(acceptor);
                if (error == -ECONNABORTED || error == -EINTR)
                        error = 0;
        }
        if (error == -EAGAIN) {
                acceptor->starved = false;
        } else if (error) {
                acceptor_pause(acceptor, error);
                uv_timer_start(&acceptor->retry, acceptor_on_retry, RETRY_MS, 0);
        }
}

static void acceptor_on_closed(uv_async_t *closed) {
        struct acceptor *acceptor = closed->data;
        if (atomic_load(&acceptor->paused))
                acceptor_on_retry(&acceptor->retry);
}

void acceptor_connection_closed(struct acceptor *acceptor) {
        if (atomic_load(&acceptor->paused))
                uv_async_send(&acceptor->closed);
}

void acceptor_set_workers(
        struct acceptor *acceptor, struct worker *workers, unsigned worker_count) {
        acceptor->workers = workers;
        acceptor->worker_count = worker_count;
}

int acceptor_init(struct acceptor *acceptor, uv_loop_t *loop, int listen_fd, struct users *users,
        struct guard *guard) {
        *acceptor = (struct acceptor){
                .listen_fd = listen_fd,
                .waiting_fd = -1,
                .users = users,
                .guard = guard,
        };
        peer_pass_descriptors(listen_fd, false);
        int error = uv_async_init(loop, &acceptor->closed, acceptor_on_closed);
        if (error)
                return error;
        uv_timer_init(loop, &acceptor->retry);
        error = uv_poll_init_socket(loop, &acceptor->listener, listen_fd);
        if (error)
                goto close_others;
        acceptor->listener.data = acceptor->retry.data = acceptor->closed.data = acceptor;
        error = uv_poll_start(&acceptor->listener, UV_READABLE, acceptor_on_listener);
        if (!error)
                return 0;
        uv_close((uv_handle_t *)&acceptor->listener, NULL);
close_others:
        uv_close((uv_handle_t *)&acceptor->retry, NULL);
        uv_close((uv_handle_t *)&acceptor->closed, NULL);
        return error;
}

void acceptor_stop(struct acceptor *acceptor) {
        atomic_store(&acceptor->paused, false);
        uv_timer_stop(&acceptor->retry);
        uv_poll_stop(&acceptor->listener);
        if (acceptor->waiting_fd >= 0)
                close(acceptor->waiting_fd);
        acceptor->waiting_fd = -1;
}

void acceptor_deinit(struct acceptor *acceptor) {
        uv_close((uv_handle_t *)&acceptor->listener, NULL);
        uv_close((uv_handle_t *)&acceptor->retry, NULL);
        uv_close((uv_handle_t *)&acceptor->closed, NULL);
}

/* Sockets and a loop waited for at once. An idle handle keeps every turn from waiting where nothing shall come. */
#include "daemon/poller.h"

#include <criterion/criterion.h>
#include <sys/socket.h>
#include <unistd.h>

struct end {
        struct poller_socket socket;
        int fd, peer;
        unsigned calls;
        uint32_t events;     /* of the last call */
        struct end *removes; /* takes this one out of the set when it is called */
};

static uv_loop_t loop;
static uv_idle_t idle;
static struct poller poller;
static unsigned timers;

static void end_ready(struct poller_socket *socket, uint32_t events) {
        struct end *end = (struct end *)socket; /* its first member */
        end->calls++;
        end->events = events;
        if (end->removes)
                cr_assert_eq(poller_watch(&poller, &end->removes->socket, end->removes->fd, 0), 0);
}

static void end_open(struct end *end) {
        int fds[2];
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
        *end = (struct end){.socket.ready = end_ready, .fd = fds[0], .peer = fds[1]};
}

static void end_close(struct end *end) {
        close(end->fd);
        close(end->peer);
}

static void watch(struct end *end, uint32_t events) {
        cr_assert_eq(poller_watch(&poller, &end->socket, end->fd, events), 0);
}

static void on_idle(uv_idle_t *handle) {
        (void)handle;
}

static void on_timer(uv_timer_t *timer) {
        timers++;
        uv_close((uv_handle_t *)timer, NULL);
}

static void setup(void) {
        cr_assert_eq(uv_loop_init(&loop), 0);
        cr_assert_eq(poller_init(&poller, &loop), 0);
        uv_idle_init(&loop, &idle);
        uv_idle_start(&idle, on_idle);
}

static void teardown(void) {
        uv_close((uv_handle_t *)&idle, NULL);
        while (poller_turn(&poller))
                continue;
        poller_deinit(&poller);
        cr_assert_eq(uv_loop_close(&loop), 0);
}

TestSuite(poller, .init = setup, .fini = teardown, .timeout = 60);

Test(poller, what_came_is_reported_once_and_again_when_asked) {
        struct end end;
        end_open(&end);
        watch(&end, EPOLLIN);
        poller_turn(&poller);
        cr_assert_eq(end.calls, 0);
        cr_assert_eq(write(end.peer, "x", 1), 1);
        poller_turn(&poller);
        cr_assert_eq(end.calls, 1);
        cr_assert_eq(end.events, EPOLLIN);
        poller_turn(&poller);
        cr_assert_eq(end.calls, 1, "nothing new has come");
        watch(&end, EPOLLIN);
        poller_turn(&poller);
        cr_assert_eq(end.calls, 2, "the first byte is still there");
        cr_assert_eq(write(end.peer, "y", 1), 1);
        poller_turn(&poller);
        cr_assert_eq(end.calls, 3);
        end_close(&end);
}

Test(poller, room_is_reported_as_long_as_there_is_some) {
        struct end end;
        end_open(&end);
        watch(&end, EPOLLOUT);
        for (unsigned turn = 1; turn <= 3; turn++) {
                poller_turn(&poller);
                cr_assert_eq(end.calls, turn);
                cr_assert_eq(end.events, EPOLLOUT);
        }
        watch(&end, EPOLLIN);
        poller_turn(&poller);
        cr_assert_eq(end.calls, 3);
        end_close(&end);
}

Test(poller, an_end_is_something_to_read) {
        struct end gone, half;
        end_open(&gone);
        end_open(&half);
        watch(&gone, EPOLLIN);
        watch(&half, EPOLLIN);
        close(gone.peer);
        shutdown(half.peer, SHUT_WR);
        poller_turn(&poller);
        cr_assert_eq(gone.calls, 1);
        cr_assert(gone.events & EPOLLIN);
        cr_assert(gone.events & POLLER_END);
        cr_assert_eq(half.calls, 1);
        cr_assert(half.events & EPOLLIN);
        cr_assert(half.events & POLLER_END);
        close(gone.fd);
        end_close(&half);
}

Test(poller, who_left_the_set_is_not_called) {
        struct end one, other;
        end_open(&one);
        end_open(&other);
        watch(&one, EPOLLIN);
        watch(&other, EPOLLIN);
        one.removes = &other;
        other.removes = &one;
        cr_assert_eq(write(one.peer, "x", 1), 1);
        cr_assert_eq(write(other.peer, "x", 1), 1);
        poller_turn(&poller);
        cr_assert_eq(
                one.calls + other.calls, 1, "both were ready, and the first one removed the other");
        struct end *left = one.calls ? &other : &one;
        left->removes = NULL;
        watch(left, EPOLLIN);
        poller_turn(&poller);
        cr_assert_eq(left->calls, 1, "what came is there when it is back");
        end_close(&one);
        end_close(&other);
}

Test(poller, timers_run_beside_busy_sockets) {
        struct end end;
        uv_timer_t timer;
        end_open(&end);
        watch(&end, EPOLLOUT); /* always ready */
        uv_idle_stop(&idle);
        uv_timer_init(&loop, &timer);
        uv_update_time(&loop);
        uv_timer_start(&timer, on_timer, 20, 0);
        while (timers == 0)
                poller_turn(&poller);
        cr_assert_gt(end.calls, 0);
        uv_idle_start(&idle, on_idle);
        end_close(&end);
}

Test(poller, ends_when_the_loop_has_nothing_left) {
        uv_timer_t timer;
        uv_idle_stop(&idle);
        uv_timer_init(&loop, &timer);
        uv_update_time(&loop);
        uv_timer_start(&timer, on_timer, 20, 0);
        unsigned turns = 0;
        while (poller_turn(&poller))
                cr_assert_lt(++turns, 100, "it waits, and does not spin");
        cr_assert_eq(timers, 1);
}

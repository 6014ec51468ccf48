/* See poller.h. */
#include "poller.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 256
#define NOT_SET        UINT64_MAX

uint64_t poller_clock_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A member that is no socket; what it is is told by where what points. */
static int poller_add(struct poller *poller, int fd, uint32_t events, void *what) {
        struct epoll_event event = {.events = events, .data.ptr = what};
        return epoll_ctl(poller->fd, EPOLL_CTL_ADD, fd, &event) != 0 ? -errno : 0;
}

int poller_init(struct poller *poller, uv_loop_t *loop) {
        *poller = (struct poller){
                .fd = epoll_create1(EPOLL_CLOEXEC),
                .loop = loop,
                .set_for_ms = NOT_SET,
                .now_ns = poller_clock_ns(),
        };
        if (poller->fd < 0)
                return -errno;
        int error;
        poller->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (poller->timer_fd < 0) {
                error = -errno;
                goto close_set;
        }
        error = poller_add(poller, uv_backend_fd(loop), EPOLLIN, poller);
        if (!error)
                error = poller_add(poller, poller->timer_fd, EPOLLIN | EPOLLET, &poller->timer_fd);
        if (!error)
                return 0;
        close(poller->timer_fd);
close_set:
        close(poller->fd);
        return error;
}

void poller_deinit(struct poller *poller) {
        close(poller->timer_fd);
        close(poller->fd);
}

/* With something to send it is watched level-triggered: one send need not take all that there is room for. */
int poller_watch(struct poller *poller, struct poller_socket *socket, int fd, uint32_t events) {
        struct epoll_event event = {
                .events = events == EPOLLIN ? EPOLLIN | EPOLLRDHUP | EPOLLET : events,
                .data.ptr = socket,
        };
        int operation = events == 0           ? EPOLL_CTL_DEL
                        : socket->events == 0 ? EPOLL_CTL_ADD
                                              : EPOLL_CTL_MOD;
        if (events == 0 && socket->events == 0)
                return 0;
        if (epoll_ctl(poller->fd, operation, fd, &event) != 0)
                return -errno;
        socket->events = events;
        return 0;
}

/* An error or an end is something to read or to write for who waits for that. */
static void socket_call(struct poller_socket *socket, uint32_t events) {
        if (events & (EPOLLERR | EPOLLHUP))
                events |= socket->events;
        events &= socket->events | POLLER_END;
        if (socket->events != 0)
                socket->ready(socket, events);
}

/* Sees to it that the loop's next timer wakes us. The timer stays set while requests come and go: epoll_wait would
 * set one anew for each wait, which costs as much as the rest of the call. One that was stopped meanwhile wakes us once in
 * vain. Milliseconds to wait: 0 if the loop has something to do at once, else -1. */
static int poller_set_timer(struct poller *poller) {
        int left_ms =
                uv_backend_timeout(poller->loop); /* from the loop's time on, however old that is */
        if (left_ms <= 0)
                return left_ms;
        uint64_t due_ms = uv_now(poller->loop) + (uint64_t)left_ms;
        if (due_ms >= poller->set_for_ms)
                return -1;
        uint64_t at_ms = due_ms + 1; /* the loop's clock may be a little behind */
        struct itimerspec once = {.it_value = {
                                          .tv_sec = (time_t)(at_ms / 1000),
                                          .tv_nsec = (long)(at_ms % 1000) * 1000000,
                                  }};
        timerfd_settime(poller->timer_fd, TFD_TIMER_ABSTIME, &once, NULL);
        poller->set_for_ms = due_ms;
        return -1;
}

bool poller_turn(struct poller *poller) {
        struct epoll_event events[EVENTS_AT_ONCE];
        int wait_ms = poller_set_timer(poller);
        bool loop_ready = wait_ms == 0;
        int count = epoll_wait(poller->fd, events, EVENTS_AT_ONCE, wait_ms);
        poller->now_ns = poller_clock_ns();
        for (int i = 0; i < count; i++) {
                void *what = events[i].data.ptr;
                if (what == &poller->timer_fd)
                        poller->set_for_ms = NOT_SET;
                if (what == poller || what == &poller->timer_fd)
                        loop_ready = true;
                else
                        socket_call(what, events[i].events);
        }
        if (loop_ready || uv_backend_timeout(poller->loop) == 0)
                uv_run(poller->loop, UV_RUN_NOWAIT);
        return uv_loop_alive(poller->loop);
}

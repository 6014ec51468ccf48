/* See poller.h. */
#include "poller.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 256

uint64_t poller_clock_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int poller_init(struct poller *poller, uv_loop_t *loop) {
        int fd = epoll_create1(EPOLL_CLOEXEC);
        if (fd < 0)
                return -errno;
        struct epoll_event loops = {.events = EPOLLIN, .data.ptr = NULL};
        if (epoll_ctl(fd, EPOLL_CTL_ADD, uv_backend_fd(loop), &loops) != 0) {
                int error = -errno;
                close(fd);
                return error;
        }
        *poller = (struct poller){.fd = fd, .loop = loop, .now_ns = poller_clock_ns()};
        return 0;
}

void poller_deinit(struct poller *poller) {
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

/* Milliseconds until the loop has something to do by itself; -1: it has not. Its time matters only if a timer runs. */
static int loop_timeout(uv_loop_t *loop) {
        int timeout_ms = uv_backend_timeout(loop);
        if (timeout_ms <= 0)
                return timeout_ms;
        uv_update_time(loop);
        return uv_backend_timeout(loop);
}

bool poller_turn(struct poller *poller) {
        struct epoll_event events[EVENTS_AT_ONCE];
        bool loop_ready = false;
        int count = epoll_wait(poller->fd, events, EVENTS_AT_ONCE, loop_timeout(poller->loop));
        poller->now_ns = poller_clock_ns();
        for (int i = 0; i < count; i++) {
                struct poller_socket *socket = events[i].data.ptr;
                if (socket)
                        socket_call(socket, events[i].events);
                else
                        loop_ready = true;
        }
        if (loop_ready || loop_timeout(poller->loop) == 0)
                uv_run(poller->loop, UV_RUN_NOWAIT);
        return uv_loop_alive(poller->loop);
}

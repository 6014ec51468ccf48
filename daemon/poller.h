/* Waits for the sockets of one worker's connections and for all that its libuv loop has (timers, wake-ups,
 * processes), at once. The sockets are in an epoll set of the poller's own, and the loop's descriptor is one more
 * member of it: a request costs no turn of the loop, and an idle socket is watched edge-triggered, for which libuv
 * has no name and which spares the kernel a second look at it before every sleep. The worker's thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <uv.h>

/* Reported without being asked for: the other end is gone, or sends no more. */
#define POLLER_END (EPOLLERR | EPOLLHUP | EPOLLRDHUP)

struct poller {
        int fd;       /* owned */
        int timer_fd; /* owned, a member of the set: wakes us when the loop's next timer is due */
        uv_loop_t *loop;
        uint64_t set_for_ms; /* loop's clock: what the timer is set for; UINT64_MAX: it is not */
        uint64_t now_ns;     /* monotonic clock: of the last wake-up, or later */
};

/* One socket of the set. */
struct poller_socket {
        uint32_t events; /* EPOLLIN, EPOLLOUT: what it is watched for; 0: it is not in the set */
        void (*ready)(struct poller_socket *socket, uint32_t events);
};

/* The loop is the caller's and outlives the poller. 0 or -errno. */
int poller_init(struct poller *poller, uv_loop_t *loop);
void poller_deinit(struct poller *poller);

/* Watches a socket for these events from now on, and looks anew at what is ready: watched for EPOLLIN alone it is
 * reported when something comes, and not again before more does. Who did not take all calls this again.
 * 0 or -errno. */
int poller_watch(struct poller *poller, struct poller_socket *socket, int fd, uint32_t events);

/* Waits once, calls ready() of the sockets and runs what is due on the loop, whose time is right only in there:
 * others update it before they start a timer. A socket may leave the set meanwhile, but its memory stays until
 * this returns. False: nothing is left to wait for. */
bool poller_turn(struct poller *poller);

/* Monotonic clock. */
uint64_t poller_clock_ns(void);

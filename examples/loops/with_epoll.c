/* with_epoll POOL BUFFERS AT-ONCE: a plain epoll loop that drives a flow of buffers beside a timer. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <buddyclient.h>

#include "flow.h"

static int watch(int epoll_fd, int fd) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int metronome(void) {
        struct timespec beat = {.tv_nsec = FLOW_BEAT_MS * 1000000};
        struct itimerspec time = {beat, beat};
        int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (fd >= 0)
                timerfd_settime(fd, 0, &time, NULL);
        return fd;
}

static void loop(struct flow *flow, int epoll_fd, int timer_fd) {
        bool goes_on = true;
        while (goes_on) {
                struct epoll_event ready[2];
                int count = epoll_wait(epoll_fd, ready, 2, -1);
                for (int i = 0; i < count; i++) {
                        if (ready[i].data.fd != timer_fd) {
                                goes_on = flow_dispatch(flow);
                                continue;
                        }
                        uint64_t beats;
                        if (read(timer_fd, &beats, sizeof(beats)) == sizeof(beats))
                                flow_beat(flow);
                }
        }
}

int main(int argc, char **argv) {
        if (argc != 4) {
                fprintf(stderr, "usage: with_epoll POOL BUFFERS AT-ONCE\n");
                return 2;
        }
        struct flow flow = {.bytes = 65536};
        if (flow_begin(&flow, argv[1], strtoull(argv[2], NULL, 10), (unsigned)atoi(argv[3])))
                return 1;
        int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        int timer_fd = metronome();
        if (watch(epoll_fd, buddyclient_fd(flow.client)) || watch(epoll_fd, timer_fd)) {
                perror("with_epoll: cannot watch");
                return 1;
        }
        loop(&flow, epoll_fd, timer_fd);
        close(timer_fd);
        close(epoll_fd);
        return flow_end(&flow);
}

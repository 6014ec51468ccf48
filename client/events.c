/* See events.h. A set that cannot be had as it should be (no memory in the kernel) is made up for by looking again soon. */
#include "events.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "deadline.h"

#define LOOK_AGAIN_MS 10

struct events {
        int epoll_fd, timer_fd;
        int socket_fd;   /* in the set; -1: none */
        unsigned wanted; /* of the socket */
        bool raised;
        int64_t armed_at;
};

struct events *events_new(void) {
        struct events *events = malloc(sizeof(*events));
        if (!events)
                return NULL;
        *events = (struct events){
                .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
                .timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
                .socket_fd = -1,
                .armed_at = DEADLINE_NONE,
        };
        struct epoll_event event = {.events = EPOLLIN};
        if (events->epoll_fd >= 0 && events->timer_fd >= 0 &&
                epoll_ctl(events->epoll_fd, EPOLL_CTL_ADD, events->timer_fd, &event) == 0)
                return events;
        events_free(events);
        return NULL;
}

void events_free(struct events *events) {
        if (!events)
                return;
        if (events->epoll_fd >= 0)
                close(events->epoll_fd);
        if (events->timer_fd >= 0)
                close(events->timer_fd);
        free(events);
}

int events_fd(const struct events *events) {
        return events->epoll_fd;
}

/* Also takes back that it had expired. */
static void arm(struct events *events, int64_t at) {
        struct itimerspec timer = {0};
        if (at != DEADLINE_NONE)
                timer.it_value = deadline_timespec(at > 0 ? at : 1); /* all 0 would disarm it */
        timerfd_settime(events->timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
        events->armed_at = at;
}

void events_raise(struct events *events) {
        if (!events || events->raised)
                return;
        events->raised = true;
        arm(events, DEADLINE_PASSED);
}

void events_unwatch(struct events *events) {
        if (!events || events->socket_fd < 0)
                return;
        epoll_ctl(events->epoll_fd, EPOLL_CTL_DEL, events->socket_fd, NULL);
        events->socket_fd = -1;
}

static bool watch(struct events *events, int socket_fd, unsigned wanted) {
        if (wanted == EVENTS_NONE || (events->socket_fd >= 0 && events->socket_fd != socket_fd))
                events_unwatch(events);
        if (wanted == EVENTS_NONE || (events->socket_fd == socket_fd && events->wanted == wanted))
                return true;
        struct epoll_event event = {
                .events = (wanted & EVENTS_BYTES ? EPOLLIN : 0u) |
                          (wanted & EVENTS_ROOM ? EPOLLOUT : 0u),
        };
        int operation = events->socket_fd < 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
        if (epoll_ctl(events->epoll_fd, operation, socket_fd, &event) != 0)
                return false;
        events->socket_fd = socket_fd;
        events->wanted = wanted;
        return true;
}

void events_watch(struct events *events, int socket_fd, unsigned wanted) {
        if (events && !watch(events, socket_fd, wanted))
                events_raise(events);
}

void events_settle(struct events *events, int socket_fd, unsigned wanted, int64_t at) {
        if (!watch(events, socket_fd, wanted)) {
                int64_t soon = deadline_after(LOOK_AGAIN_MS);
                at = at < soon ? at : soon;
        }
        /* One that is armed for an earlier time only costs a turn. */
        bool serves = !events->raised && events->armed_at <= at &&
                      (events->armed_at == at || events->armed_at > deadline_now());
        events->raised = false;
        if (!serves)
                arm(events, at);
}

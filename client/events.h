/* One descriptor that is readable while there is something for a turn of the channel to do: the connection has bytes or room, a
 * deadline has passed, or something was raised. An epoll set of the connection's socket and a timer, which
 * is also what is raised. All under the channel's lock; NULL: nobody asked for it, and nothing is done. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct events;

/* NULL: errno says why. */
struct events *events_new(void);
void events_free(struct events *events);

/* To be watched for reading; the same one until the end. */
int events_fd(const struct events *events);

/* Makes it readable. */
void events_raise(struct events *events);

/* What of a socket is watched. */
enum { EVENTS_NONE = 0, EVENTS_BYTES = 1, EVENTS_ROOM = 2 };

/* What is watched from now on: this of a socket, and this point in time; what was raised is done. */
void events_settle(struct events *events, int socket_fd, unsigned wanted, int64_t at);

/* The socket alone; one that cannot be watched is raised. */
void events_watch(struct events *events, int socket_fd, unsigned wanted);

/* Before the socket is closed, which a forked child may have as well. */
void events_unwatch(struct events *events);

/* A blocking connection to the daemon that speaks the protocol itself. buddyctl observes: it says hello
 * without asking for a session or descriptors, so it costs the daemon little and shows up nowhere.
 *
 * Every wait is bounded by a timeout. After an error the connection is of no more use: close it. One
 * thread at a time. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "proto/message.h"

#define OBSERVER_TIMEOUT_MS 5000

struct observer {
        int fd;             /* owned; -1 when closed */
        struct arena arena; /* what the last reply points into */
        uint8_t *input;     /* owned; bytes received: [begin, end) are not taken yet */
        size_t begin, end;
        uint64_t last_id;
};

/* Connects to a socket. 0, or -errno of connect(2); -ENOMEM; -ETIMEDOUT. */
int observer_open(struct observer *observer, const struct sockaddr_un *address);

/* Closes and frees. Fine on a closed one. */
void observer_close(struct observer *observer);

/* How long each wait for the daemon may take. -errno of setsockopt(2). */
int observer_set_timeout(struct observer *observer, int timeout_ms);

/* The process that answers a ping, as the kernel knows it (whoever made the socket may be another, such as
 * systemd); *pid 0: not visible from here. Errors as of observer_call. */
int observer_peer_pid(struct observer *observer, pid_t *pid);

/* Sends a request under a new id and waits for its reply, which lives until the next receive.
 * -ETIMEDOUT; -ECONNRESET: closed by the daemon; -EPROTO: not a reply to it; -EMSGSIZE; -errno. */
int observer_call(struct observer *observer, struct request *request, struct reply *out);

/* The halves of a call, for many requests in flight. Sends whole frames. */
int observer_send(struct observer *observer, const uint8_t *frames, size_t length);
int observer_receive(struct observer *observer, struct reply *out);

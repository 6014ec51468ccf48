/* The sockets of the daemon. The one that clients connect to is made here, or inherited from the service manager; that of
 * metrics is made with the same checks, mode and group. Used by one
 * thread, before others exist and after they have gone. Each refusal is one logged line. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "settings.h"

struct listener {
        int fd;          /* listening once listener_open was called; owned; -1 before */
        int lock_fd;     /* of the lock file beside the socket; owned; -1: inherited */
        char *path;      /* owned */
        char *lock_path; /* owned; NULL: inherited */
        bool bound;      /* the socket file is ours to remove */
        dev_t device;    /* of the socket file */
        ino_t inode;
};

/* Inherits the socket that the service manager passes, or makes sure that nobody serves on the path
 * and keeps others from starting to. Changes nothing that a client sees. -errno, logged. */
int listener_claim(const struct settings *settings, struct listener *out);

/* The same for the socket of metrics, which is never inherited. */
int listener_claim_metrics(const struct settings *settings, struct listener *out);

/* Clients can connect from now on. A stale socket file is replaced. -errno, logged. */
int listener_open(struct listener *listener, const struct settings *settings);

/* Removes what was made. */
void listener_close(struct listener *listener);

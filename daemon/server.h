/* The running daemon: listener, worker loops, signals. */
#pragma once

#include "settings.h"
#include "store.h"

/* Serves until SIGTERM or SIGINT on a listening socket (owned by the caller). Calls ready() once clients
 * can connect. Returns 0 after a clean stop, or -errno after a logged line if it could not start. */
int server_run(const struct settings *settings, struct store *const *stores, size_t store_count,
        int listen_fd, void (*ready)(void));

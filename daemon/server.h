/* The running daemon: listener, worker loops, signals. */
#pragma once

#include "settings.h"
#include "store.h"

/* What it is started with; all of it stays the caller's. */
struct server_start {
        struct store *const *stores;
        size_t store_count;
        int listen_fd;
        int metrics_fd;      /* the same for metrics; -1: none */
        uint64_t started_ns; /* when the daemon was; monotonic clock */
        void (*ready)(void); /* called once clients can connect */
        /* SIGHUP: what is asked for now, the caller's to settings_deinit; false: refused, after a logged line. */
        bool (*reread)(struct settings *out);
};

/* Serves until SIGTERM or SIGINT. Returns 0 after a clean stop, or -errno after a logged line if it could not
 * start. */
int server_run(const struct settings *settings, const struct server_start *start);

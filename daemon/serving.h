/* Everything that server_run sets up and the workers share. The parts have their own locks; the rest is
 * fixed while workers run. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "acceptor.h"
#include "barrier.h"
#include "guard.h"
#include "list.h"
#include "metrics_socket.h"
#include "served_pool.h"
#include "settings.h"
#include "trimmer.h"
#include "users.h"
#include "watchdog.h"
#include "worker.h"

struct server_start;

struct serving {
        const struct settings *settings; /* of the start */
        const struct server_start *start;
        struct served_pool *pools; /* owned */
        size_t pool_count;
        struct worker *workers; /* owned */
        unsigned worker_count;
        struct barrier barrier;
        struct users users;
        uint64_t limits_read
                [QUOTA_END]; /* the whole daemon's, as the config said last; the main thread's */
        uint64_t started_ns;
        uint64_t started_wall_ms; /* the same instant by the wall clock, which may be set later */

        uv_loop_t loop; /* the main thread's: acceptor and signals; it enters no pool */
        struct acceptor acceptor;
        struct metrics_socket metrics_socket;
        struct guard guard;
        uv_signal_t terminate, interrupt, hang_up;
        struct trimmer *trimmers; /* by pool; owned */
        struct watchdog
                watchdog; /* of all workers; not started unless the service manager has one */
};

/* The life of the daemon: settings, socket, pools, serving, and the same backwards. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "bytes.h"
#include "listener.h"
#include "log.h"
#include "server.h"
#include "settings.h"
#include "stop.h"
#include "store.h"
#include "worker.h"

enum exit_status {
        EXIT_DONE = 0,
        EXIT_FAILED = 1,
        EXIT_USAGE = 2,
};

struct daemon {
        struct settings settings;
        struct listener listener;
        struct listener metrics; /* fd -1: there is none */
        struct store **stores;
        size_t store_count;
        uint64_t started_ns; /* monotonic clock */
};

/* A client costs a few descriptors; the soft limit is for programs that use select(2). */
static void raise_file_limit(void) {
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                log_event(LOG_EVENT_LIMIT_NOT_RAISED, NULL,
                        "cannot raise the limit on open files: %s", strerror(errno));
}

/* The first two would end the process where an error code tells as much; the third means something to a daemon that
 * serves already, and is no reason for one that does not yet to end. */
static void ignore_signals(void) {
        signal(SIGPIPE, SIG_IGN);
        signal(SIGXFSZ, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
}

static void log_take_over(const struct store *store, const char *size) {
        uint64_t held[ORDER_COUNT], ranges = 0, bytes = 0;
        pool_held_blocks(store->pool, held);
        for (unsigned order = 0; order < ORDER_COUNT; order++) {
                ranges += held[order];
                bytes += held[order] * (store->settings.page_bytes << order);
        }
        unsigned sessions = 0;
        for (uint32_t at = 0; (at = pool_session_next(store->pool, at)) != 0;)
                sessions += at != SESSION_OPERATOR;
        const struct log_subject about = {
                .pool = store->settings.name,
                .has_holdings = true,
                .ranges = ranges,
                .bytes = bytes,
        };
        log_event(LOG_EVENT_POOL_TAKEN_OVER, &about,
                "pool '%s' of %s taken over from an earlier daemon: %u sessions, %" PRIu64
                " ranges, %" PRIu64 " bytes in %.3f ms; restarts so far: %" PRIu64,
                store->settings.name, size, sessions, ranges, bytes,
                (double)store->opening_ns / 1e6, store->restarts);
}

static void log_store(const struct store *store) {
        struct bytes_text size = bytes_rounded(store->settings.size_bytes);
        if (store->taken_over)
                log_take_over(store, size.text);
        else
                log_event(LOG_EVENT_POOL_MADE, &(struct log_subject){.pool = store->settings.name},
                        "pool '%s' of %s made", store->settings.name, size.text);
}

static int daemon_open_stores(struct daemon *daemon) {
        const struct settings *settings = &daemon->settings;
        daemon->stores = calloc(settings->pool_count, sizeof(struct store *));
        if (!daemon->stores) {
                log_error("out of memory; free some");
                return -ENOMEM;
        }
        for (size_t i = 0; i < settings->pool_count; i++) {
                uint64_t began_ns = worker_clock_ns();
                int error = store_open(&settings->pools[i], settings->reset, &daemon->stores[i]);
                if (error)
                        return error;
                daemon->store_count++;
                daemon->stores[i]->opening_ns = worker_clock_ns() - began_ns;
        }
        for (size_t i = 0; i < settings->pool_count; i++)
                log_store(daemon->stores[i]);
        return 0;
}

/* What an earlier daemon left is not ours to remove if we never served it. */
static void daemon_close_stores(struct daemon *daemon, bool served) {
        while (daemon->store_count > 0) {
                struct store *store = daemon->stores[--daemon->store_count];
                store_close(store, served ? store->settings.keep : store->taken_over);
        }
        free(daemon->stores);
}

/* server_run's ready() and reread() have no arguments. */
static const struct daemon *ready_daemon;
static int command_line_count;
static char **command_line;

static bool daemon_reread(struct settings *out) {
        return settings_load(command_line_count, command_line, out) == SETTINGS_RUN;
}

static void daemon_ready(void) {
        size_t count = ready_daemon->store_count;
        const char *noun = count == 1 ? "pool" : "pools";
        const char *path = ready_daemon->listener.path;
        log_event(LOG_EVENT_READY, NULL, "ready: serving %zu %s on %s", count, noun, path);
        sd_notifyf(0, "READY=1\nSTATUS=Serving %zu %s on %s", count, noun, path);
        if (stop_requested()) /* one that came before the server's own handlers */
                kill(getpid(), SIGTERM);
}

static int daemon_serve(struct daemon *daemon) {
        int error = listener_open(&daemon->listener, &daemon->settings);
        if (!error && daemon->settings.metrics_path)
                error = listener_open(&daemon->metrics, &daemon->settings);
        if (error)
                return error;
        ready_daemon = daemon;
        struct server_start start = {
                .stores = daemon->stores,
                .store_count = daemon->store_count,
                .listen_fd = daemon->listener.fd,
                .metrics_fd = daemon->metrics.fd,
                .started_ns = daemon->started_ns,
                .ready = daemon_ready,
                .reread = daemon_reread,
        };
        error = server_run(&daemon->settings, &start);
        sd_notify(0, "STOPPING=1");
        return error;
}

static int daemon_run(struct daemon *daemon) {
        int error = listener_claim(&daemon->settings, &daemon->listener);
        if (error)
                return error;
        if (daemon->settings.metrics_path)
                error = listener_claim_metrics(&daemon->settings, &daemon->metrics);
        if (!error)
                error = daemon_open_stores(daemon);
        if (!error)
                error = daemon_serve(daemon);
        daemon_close_stores(daemon, error == 0);
        listener_close(&daemon->metrics);
        listener_close(&daemon->listener);
        return error;
}

int main(int argc, char **argv) {
        struct daemon daemon = {
                .metrics = {.fd = -1, .lock_fd = -1},
                .started_ns = worker_clock_ns(),
        };
        switch (settings_load(argc, argv, &daemon.settings)) {
        case SETTINGS_EXIT_DONE:
                return EXIT_DONE;
        case SETTINGS_EXIT_FAILED:
                return EXIT_FAILED;
        case SETTINGS_EXIT_USAGE:
                return EXIT_USAGE;
        case SETTINGS_RUN:
                break;
        }
        command_line_count = argc;
        command_line = argv;
        ignore_signals();
        stop_watch();
        raise_file_limit();
        int error = daemon_run(&daemon);
        settings_deinit(&daemon.settings);
        if (error == -ECANCELED)
                log_event(LOG_EVENT_STOPPED_EARLY, NULL, "stopped before it was ready");
        return error && error != -ECANCELED ? EXIT_FAILED : EXIT_DONE;
}

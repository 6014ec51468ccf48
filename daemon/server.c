/* Sets up pools, workers and the acceptor, waits for a signal, and takes everything down again. */
#include "server.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "loop_memory.h"
#include "orphans.h"
#include "quota.h"
#include "ration.h"
#include "reload.h"
#include "serving.h"
#include "stop.h"

/* Each connection takes two descriptors; the soft limit is only a default for programs that use select. */
static void serving_raise_limit(void) {
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                setrlimit(RLIMIT_NOFILE, &limit);
        }
}

/* The first loop makes a pipe for signals, and libuv ends the process if it cannot: better we are told. */
static int serving_probe_pipe(void) {
        int ends[2];
        if (pipe(ends) < 0)
                return -errno;
        close(ends[0]);
        close(ends[1]);
        return 0;
}

/* ---- Pools ---- */

static void serving_deinit_pools(struct serving *serving) {
        for (size_t i = 0; i < serving->pool_count; i++)
                served_pool_deinit(&serving->pools[i]);
        free(serving->pools);
        free(serving->trimmers);
}

static int serving_init_pools(
        struct serving *serving, struct store *const *stores, size_t store_count) {
        serving->pools = calloc(store_count, sizeof(*serving->pools));
        serving->trimmers = calloc(store_count, sizeof(*serving->trimmers));
        if (!serving->pools || !serving->trimmers) {
                serving_deinit_pools(serving);
                return -ENOMEM;
        }
        for (size_t i = 0; i < store_count; i++) {
                int error =
                        served_pool_init(&serving->pools[i], stores[i], serving->settings->workers);
                if (error) {
                        serving_deinit_pools(serving);
                        return error;
                }
                quota_apply(&serving->pools[i], stores[i]->settings.limits);
                serving->pool_count++;
        }
        return 0;
}

/* ---- Workers ---- */

static void serving_deinit_workers(struct serving *serving) {
        for (unsigned i = 0; i < serving->worker_count; i++) {
                orphans_forget(&serving->workers[i]);
                worker_deinit(&serving->workers[i]);
        }
        free(serving->workers);
        barrier_deinit(&serving->barrier);
}

static int serving_init_workers(struct serving *serving) {
        unsigned count = serving->settings->workers;
        int error = barrier_init(&serving->barrier, count);
        if (error)
                return error;
        serving->workers = calloc(count, sizeof(*serving->workers));
        if (!serving->workers)
                error = -ENOMEM;
        for (unsigned i = 0; i < count && !error; i++) {
                error = worker_init(&serving->workers[i], serving, i);
                if (!error)
                        serving->worker_count++;
        }
        if (error)
                serving_deinit_workers(serving);
        return error;
}

static void serving_stop_workers(struct serving *serving, unsigned started) {
        for (unsigned i = 0; i < started; i++)
                worker_stop(&serving->workers[i]);
        for (unsigned i = 0; i < started; i++)
                pthread_join(serving->workers[i].thread, NULL);
}

/* ---- Signals ---- */

static void serving_on_signal(uv_signal_t *handle, int signal_number) {
        (void)signal_number;
        uv_stop(handle->loop);
}

/* The service manager hears of both ends of it. */
static void serving_on_hang_up(uv_signal_t *handle, int signal_number) {
        struct serving *serving = LINK_OWNER(handle, struct serving, hang_up);
        (void)signal_number;
        struct settings asked;
        if (!serving->settings->configured) {
                log_event(LOG_EVENT_CONFIG_READ, NULL,
                        "SIGHUP, and no config file to read again: start with --config FILE to "
                        "have one");
                return;
        }
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, worker_clock_ns() / 1000);
        if (serving->start->reread(&asked)) {
                reload_apply(serving, &asked);
                for (size_t i = 0; i < serving->pool_count; i++)
                        trimmer_adjust(&serving->trimmers[i]);
                settings_deinit(&asked);
        }
        sd_notify(0, "READY=1");
}

static int serving_init_signals(struct serving *serving) {
        uv_signal_init(&serving->loop, &serving->hang_up);
        uv_signal_init(&serving->loop, &serving->terminate);
        uv_signal_init(&serving->loop, &serving->interrupt);
        int error = uv_signal_start(&serving->terminate, serving_on_signal, SIGTERM);
        if (!error)
                error = uv_signal_start(&serving->interrupt, serving_on_signal, SIGINT);
        if (!error)
                error = uv_signal_start(&serving->hang_up, serving_on_hang_up, SIGHUP);
        return error;
}

/* A second signal must not cut the cleaning up short: while nobody takes them, they are held back. */
static void serving_close_signals(struct serving *serving) {
        sigset_t held, before;
        sigemptyset(&held);
        sigaddset(&held, SIGTERM);
        sigaddset(&held, SIGINT);
        sigaddset(&held, SIGHUP);
        pthread_sigmask(SIG_BLOCK, &held, &before);
        uv_close((uv_handle_t *)&serving->terminate, NULL);
        uv_close((uv_handle_t *)&serving->interrupt, NULL);
        uv_close((uv_handle_t *)&serving->hang_up, NULL);
        stop_watch();
        signal(SIGHUP, SIG_IGN);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- Watchdog ---- */

static void serving_ask_workers(void *context) {
        struct serving *serving = context;
        for (unsigned i = 0; i < serving->worker_count; i++)
                worker_ask_for_life(&serving->workers[i]);
}

static void serving_is_alive(void *context) {
        (void)context;
        sd_notify(0, "WATCHDOG=1");
}

static int serving_start_watchdog(struct serving *serving) {
        uint64_t interval_ms = watchdog_interval_ms();
        serving->watchdog = (struct watchdog){
                .loops = serving->worker_count,
                .ask = serving_ask_workers,
                .alive = serving_is_alive,
                .context = serving,
        };
        return interval_ms == 0 ? 0
                                : watchdog_start(&serving->watchdog, &serving->loop, interval_ms);
}

/* ---- Running ---- */

/* From the first connection to the last. */
static int serving_accept(struct serving *serving, const struct server_start *start) {
        serving->guard = (struct guard){.pools = serving->pools,
                .pool_count = serving->pool_count,
                .users = &serving->users};
        int error = guard_init(&serving->guard, &serving->loop);
        if (error)
                return error;
        error = acceptor_init(&serving->acceptor, &serving->loop, start->listen_fd, &serving->users,
                &serving->guard);
        if (error) {
                guard_deinit(&serving->guard);
                return error;
        }
        acceptor_set_workers(&serving->acceptor, serving->workers, serving->worker_count);
        error = metrics_socket_init(&serving->metrics_socket, serving, start->metrics_fd);
        unsigned started = 0;
        while (!error && started < serving->worker_count) {
                error = worker_start(&serving->workers[started]);
                if (!error)
                        started++;
        }
        if (!error)
                error = serving_start_watchdog(serving);
        if (!error) {
                for (size_t i = 0; i < serving->pool_count; i++)
                        trimmer_start(&serving->trimmers[i], &serving->loop, &serving->pools[i]);
                start->ready();
                /* A signal may have come before this loop had its handlers. */
                if (!stop_requested())
                        uv_run(&serving->loop, UV_RUN_DEFAULT);
        }
        guard_stop(&serving->guard);
        watchdog_stop(&serving->watchdog);
        for (size_t i = 0; i < serving->pool_count; i++)
                trimmer_stop(&serving->trimmers[i]);
        acceptor_stop(&serving->acceptor);
        metrics_socket_stop(&serving->metrics_socket);
        serving_stop_workers(serving, started);
        guard_deinit(&serving->guard);
        metrics_socket_deinit(&serving->metrics_socket);
        acceptor_deinit(&serving->acceptor);
        ration_end();
        return error;
}

static int serving_run(struct serving *serving, const struct server_start *start) {
        int error = uv_loop_init(&serving->loop);
        if (error)
                return error;
        error = serving_init_signals(serving);
        if (!error)
                error = serving_accept(serving, start);
        serving_close_signals(serving);
        uv_run(&serving->loop, UV_RUN_DEFAULT);
        uv_loop_close(&serving->loop);
        return error;
}

static int serving_start(struct serving *serving, const struct server_start *start) {
        int error = serving_init_pools(serving, start->stores, start->store_count);
        if (error)
                return error;
        error = serving_init_workers(serving);
        if (error)
                goto deinit_pools;
        error = orphans_adopt(serving);
        if (!error)
                error = serving_run(serving, start);
        serving_deinit_workers(serving);
deinit_pools:
        serving_deinit_pools(serving);
        return error;
}

/* Once, so that what is told of it does not move when the clock is set. */
static uint64_t wall_clock_at_ms(uint64_t monotonic_ns) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
        return now_ms - (worker_clock_ns() - monotonic_ns) / 1000000;
}

int server_run(const struct settings *settings, const struct server_start *start) {
        struct serving serving = {.settings = settings,
                .start = start,
                .started_ns = start->started_ns,
                .started_wall_ms = wall_clock_at_ms(start->started_ns)};
        memcpy(serving.limits_read, settings->limits, sizeof(serving.limits_read));
        serving_raise_limit();
        loop_memory_set_aside();
        int error = serving_probe_pipe();
        if (!error)
                error = users_init(&serving.users);
        if (!error) {
                quota_apply_daemon(&serving.users, settings->limits);
                error = serving_start(&serving, start);
                users_deinit(&serving.users);
        }
        if (error)
                log_error("cannot serve: %s; make memory and descriptors available and start again",
                        strerror(-error));
        return error;
}

/* Sets up pools, workers and the acceptor, waits for a signal, and takes everything down again. */
#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "log.h"
#include "orphans.h"
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

/* ---- Pools ---- */

static void serving_deinit_pools(struct serving *serving) {
        for (size_t i = 0; i < serving->pool_count; i++)
                served_pool_deinit(&serving->pools[i]);
        free(serving->pools);
}

static int serving_init_pools(
        struct serving *serving, struct store *const *stores, size_t store_count) {
        serving->pools = calloc(store_count, sizeof(*serving->pools));
        if (!serving->pools)
                return -ENOMEM;
        for (size_t i = 0; i < store_count; i++) {
                int error =
                        served_pool_init(&serving->pools[i], stores[i], serving->settings->workers);
                if (error) {
                        serving_deinit_pools(serving);
                        return error;
                }
                serving->pool_count++;
        }
        return 0;
}

/* ---- Workers ---- */

static void serving_deinit_workers(struct serving *serving) {
        for (unsigned i = 0; i < serving->worker_count; i++)
                worker_deinit(&serving->workers[i]);
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

static int serving_init_signals(struct serving *serving) {
        uv_signal_init(&serving->loop, &serving->terminate);
        uv_signal_init(&serving->loop, &serving->interrupt);
        int error = uv_signal_start(&serving->terminate, serving_on_signal, SIGTERM);
        if (!error)
                error = uv_signal_start(&serving->interrupt, serving_on_signal, SIGINT);
        return error;
}

static void serving_close_signals(struct serving *serving) {
        uv_close((uv_handle_t *)&serving->terminate, NULL);
        uv_close((uv_handle_t *)&serving->interrupt, NULL);
}

/* ---- Running ---- */

/* From the first connection to the last. */
static int serving_accept(struct serving *serving, int listen_fd, void (*ready)(void)) {
        int error = acceptor_init(&serving->acceptor, &serving->loop, listen_fd, serving->workers,
                serving->worker_count);
        if (error)
                return error;
        unsigned started = 0;
        while (!error && started < serving->worker_count) {
                error = worker_start(&serving->workers[started]);
                if (!error)
                        started++;
        }
        if (!error) {
                ready();
                /* A signal may have come before this loop had its handlers. */
                if (!stop_requested())
                        uv_run(&serving->loop, UV_RUN_DEFAULT);
        }
        acceptor_stop(&serving->acceptor);
        serving_stop_workers(serving, started);
        acceptor_deinit(&serving->acceptor);
        return error;
}

static int serving_run(struct serving *serving, int listen_fd, void (*ready)(void)) {
        int error = uv_loop_init(&serving->loop);
        if (error)
                return error;
        error = serving_init_signals(serving);
        if (!error)
                error = serving_accept(serving, listen_fd, ready);
        serving_close_signals(serving);
        uv_run(&serving->loop, UV_RUN_DEFAULT);
        uv_loop_close(&serving->loop);
        return error;
}

static int serving_start(struct serving *serving, struct store *const *stores, size_t store_count,
        int listen_fd, void (*ready)(void)) {
        int error = serving_init_pools(serving, stores, store_count);
        if (error)
                return error;
        error = serving_init_workers(serving);
        if (error)
                goto deinit_pools;
        error = orphans_adopt(serving);
        if (!error)
                error = serving_run(serving, listen_fd, ready);
        orphans_forget(serving);
        serving_deinit_workers(serving);
deinit_pools:
        serving_deinit_pools(serving);
        return error;
}

int server_run(const struct settings *settings, struct store *const *stores, size_t store_count,
        int listen_fd, void (*ready)(void)) {
        struct serving serving = {.settings = settings, .started_ns = worker_clock_ns()};
        link_init(&serving.orphans);
        serving_raise_limit();
        int error = serving_start(&serving, stores, store_count, listen_fd, ready);
        if (error)
                log_error("cannot serve: %s; make memory and descriptors available and start again",
                        strerror(-error));
        return error;
}

/* bench: what a request costs on this machine, beside the bare socket that carries it. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "bench.h"
#include "complain.h"
#include "json.h"
#include "quantity.h"

#define ROUNDS          9
#define SECONDS_DEFAULT 3.0
#define SECONDS_MIN     0.1
#define SECONDS_MAX     3600.0

static bench_row *const rows[] = {
        bench_socket_round_trip,
        bench_request_round_trip,
        bench_socket_in_flight,
        bench_request_in_flight,
        bench_batch,
        bench_malloc,
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

struct result {
        double ns[FIGURE_COUNT];
        double seconds;
        int cpu; /* -1: nobody is pinned */
        bool daemon_pinned;
};

static bool is_interrupted(void) {
        sigset_t pending;
        sigpending(&pending);
        return sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1;
}

/* -EINTR: interrupted. */
static int measure(struct bench *bench, struct result *result) {
        double rounds[FIGURE_COUNT][ROUNDS];
        int64_t slice_ns = (int64_t)(result->seconds * 1e9 / (double)((ROUNDS + 1) * ROWS));
        /* The first round only warms up. */
        for (int round = -1; round < ROUNDS; round++) {
                double figures[FIGURE_COUNT];
                for (size_t row = 0; row < ROWS; row++) {
                        int error = is_interrupted() ? -EINTR : rows[row](bench, slice_ns, figures);
                        if (error != 0)
                                return error;
                }
                for (size_t i = 0; i < FIGURE_COUNT && round >= 0; i++)
                        rounds[i][round] = figures[i];
        }
        for (size_t i = 0; i < FIGURE_COUNT; i++)
                result->ns[i] = bench_median(rounds[i], ROUNDS);
        return 0;
}

static double per_second(double ns) {
        return ns > 0 ? 1e9 / ns : 0;
}

static double ratio(double value, double floor) {
        return floor > 0 ? value / floor : 0;
}

static void print_json(const struct result *result) {
        const double *ns = result->ns;
        struct json json = {.out = stdout};
        json_begin_object(&json, NULL);
        json_number(&json, "seconds", result->seconds);
        json_bool(&json, "pinned", result->cpu >= 0);
        json_bool(&json, "daemon_pinned", result->daemon_pinned);
        json_number(&json, "socket_round_trip_us", ns[FIGURE_SOCKET_ROUND_TRIP] / 1e3);
        json_number(&json, "request_round_trip_us", ns[FIGURE_REQUEST_ROUND_TRIP] / 1e3);
        json_number(&json, "request_ratio",
                ratio(ns[FIGURE_REQUEST_ROUND_TRIP], ns[FIGURE_SOCKET_ROUND_TRIP]));
        json_number(&json, "socket_in_flight_per_second", per_second(ns[FIGURE_SOCKET_IN_FLIGHT]));
        json_number(
                &json, "requests_in_flight_per_second", per_second(ns[FIGURE_REQUEST_IN_FLIGHT]));
        json_number(&json, "in_flight_ratio",
                ratio(ns[FIGURE_REQUEST_IN_FLIGHT], ns[FIGURE_SOCKET_IN_FLIGHT]));
        json_number(&json, "batch_alloc_ns_per_range", ns[FIGURE_BATCH_ALLOC]);
        json_number(&json, "batch_release_ns_per_range", ns[FIGURE_BATCH_RELEASE]);
        json_number(&json, "batch_pair_ns_per_range",
                ns[FIGURE_BATCH_ALLOC] + ns[FIGURE_BATCH_RELEASE]);
        json_number(&json, "malloc_pair_ns", ns[FIGURE_MALLOC_PAIR]);
        json_end_object(&json);
        json_end_document(&json);
}

static void print_text(const struct result *result) {
        const double *ns = result->ns;
        const char *us = quantity_microsecond();
        double socket_us = ns[FIGURE_SOCKET_ROUND_TRIP] / 1e3,
               request_us = ns[FIGURE_REQUEST_ROUND_TRIP] / 1e3;
        double batch = ns[FIGURE_BATCH_ALLOC] + ns[FIGURE_BATCH_RELEASE];

        printf("%-44s %10.2f %s\n", "bare socket round trip, 64 bytes, p50", socket_us, us);
        printf("%-44s %10.2f %s %10.2f x\n", "request round trip, no cache, p50", request_us, us,
                ratio(request_us, socket_us));
        printf("%-44s %10.0f a second\n", "bare messages, 32 in flight",
                per_second(ns[FIGURE_SOCKET_IN_FLIGHT]));
        printf("%-44s %10.0f a second %5.2f x the time\n", "requests, 32 in flight",
                per_second(ns[FIGURE_REQUEST_IN_FLIGHT]),
                ratio(ns[FIGURE_REQUEST_IN_FLIGHT], ns[FIGURE_SOCKET_IN_FLIGHT]));
        printf("%-44s %10.1f ns a range\n", "alloc in batches of 64", ns[FIGURE_BATCH_ALLOC]);
        printf("%-44s %10.1f ns a range\n", "release in batches of 64", ns[FIGURE_BATCH_RELEASE]);
        printf("%-44s %10.1f ns a range %6.3f x a bare round trip\n", "both", batch,
                ratio(batch, ns[FIGURE_SOCKET_ROUND_TRIP]));
        printf("%-44s %10.1f ns\n", "malloc + free of 4 KiB (glibc)", ns[FIGURE_MALLOC_PAIR]);
        printf("medians of %d interleaved rounds in %g s; ", ROUNDS, result->seconds);
        if (result->daemon_pinned)
                printf("client and daemon on CPU %d\n", result->cpu);
        else if (result->cpu >= 0)
                printf("client on CPU %d, the daemon could not be pinned: wake-ups between CPUs "
                       "count\n",
                        result->cpu);
        else
                puts("nobody pinned: wake-ups between CPUs count");
}

static enum exit_status client_complain(struct buddyclient *client, int error) {
        const char *detail = client ? buddyclient_detail(client) : "";
        return complain(error == -ENOTCONN ? EXIT_UNREACHABLE : EXIT_REFUSED,
                "bench: %s%s%s; run it again, or bench another pool", buddyclient_strerror(error),
                detail[0] != '\0' ? ": " : "", detail);
}

static enum exit_status client_connect(
        const struct invocation *invocation, struct buddyclient **out) {
        struct buddyclient *client;
        int error = buddyclient_new(&client);
        if (error != 0)
                return client_complain(NULL, error);
        const char *socket = invocation->values[OPTION_SOCKET];
        if (socket)
                error = buddyclient_set_socket(client, socket);
        if (error == 0)
                error = buddyclient_set_pool(client, ask_pool(invocation));
        if (error == 0)
                error = buddyclient_set_name(client, "buddyctl bench");
        if (error == 0)
                error = buddyclient_set_cache_bytes(client, 0);
        if (error == 0)
                error = buddyclient_connect(client);
        enum exit_status status = error != 0 ? client_complain(client, error) : EXIT_DONE;
        if (status == EXIT_DONE)
                *out = client;
        else
                buddyclient_destroy(client);
        return status;
}

/* Pins first, so that the child inherits both the CPU and what to restore. */
static enum exit_status bench_prepare(const struct invocation *invocation, struct bench *bench,
        struct cpu_pin **pin, struct result *result) {
        struct request_hello hello = {
                .version = PROTOCOL_VERSION,
                .pool = ask_pool(invocation),
                .name = "buddyctl bench",
                .access = ACCESS_READ_WRITE,
        };
        enum exit_status status = ask_hello(invocation, &hello, &bench->raw, NULL);
        if (status != EXIT_DONE)
                return status;
        if (!invocation_has(invocation, OPTION_UNPINNED)) {
                pid_t daemon;
                int unanswered = observer_peer_pid(&bench->raw, &daemon);
                if (unanswered != 0)
                        return ask_complain_unanswered(unanswered);
                *pin = daemon != 0 ? cpu_pin_new(daemon) : NULL;
                result->daemon_pinned = *pin != NULL;
                if (!*pin)
                        *pin = cpu_pin_new(0);
                result->cpu = *pin ? cpu_pin_cpu(*pin) : -1;
        }
        int error = echo_start(bench, *pin);
        if (error != 0)
                return complain(EXIT_REFUSED,
                        "bench: cannot start a process: %s; end some, or raise their limit",
                        strerror(-error));
        return client_connect(invocation, &bench->client);
}

static void bench_finish(struct bench *bench, struct cpu_pin *pin) {
        buddyclient_destroy(bench->client);
        observer_close(&bench->raw);
        echo_stop(bench);
        cpu_pin_restore(pin);
        free(bench);
}

static enum exit_status bench_run(const struct invocation *invocation, struct result *result) {
        struct bench *bench = calloc(1, sizeof(*bench));
        if (!bench)
                return complain(EXIT_REFUSED, "out of memory; free some and try again");
        bench->echo_fd = bench->raw.fd = -1;
        struct cpu_pin *pin = NULL;
        enum exit_status status = bench_prepare(invocation, bench, &pin, result);
        if (status == EXIT_DONE) {
                int error = measure(bench, result);
                if (error == -EINTR)
                        status = complain(EXIT_REFUSED,
                                "bench: interrupted before it was done; run it again");
                else if (error == -ENOMEM)
                        status = complain(EXIT_REFUSED,
                                "bench: the pool has no %u free pages; return some, or bench "
                                "another pool",
                                BENCH_BATCH);
                else if (error != 0)
                        status = client_complain(bench->client, error);
        }
        bench_finish(bench, pin);
        return status;
}

enum exit_status cmd_bench(const struct invocation *invocation) {
        struct result result = {.seconds = SECONDS_DEFAULT, .cpu = -1};
        const char *seconds = invocation->values[OPTION_SECONDS];
        if (seconds &&
                quantity_parse_seconds(seconds, SECONDS_MIN, SECONDS_MAX, &result.seconds) != 0)
                return complain(EXIT_USAGE, "--seconds %s: give seconds from %g to %g", seconds,
                        SECONDS_MIN, SECONDS_MAX);
        /* Held back, so that an interrupted run also gives everything back. */
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigprocmask(SIG_BLOCK, &signals, NULL);

        enum exit_status status = bench_run(invocation, &result);
        if (status == EXIT_DONE)
                (invocation_has(invocation, OPTION_JSON) ? print_json : print_text)(&result);
        return status;
}

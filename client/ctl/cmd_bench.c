/* bench: what a request costs on this machine, beside the bare socket that carries it, and what a client does
 * without one. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ask.h"
#include "bench.h"
#include "complain.h"
#include "partner.h"
#include "quantity.h"

#define SECONDS_DEFAULT 3.0
#define SECONDS_MIN     0.1
#define SECONDS_MAX     3600.0

/* A row that may be missing needs more room or CPUs than some pools and machines have. */
static const struct row {
        bench_row *run;
        enum bench_figure first, last; /* what it sets */
        bool may_be_missing;
} rows[] = {
        {bench_futex_round_trip, FIGURE_FUTEX_ROUND_TRIP, FIGURE_FUTEX_ROUND_TRIP, false},
        {bench_round_trips, FIGURE_SOCKET_ROUND_TRIP, FIGURE_DAEMON_CPU, false},
        {bench_in_flight, FIGURE_SOCKET_IN_FLIGHT, FIGURE_DAEMON_CPU_IN_FLIGHT, false},
        {bench_batch, FIGURE_BATCH_ALLOC, FIGURE_BATCH_PAIR, false},
        {bench_cached_4k, FIGURE_MALLOC_PAIR, FIGURE_CACHED_4K, false},
        {bench_cached_64k, FIGURE_CACHED_64K, FIGURE_CACHED_64K, true},
        {bench_cached_1m, FIGURE_CACHED_1M, FIGURE_CACHED_1M, true},
        {bench_cached_batch, FIGURE_CACHED_BATCH_ALLOC, FIGURE_CACHED_BATCH_PAIR, true},
        {bench_cached_threads, FIGURE_CACHED_THREADS, FIGURE_CACHED_THREADS, true},
        {bench_hand_over_batched, FIGURE_HAND_OVER_BATCHED, FIGURE_HAND_OVER_BATCHED, true},
        {bench_hand_over_stream, FIGURE_HAND_OVER_STREAM, FIGURE_HAND_OVER_STREAM, true},
        {bench_hand_over_single, FIGURE_HAND_OVER_SINGLE, FIGURE_HAND_OVER_SINGLE, true},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* What a signal ends. Nothing is waited for then: the daemon may hang, and takes everything back by itself when this
 * process is gone, as do the children. */
static struct {
        pid_t process;           /* its children leave signals to it */
        struct cpu_pin *pin;     /* borrowed; NULL: nobody is pinned */
        enum exit_status status; /* other than EXIT_DONE: and why has been said */
} running;

static void end_at_once(int signal) {
        static const char line[] =
                "buddyctl: bench: interrupted before it was done; run it again\n";
        (void)signal;
        if (getpid() != running.process)
                return;
        enum exit_status status = running.status;
        if (status == EXIT_DONE) {
                status = EXIT_REFUSED;
                /* Whoever closed stderr does not want to know. */
                ssize_t written = write(STDERR_FILENO, line, sizeof(line) - 1);
                (void)written;
        }
        cpu_pin_loosen(running.pin);
        _exit((int)status);
}

/* how: SIG_BLOCK, while what end_at_once looks at changes, or SIG_UNBLOCK. */
static void hold_signals(int how) {
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigprocmask(how, &signals, NULL);
}

static void catch_signals(void) {
        struct sigaction action = {.sa_handler = end_at_once, .sa_flags = SA_RESTART};
        sigemptyset(&action.sa_mask);
        sigaddset(&action.sa_mask, SIGINT);
        sigaddset(&action.sa_mask, SIGTERM);
        running.process = getpid();
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
}

static bool lacks_room(int error) {
        return error == -ENOMEM || error == -E2BIG || error == -EDQUOT || error == -ENODEV;
}

/* Says of a row that it is missing; it stays so for the rest of the run. */
static void refuse(struct bench_result *result, const struct row *row, int error) {
        for (size_t i = row->first; i <= row->last; i++)
                result->refused[i] = error;
}

static int measure_round(struct bench *bench, struct bench_result *result, double *figures) {
        int64_t slice_ns = (int64_t)(result->seconds * 1e9 / (double)((BENCH_ROUNDS + 1) * ROWS));
        for (const struct row *row = rows; row < rows + ROWS; row++) {
                bench->detail[0] = '\0';
                int error = result->refused[row->first];
                if (error == 0)
                        error = row->run(bench, slice_ns, figures);
                if (error != 0 && !(row->may_be_missing && lacks_room(error)))
                        return error;
                if (error != 0)
                        refuse(result, row, error);
        }
        return 0;
}

static int measure(struct bench *bench, struct bench_result *result) {
        /* The first round only warms up. */
        for (int round = -1; round < BENCH_ROUNDS; round++) {
                double figures[FIGURE_COUNT];
                for (size_t i = 0; i < FIGURE_COUNT; i++)
                        figures[i] = (double)NAN;
                int error = measure_round(bench, result, figures);
                if (error != 0)
                        return error;
                for (size_t i = 0; i < FIGURE_COUNT && round >= 0; i++)
                        result->rounds[i][round] = figures[i];
        }
        return 0;
}

static const char *mend_of(int error) {
        if (error == -ENOTCONN)
                return "; start it, or let it go on if it is stopped, and run bench again";
        return lacks_room(error) ? "; return some, or bench another pool"
                                 : "; run it again, or bench another pool";
}

/* Of the two clients only the one that was refused last has words. */
static const char *detail_of(const struct bench *bench) {
        if (bench->detail[0] != '\0')
                return bench->detail;
        const char *detail = buddyclient_detail(bench->client);
        return detail[0] != '\0' ? detail : buddyclient_detail(bench->cached);
}

static enum exit_status bench_complain(const struct bench *bench, int error) {
        const char *detail = detail_of(bench);
        const char *mend = strchr(detail, ';') ? "" : mend_of(error); /* or by the daemon's words */
        const char *separator = detail[0] != '\0' ? ": " : "";
        switch (error) {
        case -ENOTCONN:
                return complain(EXIT_UNREACHABLE, "bench: %s%s%s%s", buddyclient_strerror(error),
                        separator, detail, mend);
        case -ETIMEDOUT:
        case -EIO:
        case -ECHILD:
                return complain(EXIT_REFUSED,
                        "bench: a process of its own was killed or does not get to run; run it "
                        "again when the machine is less busy");
        default:
                return complain(EXIT_REFUSED, "bench: %s%s",
                        detail[0] != '\0' ? detail : buddyclient_strerror(error), mend);
        }
}

static void pin(struct bench *bench, struct bench_result *result) {
        hold_signals(SIG_BLOCK);
        bench->pin = bench->daemon != 0 ? cpu_pin_new(bench->daemon) : NULL;
        result->daemon_pinned = bench->pin != NULL;
        if (!bench->pin)
                bench->pin = cpu_pin_new(0);
        running.pin = bench->pin;
        hold_signals(SIG_UNBLOCK);
        result->cpu = bench->pin ? cpu_pin_cpu(bench->pin) : -1;
}

/* Pins first, so that the children inherit both the CPU and what to restore. */
static enum exit_status bench_pin(
        const struct invocation *invocation, struct bench *bench, struct bench_result *result) {
        int unanswered = observer_peer_pid(&bench->raw, &bench->daemon);
        if (unanswered != 0)
                return ask_complain_unanswered(unanswered);
        if (!invocation_has(invocation, OPTION_UNPINNED))
                pin(bench, result);
        return EXIT_DONE;
}

static enum exit_status bench_connect(struct bench *bench) {
        int error = echo_start(bench, bench->pin);
        if (error == 0)
                error = partner_echo_start(&bench->futex);
        if (error != 0)
                return complain(EXIT_REFUSED,
                        "bench: cannot start a process: %s; end some, or raise their limit",
                        strerror(-error));
        error = bench_client_new(bench, false, &bench->client);
        if (error == 0)
                error = bench_client_new(bench, true, &bench->cached);
        return error != 0 ? bench_complain(bench, error) : EXIT_DONE;
}

static enum exit_status bench_prepare(
        const struct invocation *invocation, struct bench *bench, struct bench_result *result) {
        struct request_hello hello = {
                .version = PROTOCOL_VERSION,
                .pool = ask_pool(invocation),
                .name = "buddyctl bench",
                .access = ACCESS_READ_WRITE,
        };
        bench->socket = invocation->values[OPTION_SOCKET];
        bench->pool = ask_pool(invocation);
        enum exit_status status = ask_hello(invocation, &hello, &bench->raw, NULL);
        if (status == EXIT_DONE)
                status = bench_pin(invocation, bench, result);
        return status == EXIT_DONE ? bench_connect(bench) : status;
}

static void bench_finish(struct bench *bench) {
        buddyclient_destroy(bench->cached);
        buddyclient_destroy(bench->client);
        observer_close(&bench->raw);
        hold_signals(SIG_BLOCK);
        running.pin = NULL;
        partner_echo_stop(bench->futex);
        echo_stop(bench);
        cpu_pin_restore(bench->pin);
        free(bench);
}

static enum exit_status bench_run(
        const struct invocation *invocation, struct bench_result *result) {
        struct bench *bench = calloc(1, sizeof(*bench));
        if (!bench)
                return complain(EXIT_REFUSED, "out of memory; free some and try again");
        bench->echo_fd = bench->raw.fd = -1;
        enum exit_status status = bench_prepare(invocation, bench, result);
        int error = status == EXIT_DONE ? measure(bench, result) : 0;
        hold_signals(SIG_BLOCK);
        if (error != 0)
                status = bench_complain(bench, error);
        running.status = status;
        hold_signals(SIG_UNBLOCK);
        bench_finish(bench);
        return status;
}

enum exit_status cmd_bench(const struct invocation *invocation) {
        struct bench_result result = {.seconds = SECONDS_DEFAULT, .cpu = -1};
        const char *seconds = invocation->values[OPTION_SECONDS];
        if (seconds &&
                quantity_parse_seconds(seconds, SECONDS_MIN, SECONDS_MAX, &result.seconds) != 0)
                return complain(EXIT_USAGE, "--seconds %s: give seconds from %g to %g", seconds,
                        SECONDS_MIN, SECONDS_MAX);
        catch_signals();
        enum exit_status status = bench_run(invocation, &result);
        if (status == EXIT_DONE)
                (invocation_has(invocation, OPTION_JSON) ? bench_print_json : bench_print_text)(
                        &result);
        return status;
}

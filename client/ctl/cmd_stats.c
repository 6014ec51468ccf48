/* stats: the pool at a glance, once or until interrupted. */
#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "complain.h"
#include "output.h"
#include "quantity.h"
#include "sample.h"
#include "stats_view.h"
#include "terminal.h"

#define WATCH_SECONDS_MIN 0.01
#define WATCH_SECONDS_MAX 86400.0

#define LINE_CELLS 78u

struct stats_wanted {
        bool as_json, clears; /* clears: the screen, before each */
        double every;         /* seconds; 0: once */
        struct columns columns;
};

static bool wants_screen(const struct stats_wanted *wanted) {
        return !wanted->as_json && !wanted->columns.listed;
}

/* The line of the map, if this daemon knows of maps; without it the screen has its figures still. */
static bool line_load(struct observer *observer, const struct sample *sample, struct map *line) {
        const struct reply_stats *stats = &sample->stats;
        char refusal[256];
        complain_divert(refusal, sizeof(refusal));
        enum exit_status status = map_load(observer, stats->size_bytes,
                map_cell_bytes_near(stats->size_bytes, stats->page_bytes, LINE_CELLS), false, line);
        complain_divert(NULL, 0);
        return status == EXIT_DONE;
}

static void stats_print(
        const struct stats_wanted *wanted, const struct stats_screen *screen, bool first) {
        if (wanted->clears)
                terminal_clear(stdout);
        else if (wants_screen(wanted) && !first)
                putchar('\n');
        if (wanted->as_json)
                stats_view_json(stdout, screen);
        else if (wanted->columns.listed)
                stats_view_row(stdout, screen, &wanted->columns, first);
        else
                stats_view_text(stdout, screen);
}

/* before NULL: the first one. */
static enum exit_status stats_once(struct observer *observer, const struct stats_wanted *wanted,
        const struct sample *before, struct sample *now) {
        struct map line = {.count = 0};
        enum exit_status status = sample_take(observer, now);
        if (status != EXIT_DONE)
                return status;
        bool has_line = wants_screen(wanted) && line_load(observer, now, &line);
        struct stats_screen screen = {
                .stats = &now->stats,
                .rates = rates_between(before, now),
                .map = has_line ? &line : NULL,
                .raw_bytes = wanted->columns.raw_bytes,
        };
        stats_print(wanted, &screen, before == NULL);
        if (has_line)
                map_deinit(&line);
        return EXIT_DONE;
}

/* Sleeps; true: interrupted. The signals are blocked all the while, so that none can slip in between. */
static bool interrupted_within(const sigset_t *signals, double seconds) {
        struct timespec pause = {.tv_sec = (time_t)seconds};
        pause.tv_nsec = (long)((seconds - (double)pause.tv_sec) * 1e9);
        int got;
        do
                got = sigtimedwait(signals, NULL, &pause);
        while (got < 0 && errno == EINTR);
        return got > 0;
}

static enum exit_status stats_watch(struct observer *observer, const struct stats_wanted *wanted) {
        struct sample samples[2];
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigprocmask(SIG_BLOCK, &signals, NULL);
        for (unsigned turn = 0;; turn++) {
                const struct sample *before = turn > 0 ? &samples[(turn + 1) % 2] : NULL;
                enum exit_status status = stats_once(observer, wanted, before, &samples[turn % 2]);
                bool reader_gone = false;
                if (status == EXIT_DONE)
                        status = output_flush(&reader_gone);
                if (status != EXIT_DONE || reader_gone ||
                        interrupted_within(&signals, wanted->every))
                        return status;
        }
}

static enum exit_status wanted_read(const struct invocation *invocation, struct stats_wanted *out) {
        const char *every = invocation->values[OPTION_WATCH];
        *out = (struct stats_wanted){.as_json = invocation_has(invocation, OPTION_JSON)};
        if (every && quantity_parse_seconds(
                             every, WATCH_SECONDS_MIN, WATCH_SECONDS_MAX, &out->every) != 0)
                return complain(EXIT_USAGE, "--watch %s: give seconds from %g to %g", every,
                        WATCH_SECONDS_MIN, WATCH_SECONDS_MAX);
        enum exit_status status =
                columns_choose(invocation, stats_columns, stats_column_count, &out->columns);
        out->clears = every && wants_screen(out) && isatty(STDOUT_FILENO);
        return status;
}

enum exit_status cmd_stats(const struct invocation *invocation) {
        struct stats_wanted wanted;
        struct sample sample;
        struct observer observer;
        enum exit_status status = wanted_read(invocation, &wanted);
        if (status == EXIT_DONE)
                status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        status = wanted.every > 0 ? stats_watch(&observer, &wanted)
                                  : stats_once(&observer, &wanted, NULL, &sample);
        observer_close(&observer);
        return status;
}

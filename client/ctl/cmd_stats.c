/* stats: the pool at a glance, once or until interrupted. */
#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"
#include "complain.h"
#include "output.h"
#include "quantity.h"
#include "stats_view.h"
#include "terminal.h"

#define WATCH_SECONDS_MIN 0.01
#define WATCH_SECONDS_MAX 86400.0

static enum exit_status stats_once(struct observer *observer, bool as_json, bool clear) {
        struct request request = {.kind = REQUEST_STATS};
        struct reply reply;
        enum exit_status status = ask(observer, &request, REPLY_STATS, &reply);
        if (status != EXIT_DONE)
                return status;
        if (clear)
                terminal_clear(stdout);
        (as_json ? stats_view_json : stats_view_text)(stdout, &reply.stats);
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

static enum exit_status stats_watch(struct observer *observer, bool as_json, double seconds) {
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigprocmask(SIG_BLOCK, &signals, NULL);
        bool clear = !as_json && isatty(STDOUT_FILENO);
        for (;;) {
                enum exit_status status = stats_once(observer, as_json, clear);
                bool reader_gone = false;
                if (status == EXIT_DONE)
                        status = output_flush(&reader_gone);
                if (status != EXIT_DONE || reader_gone || interrupted_within(&signals, seconds))
                        return status;
                if (!as_json && !clear)
                        putchar('\n');
        }
}

enum exit_status cmd_stats(const struct invocation *invocation) {
        const char *every = invocation->values[OPTION_WATCH];
        bool as_json = invocation_has(invocation, OPTION_JSON);
        double seconds = 0;
        if (every &&
                quantity_parse_seconds(every, WATCH_SECONDS_MIN, WATCH_SECONDS_MAX, &seconds) != 0)
                return complain(EXIT_USAGE, "--watch %s: give seconds from %g to %g", every,
                        WATCH_SECONDS_MIN, WATCH_SECONDS_MAX);
        struct observer observer;
        enum exit_status status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        status = every ? stats_watch(&observer, as_json, seconds)
                       : stats_once(&observer, as_json, false);
        observer_close(&observer);
        return status;
}

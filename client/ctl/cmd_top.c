/* top: a live view of the whole screen. Whatever ends it, the terminal is as it was before. */
#include <errno.h>
#include <ncurses.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "complain.h"
#include "quantity.h"
#include "top_lists.h"

#define EVERY_DEFAULT 1.0
#define EVERY_MIN     0.1
#define EVERY_MAX     3600.0

static volatile sig_atomic_t ended;

static void on_end(int signal) {
        (void)signal;
        ended = 1;
}

/* Signals come in while the loop waits and at no other time. Before ncurses, which would catch them otherwise. */
static void signals_begin(sigset_t *while_waiting) {
        static const int ends[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
        struct sigaction action = {.sa_handler = on_end};
        sigset_t blocked;
        sigemptyset(&blocked);
        for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
                sigaction(ends[i], &action, NULL);
                sigaddset(&blocked, ends[i]);
        }
        sigaddset(&blocked, SIGWINCH);
        sigprocmask(SIG_BLOCK, &blocked, while_waiting);
}

static void key_question(int key, struct top_feed *feed, struct top_state *state) {
        uint32_t session = state->asks;
        state->asks = 0;
        if (key == 'y' || key == 'Y')
                top_feed_kick(feed, session, state->told, sizeof(state->told));
}

static void key_sort(struct top_feed *feed, struct top_state *state, unsigned by) {
        state->sort = (enum roster_key)((state->sort + by) % ROSTER_KEYS);
        roster_sort(&feed->clients, state->sort);
}

static void key_every(struct top_state *state, double times) {
        double every = state->every * times;
        if (every >= EVERY_MIN && every <= EVERY_MAX)
                state->every = every;
}

static void key_kick(const struct top_feed *feed, struct top_state *state) {
        if (top_client_find(&feed->clients, state->selected))
                state->asks = state->selected;
        else
                snprintf(state->told, sizeof(state->told),
                        "select a client first, by the arrow keys");
}

#define PAGE_ROWS 10

static void key_list(int key, struct top_feed *feed, struct top_state *state) {
        long all = (long)feed->clients.count;
        long by = key == KEY_UP      ? -1
                  : key == KEY_DOWN  ? 1
                  : key == KEY_PPAGE ? -PAGE_ROWS
                  : key == KEY_NPAGE ? PAGE_ROWS
                  : key == KEY_HOME  ? -all
                                     : all;
        top_client_move(&feed->clients, state, by);
}

/* False: that was all. *at_once: ask again now. */
static bool key_take(int key, struct top_feed *feed, struct top_state *state, bool *at_once) {
        state->told[0] = '\0';
        if (key != KEY_RESIZE && state->asks != 0) {
                key_question(key, feed, state);
                *at_once = true;
                return true;
        }
        if (key != KEY_RESIZE && state->help) {
                state->help = false;
                return true;
        }
        switch (key) {
        case 'q':
        case 'Q':
                return false;
        case 'h':
        case '?':
                state->help = true;
                break;
        case 's':
        case 'S':
                key_sort(feed, state, key == 's' ? 1 : ROSTER_KEYS - 1);
                break;
        case 'm':
                state->by_client = !state->by_client;
                break;
        case 'o':
                state->lower = (enum top_lower)((state->lower + 1) % TOP_LOWER_KINDS);
                break;
        case 'k':
                key_kick(feed, state);
                break;
        case '+':
        case '-':
                key_every(state, key == '+' ? 0.5 : 2);
                break;
        case ' ':
        case KEY_RESIZE:
                *at_once = true;
                break;
        case KEY_UP:
        case KEY_DOWN:
        case KEY_PPAGE:
        case KEY_NPAGE:
        case KEY_HOME:
        case KEY_END:
                key_list(key, feed, state);
                break;
        default:
                break;
        }
        return true;
}

/* Waits for a key, a signal, or until it is time. False: the terminal is gone. */
static bool wait_until(double time, const sigset_t *while_waiting) {
        double seconds = time - top_clock();
        struct timespec timeout = {0};
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        if (seconds > 0) {
                timeout.tv_sec = (time_t)seconds;
                timeout.tv_nsec = (long)((seconds - (double)timeout.tv_sec) * 1e9);
        }
        int got = ppoll(&input, 1, &timeout, while_waiting);
        return got <= 0 || !(input.revents & (POLLHUP | POLLERR | POLLNVAL));
}

static void top_run(struct top_feed *feed, struct top_state *state, const sigset_t *while_waiting) {
        double next = top_clock();
        while (!ended) {
                if (top_clock() >= next) {
                        struct top_wanted wanted = {top_screen_cells(), state->sort};
                        top_feed_update(feed, &wanted);
                        next = top_clock() + state->every;
                }
                top_screen_draw(feed, state);
                if (!wait_until(next, while_waiting))
                        return;
                bool at_once = false;
                for (int key; (key = getch()) != ERR;)
                        if (!key_take(key, feed, state, &at_once))
                                return;
                if (at_once)
                        next = top_clock();
        }
}

static enum exit_status top_on_terminal(struct top_feed *feed, struct top_state *state) {
        sigset_t while_waiting;
        signals_begin(&while_waiting);
        SCREEN *screen = terminal_is_known() ? newterm(NULL, stdout, stdin) : NULL;
        if (!screen)
                return complain(EXIT_REFUSED,
                        "top does not know this terminal; set TERM to what it is, or use "
                        "\"stats --watch\"");
        cbreak();
        noecho();
        nodelay(stdscr, TRUE);
        keypad(stdscr, TRUE);
        set_escdelay(25);
        top_screen_begin();
        top_run(feed, state, &while_waiting);
        endwin();
        delscreen(screen);
        return EXIT_DONE;
}

static enum exit_status state_read(const struct invocation *invocation, struct top_state *state) {
        const char *every = invocation->values[OPTION_WATCH];
        const char *sort = invocation->values[OPTION_SORT];
        const char *by = invocation->values[OPTION_BY];
        *state = (struct top_state){.every = EVERY_DEFAULT, .sort = ROSTER_HELD};
        state->by_client = by && strcmp(by, "client") == 0;
        if (by && !state->by_client && strcmp(by, "share") != 0)
                return complain(EXIT_USAGE, "--by %s: give share or client", by);
        if (every && quantity_parse_seconds(every, EVERY_MIN, EVERY_MAX, &state->every) != 0)
                return complain(EXIT_USAGE, "--watch %s: give seconds from %g to %g", every,
                        EVERY_MIN, EVERY_MAX);
        if (sort && roster_key_parse(sort, &state->sort) != 0)
                return complain(EXIT_USAGE,
                        "--sort %s: give id, name, pid, uid, held, cached or waiting", sort);
        if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
                return complain(EXIT_USAGE,
                        "top needs a terminal; use \"stats --watch\" to write elsewhere");
        return EXIT_DONE;
}

enum exit_status cmd_top(const struct invocation *invocation) {
        struct top_state state;
        struct top_feed feed;
        enum exit_status status = state_read(invocation, &state);
        if (status == EXIT_DONE)
                status = top_feed_open(&feed, invocation);
        if (status != EXIT_DONE)
                return status;
        status = top_on_terminal(&feed, &state);
        top_feed_close(&feed);
        return status;
}

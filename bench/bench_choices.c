/* Compares buddyd with what a user would take instead, on the same sizes in one run: the C libraries' allocators in
 * process, and Boost.Interprocess where processes share memory. Starts a daemon of its own. Each choice runs for a
 * short slice in turn with the others, again and again. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "choices_run.h"
#include "malloc_library.h"

#define SLICE_MS_MAX 1000u

struct settings {
        unsigned rounds, slice_ms;
        const char *buddyd; /* NULL: beside this program in the build tree */
        bool json, help;
};

static const char usage[] =
        "usage: bench_choices [--buddyd PATH] [--rounds N] [--slice-ms N] [--json]\n"
        "  --buddyd PATH    the daemon to start (default: that of the same build)\n"
        "  --rounds N       interleaved rounds, 1 to 99 (default 31)\n"
        "  --slice-ms N     how long each choice runs in a round, 1 to 1000 (default 3)\n"
        "  --json           print JSON\n"
        "Exit status: 0 done, 1 could not measure, 2 wrong usage.\n";

static int parse_number(const char *option, const char *text, unsigned max, unsigned *out) {
        char *end;
        errno = 0;
        unsigned long value = strtoul(text, &end, 10);
        if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < 1 ||
                value > max) {
                fprintf(stderr, "bench_choices: %s %s: give a number from 1 to %u\n", option, text,
                        max);
                return -1;
        }
        *out = (unsigned)value;
        return 0;
}

/* -1: refused and said so; -2: unknown. */
static int parse_option(int option, struct settings *settings) {
        switch (option) {
        case 'b':
                settings->buddyd = optarg;
                return 0;
        case 'r':
                return parse_number("--rounds", optarg, ROUNDS_MAX, &settings->rounds);
        case 's':
                return parse_number("--slice-ms", optarg, SLICE_MS_MAX, &settings->slice_ms);
        case 'j':
                settings->json = true;
                return 0;
        case 'h':
                settings->help = true;
                return 0;
        default:
                return -2;
        }
}

static int parse(int argc, char **argv, struct settings *settings) {
        static const struct option options[] = {
                {"buddyd", required_argument, NULL, 'b'},
                {"rounds", required_argument, NULL, 'r'},
                {"slice-ms", required_argument, NULL, 's'},
                {"json", no_argument, NULL, 'j'},
                {"help", no_argument, NULL, 'h'},
                {0},
        };
        int error = 0;
        opterr = 0;
        for (int option; error == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
                error = parse_option(option, settings);
        if (error == -2)
                fprintf(stderr, "bench_choices: %s: no such option, or no value; see --help\n",
                        argv[optind - 1]);
        else if (error == 0 && optind < argc)
                fprintf(stderr, "bench_choices: %s: it takes options only; see --help\n",
                        argv[optind]);
        return error == 0 && optind == argc ? 0 : -1;
}

/* PATH_MAX bytes. -1: not found. */
static int find_buddyd(char *path) {
        ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
        path[length > 0 ? length : 0] = '\0';
        char *slash = strrchr(path, '/');
        static const char beside[] = "/../daemon/buddyd";
        if (!slash || (size_t)(slash - path) + sizeof(beside) > PATH_MAX)
                return -1;
        memcpy(slash, beside, sizeof(beside));
        return 0;
}

/* The first two that this process may use; the same one twice if there is no second. */
static void find_cpus(int cpus[2]) {
        cpu_set_t set;
        CPU_ZERO(&set);
        sched_getaffinity(0, sizeof(set), &set);
        unsigned found = 0;
        for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
                if (CPU_ISSET((size_t)cpu, &set))
                        cpus[found++] = cpu;
        if (found == 1)
                cpus[1] = cpus[0];
}

/* So that an interrupted run also ends its daemon and removes what it made. */
static void hold_signals(void) {
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigprocmask(SIG_BLOCK, &signals, NULL);
}

static int run(const struct settings *settings) {
        static struct choices_result result; /* its size, not its life */
        static struct choices_daemon daemon;
        char beside[PATH_MAX];
        if (!settings->buddyd && find_buddyd(beside) != 0) {
                fputs("bench_choices: cannot tell where the daemon is; name it with --buddyd\n",
                        stderr);
                return 1;
        }
        result.rounds = settings->rounds;
        result.slice_ms = settings->slice_ms;
        find_cpus(result.cpus);
        hold_signals();
        int error = choices_daemon_start(&daemon, settings->buddyd ? settings->buddyd : beside);
        if (error == 0) {
                choices_prepare();
                error = choices_run(&daemon, &result);
        }
        choices_daemon_stop(&daemon);
        if (error != 0)
                return 1;
        (settings->json ? choices_print_json : choices_print_table)(&result);
        return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
        struct settings settings = {.rounds = 31, .slice_ms = 3};
        if (parse(argc, argv, &settings) != 0)
                return 2;
        if (settings.help) {
                fputs(usage, stdout);
                return 0;
        }
        malloc_make_room(argv);
        return run(&settings);
}

/* The command line of buddyd. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "settings_source.h"

static const char help_text[] =
        "usage: buddyd [OPTION]...\n"
        "Serves shared memory pools to the processes of this machine.\n"
        "\n"
        "  --config FILE        read FILE; the command line wins over it\n"
        "  --socket PATH        listen here, else on $BUDDYD_SOCKET, else as root on\n"
        "                       /run/buddyd/, else on $XDG_RUNTIME_DIR/buddyd/buddyd.sock\n"
        "  --metrics-socket PATH  serve metrics there, too; off is the default\n"
        "  --socket-mode MODE   permissions of the socket, octal (0600)\n"
        "  --socket-group GROUP group of the socket, name or gid\n"
        "  --pool NAME          the pool that the next five are about (default)\n"
        "  --size BYTES         size of the pool (1G); BYTES may end in K, M, G or T\n"
        "  --max-size BYTES     size that it may grow to (its size)\n"
        "  --page-size BYTES    smallest range that is granted, a power of two (4K)\n"
        "  --backing KIND       posix-shm or memfd (posix-shm)\n"
        "  --commit WHEN        reserve memory at start, eager, or on use, lazy (eager)\n"
        "  --workers N          threads that serve clients (a CPU each, at most 4)\n"
        "  --keep               keep the pools' contents after a clean stop\n"
        "  --reset              throw away what an earlier daemon left\n"
        "  --version, --help    print and exit\n"
        "\n"
        "Exit status: 0 stopped cleanly, 1 could not run, 2 wrong usage or configuration.\n";

/* Those from OPTION_KEY on are keys of the configuration. All values differ, or getopt_long would take an
 * ambiguous abbreviation for one of them. */
enum option_value {
        OPTION_CONFIG = 256,
        OPTION_POOL,
        OPTION_KEEP,
        OPTION_RESET,
        OPTION_VERSION,
        OPTION_HELP,
        OPTION_KEY,
};

static const struct option long_options[] = {
        {"config", required_argument, NULL, OPTION_CONFIG},
        {"pool", required_argument, NULL, OPTION_POOL},
        {"keep", no_argument, NULL, OPTION_KEEP},
        {"reset", no_argument, NULL, OPTION_RESET},
        {"version", no_argument, NULL, OPTION_VERSION},
        {"help", no_argument, NULL, OPTION_HELP},
        {"socket", required_argument, NULL, OPTION_KEY},
        {"metrics-socket", required_argument, NULL, OPTION_KEY + 9},
        {"socket-mode", required_argument, NULL, OPTION_KEY + 1},
        {"socket-group", required_argument, NULL, OPTION_KEY + 2},
        {"size", required_argument, NULL, OPTION_KEY + 3},
        {"max-size", required_argument, NULL, OPTION_KEY + 4},
        {"page-size", required_argument, NULL, OPTION_KEY + 5},
        {"backing", required_argument, NULL, OPTION_KEY + 6},
        {"commit", required_argument, NULL, OPTION_KEY + 7},
        {"workers", required_argument, NULL, OPTION_KEY + 8},
        {NULL, 0, NULL, 0},
};

static enum settings_outcome usage(const char *option, const char *fault) {
        log_error("%s: %s", option, fault);
        return SETTINGS_EXIT_USAGE;
}

static enum settings_outcome no_memory(void) {
        log_error("out of memory; free some");
        return SETTINGS_EXIT_FAILED;
}

/* The one pool of the command line, made when the first option about it comes. */
static struct pool_source *options_pool(struct options *options) {
        if (options->source.pool_count)
                return &options->source.pools[0];
        return settings_source_add(&options->source, POOL_NAME_DEFAULT, 0);
}

static enum settings_outcome options_name_pool(struct options *options, const char *name) {
        char fault[SOURCE_FAULT_BYTES];
        if (!pool_name_check(name, fault))
                return usage("--pool", fault);
        struct pool_source *pool = options_pool(options);
        if (!pool)
                return no_memory();
        snprintf(pool->pool.name, sizeof(pool->pool.name), "%s", name);
        return SETTINGS_RUN;
}

static enum settings_outcome options_set(
        struct options *options, const char *name, const char *value) {
        char shown[32];
        snprintf(shown, sizeof(shown), "--%s", name);
        const struct setting_key *key = setting_key_find(name, SETTING_DAEMON);
        struct pool_source *pool = NULL;
        if (!key) {
                key = setting_key_find(name, SETTING_POOL);
                pool = options_pool(options);
                if (!pool)
                        return no_memory();
        }
        char fault[SOURCE_FAULT_BYTES];
        if (!key->parse(&options->source, pool, value, fault))
                return *fault ? usage(shown, fault) : no_memory();
        return SETTINGS_RUN;
}

static enum settings_outcome options_config(struct options *options, const char *path) {
        if (!*path)
                return usage("--config", "the file's name is empty; give one");
        char *copy = strdup(path);
        if (!copy)
                return no_memory();
        free(options->config_path);
        options->config_path = copy;
        return SETTINGS_RUN;
}

static enum settings_outcome options_print(const char *text) {
        if (fputs(text, stdout) == EOF || fflush(stdout) == EOF) {
                log_error("cannot write to standard output: %s; give it somewhere to go",
                        strerror(errno));
                return SETTINGS_EXIT_FAILED;
        }
        return SETTINGS_EXIT_DONE;
}

static enum settings_outcome options_take(
        struct options *options, int value, const struct option *option, const char *argument) {
        if (value >= OPTION_KEY)
                return options_set(options, option->name, argument);
        switch (value) {
        case OPTION_CONFIG:
                return options_config(options, argument);
        case OPTION_POOL:
                return options_name_pool(options, argument);
        case OPTION_KEEP:
                options->source.keep = true;
                options->source.set |= SOURCE_SET_KEEP;
                return SETTINGS_RUN;
        case OPTION_RESET:
                options->reset = true;
                return SETTINGS_RUN;
        case OPTION_VERSION:
                return options_print("buddyd " BUDDYD_VERSION "\n");
        case OPTION_HELP:
                return options_print(help_text);
        case ':':
                return usage(argument, "needs a value; see buddyd --help");
        default:
                return usage(argument, "no such option, or not so to be given; see buddyd --help");
        }
}

enum settings_outcome options_read(int argc, char **argv, struct options *out) {
        struct options options = {0};
        enum settings_outcome outcome = SETTINGS_RUN;
        opterr = 0;
        optind = 0; /* 0, not 1: glibc forgets an earlier scan */
        while (outcome == SETTINGS_RUN) {
                int index = 0;
                int value = getopt_long(argc, argv, "+:", long_options, &index);
                if (value == -1)
                        break;
                char letter[] = {'-', (char)optopt, '\0'};
                const char *argument = optarg;
                if (value < OPTION_CONFIG) /* refused: show it as it was written */
                        argument = optopt && optopt < OPTION_CONFIG ? letter : argv[optind - 1];
                outcome = options_take(&options, value, &long_options[index], argument);
        }
        if (outcome == SETTINGS_RUN && optind < argc)
                outcome = usage(argv[optind], "buddyd takes options only; see buddyd --help");
        if (outcome == SETTINGS_RUN)
                *out = options;
        else
                options_deinit(&options);
        return outcome;
}

void options_deinit(struct options *options) {
        settings_source_deinit(&options->source);
        free(options->config_path);
        options->config_path = NULL;
}

/* The command line. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_USAGE 2

static const char help_text[] =
        "Usage: model [OPTION]... publish KEY FILE\n"
        "       model [OPTION]... use KEY [--seconds N]\n"
        "       model [OPTION]... drop KEY\n"
        "Keeps a file in a buddyd pool under a key, also when nobody uses it.\n"
        "\n"
        "  publish   reads the file into the pool; if the key exists, it is moved in one step\n"
        "  use       prints SHA-256 and size of what is under the key; with --seconds looks again\n"
        "            every second and goes over to what has replaced it\n"
        "  drop      removes the key; the memory is free when its last user has gone\n"
        "\n"
        "  -s, --socket PATH   the daemon's socket (default: $BUDDYD_SOCKET, else the system's)\n"
        "  -p, --pool NAME     the pool (default: default)\n"
        "      --seconds N     for how long to follow the key\n"
        "  -h, --help          this text\n"
        "\n"
        "Exit status: 0 done; 1 refused or failed; 2 wrong command line.\n";

enum { OPTION_SECONDS = 256 };

static const struct option long_options[] = {
        {"socket", required_argument, NULL, 's'},
        {"pool", required_argument, NULL, 'p'},
        {"seconds", required_argument, NULL, OPTION_SECONDS},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
};

static const struct {
        const char *name;
        int arguments;
} commands[] = {
        [COMMAND_PUBLISH] = {"publish", 2},
        [COMMAND_USE] = {"use", 1},
        [COMMAND_DROP] = {"drop", 1},
};

static bool refuse(const char *why, const char *text) {
        fprintf(stderr, "model: %s \"%s\"; see model --help\n", why, text);
        return false;
}

static bool seconds_read(uint64_t *out) {
        char *end;
        errno = 0;
        unsigned long long value = strtoull(optarg, &end, 10);
        if (optarg[0] < '0' || optarg[0] > '9' || errno || *end)
                return refuse("--seconds wants a number, not", optarg);
        *out = value;
        return true;
}

static bool option_take(int option, struct options *options) {
        switch (option) {
        case 's':
                options->socket = optarg;
                return true;
        case 'p':
                options->pool = optarg;
                return true;
        case OPTION_SECONDS:
                return seconds_read(&options->seconds);
        default:
                return false; /* getopt has said why */
        }
}

static bool command_read(int count, char **words, struct options *options) {
        if (count == 0)
                return refuse("a command is needed, not", "");
        size_t command = 0;
        while (command < sizeof(commands) / sizeof(commands[0]) &&
                strcmp(words[0], commands[command].name) != 0)
                command++;
        if (command == sizeof(commands) / sizeof(commands[0]))
                return refuse("no command is called", words[0]);
        if (count != 1 + commands[command].arguments)
                return refuse("wrong number of arguments for", words[0]);
        if (options->seconds && command != COMMAND_USE)
                return refuse("--seconds is not for", words[0]);
        options->command = (enum command)command;
        options->key = words[1];
        options->file = command == COMMAND_PUBLISH ? words[2] : NULL;
        return true;
}

bool options_read(int argc, char **argv, struct options *out, int *exit_code) {
        struct options options = {0};
        *exit_code = EXIT_USAGE;
        int option;
        while ((option = getopt_long(argc, argv, "s:p:h", long_options, NULL)) != -1) {
                if (option == 'h') {
                        *exit_code = fputs(help_text, stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
                        return false;
                }
                if (!option_take(option, &options))
                        return false;
        }
        if (!command_read(argc - optind, argv + optind, &options))
                return false;
        *out = options;
        return true;
}

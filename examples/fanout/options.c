/* The command line. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define EXIT_USAGE 2

static const char help_text[] =
        "Usage: fanout [OPTION]...\n"
        "One publisher fills a range of a buddyd pool; several readers attach to it read-only, "
        "check\n"
        "its bytes and release it. The publisher releases it first, so the last reader frees it.\n"
        "\n"
        "  -s, --socket PATH   the daemon's socket (default: $BUDDYD_SOCKET, else the system's)\n"
        "  -p, --pool NAME     the pool (default: default)\n"
        "  -r, --readers N     reader processes, 1 to 64 (default: 3)\n"
        "  -b, --bytes N       bytes to hand over, from 1 up (default: 1048576)\n"
        "  -n, --rounds N      how often, from 1 up (default: 3)\n"
        "  -h, --help          this text\n"
        "\n"
        "Exit status: 0 all readers saw the right bytes; 1 something failed; 2 wrong command "
        "line.\n";

static const struct option long_options[] = {
        {"socket", required_argument, NULL, 's'},
        {"pool", required_argument, NULL, 'p'},
        {"readers", required_argument, NULL, 'r'},
        {"bytes", required_argument, NULL, 'b'},
        {"rounds", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
};

static bool number_read(const char *name, uint64_t highest, uint64_t *out) {
        char *end;
        errno = 0;
        unsigned long long value = strtoull(optarg, &end, 10);
        if (optarg[0] < '0' || optarg[0] > '9' || errno || *end || value < 1 || value > highest) {
                fprintf(stderr, "fanout: --%s wants a number from 1 to %llu, not \"%s\"\n", name,
                        (unsigned long long)highest, optarg);
                return false;
        }
        *out = value;
        return true;
}

static bool option_take(int option, struct options *options) {
        uint64_t readers;
        switch (option) {
        case 's':
                options->socket = optarg;
                return true;
        case 'p':
                options->pool = optarg;
                return true;
        case 'r':
                if (!number_read("readers", READERS_MAX, &readers))
                        return false;
                options->readers = (unsigned)readers;
                return true;
        case 'b':
                return number_read("bytes", INT64_MAX, &options->bytes);
        case 'n':
                return number_read("rounds", INT64_MAX, &options->rounds);
        default:
                return false; /* getopt has said why */
        }
}

bool options_read(int argc, char **argv, struct options *out, int *exit_code) {
        struct options options = {.readers = 3, .bytes = 1 << 20, .rounds = 3};
        *exit_code = EXIT_USAGE;
        int option;
        while ((option = getopt_long(argc, argv, "s:p:r:b:n:h", long_options, NULL)) != -1) {
                if (option == 'h') {
                        *exit_code = fputs(help_text, stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
                        return false;
                }
                if (!option_take(option, &options))
                        return false;
        }
        if (optind != argc) {
                fprintf(stderr, "fanout: \"%s\" is no option; see fanout --help\n", argv[optind]);
                return false;
        }
        *out = options;
        return true;
}

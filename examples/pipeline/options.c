/* The command line. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help_text[] =
        "Usage: pipeline [OPTION]... FOLDER\n"
        "Computes SHA-256 and zlib-compressed size of every file below FOLDER. File bytes are read "
        "once\n"
        "into a buddyd pool and passed between processes by offset, never by copy.\n"
        "\n"
        "  -s, --socket PATH           the daemon's socket (default: $BUDDYD_SOCKET, else the "
        "system's)\n"
        "  -p, --pool NAME             the pool (default: default)\n"
        "  -w, --workers N             worker processes, 1 to 64 (default: one per CPU)\n"
        "  -o, --output FILE           where the table goes (default: standard output)\n"
        "      --kill-worker-after N   drill: kill one worker with SIGKILL once the workers have "
        "given N\n"
        "                              answers; every piece of a file is one, of 256 KiB at most\n"
        "  -h, --help                  this text\n"
        "\n"
        "The table has a line per file, in the order of completion, fields divided by tabs:\n"
        "  SHA-256, bytes, bytes after zlib level 1, path\n"
        "Names are escaped as sha256sum does it, so that the table can be checked:\n"
        "  sed 's/\\t[0-9]*\\t[0-9]*\\t/  /' TABLE | sha256sum --check --quiet\n"
        "Progress, a picture of the pool and the closing report go to standard error.\n"
        "\n"
        "Exit status: 0 all done; 1 could not run or broke off; 2 wrong command line;\n"
        "3 done, but some files could not be read; 130 interrupted.\n";

enum { OPTION_DRILL = 256 };

static const struct option long_options[] = {
        {"socket", required_argument, NULL, 's'},
        {"pool", required_argument, NULL, 'p'},
        {"workers", required_argument, NULL, 'w'},
        {"output", required_argument, NULL, 'o'},
        {"kill-worker-after", required_argument, NULL, OPTION_DRILL},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
};

static bool number_read(const char *text, uint64_t lowest, uint64_t highest, uint64_t *out) {
        if (text[0] < '0' || text[0] > '9')
                return false;
        char *end;
        errno = 0;
        unsigned long long value = strtoull(text, &end, 10);
        if (errno || *end || value < lowest || value > highest)
                return false;
        *out = value;
        return true;
}

static bool refuse(const char *what, const char *text) {
        fprintf(stderr, "pipeline: %s \"%s\"; see pipeline --help\n", what, text);
        return false;
}

static bool option_take(int option, struct options *options) {
        uint64_t number;
        switch (option) {
        case 's':
                options->socket = optarg;
                return true;
        case 'p':
                options->pool = optarg;
                return true;
        case 'o':
                options->output = optarg;
                return true;
        case 'w':
                if (!number_read(optarg, 1, WORKERS_MAX, &number))
                        return refuse("--workers wants a number from 1 to 64, not", optarg);
                options->workers = (unsigned)number;
                return true;
        case OPTION_DRILL:
                if (!number_read(optarg, 1, UINT64_MAX, &options->drill_after))
                        return refuse("--kill-worker-after wants a number from 1 up, not", optarg);
                options->drill = true;
                return true;
        default:
                return false; /* getopt has said why */
        }
}

static void strip_slashes(char *folder) {
        size_t length = strlen(folder);
        while (length > 1 && folder[length - 1] == '/')
                folder[--length] = '\0';
}

bool options_read(int argc, char **argv, struct options *out, int *exit_code) {
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        struct options options = {.workers = cpus < 1             ? 1
                                             : cpus > WORKERS_MAX ? WORKERS_MAX
                                                                  : (unsigned)cpus};
        *exit_code = EXIT_USAGE;
        int option;
        while ((option = getopt_long(argc, argv, "s:p:w:o:h", long_options, NULL)) != -1) {
                if (option == 'h') {
                        *exit_code = fputs(help_text, stdout) < 0 ? EXIT_BROKEN : EXIT_ALL_DONE;
                        return false;
                }
                if (!option_take(option, &options))
                        return false;
        }
        if (argc - optind != 1 || !argv[optind][0]) {
                fprintf(stderr, "pipeline: name one folder; see pipeline --help\n");
                return false;
        }
        strip_slashes(argv[optind]);
        options.folder = argv[optind];
        *out = options;
        return true;
}

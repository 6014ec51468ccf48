/* What the daemon was asked for: defaults, then the config file, then the command line. Plain data;
 * filled once before anything is started, read-only afterwards. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/quota.h"

#define POOL_NAME_MAX 48 /* characters of a pool name: letters, digits, '.', '_', '-' */

enum backing {
        BACKING_POSIX_SHM,
        BACKING_MEMFD,
};

enum commit {
        COMMIT_EAGER, /* all pages are reserved before the daemon says ready */
        COMMIT_LAZY,  /* pages are reserved when they are first granted */
};

#define ID_LIST_MAX 64u

/* Uids or gids. */
struct id_list {
        uint32_t count;
        uint32_t ids[ID_LIST_MAX];
};

/* Who may use a pool. All lists empty: whoever can connect to the socket. */
struct admission_settings {
        struct id_list users, groups;                     /* read-write */
        struct id_list read_only_users, read_only_groups; /* not in one of those: read-only */
};

struct pool_settings {
        char name[POOL_NAME_MAX + 1];
        uint64_t size_bytes;
        uint64_t max_size_bytes; /* >= size_bytes; equal unless asked for */
        uint64_t page_bytes;     /* a power of two */
        enum backing backing;
        enum commit commit;
        bool keep;                   /* keep segment and ledger after a clean stop */
        unsigned trim_after_seconds; /* give back what is free for so long; lazy only; 0: never */
        bool admin_group_set;
        gid_t admin_group;      /* may operate it, beside root and the daemon's user */
        unsigned grace_seconds; /* for clients whose process cannot be seen, after a restart */
        bool scrub;             /* a range is zeroed before it is granted */
        struct admission_settings admission;
        uint64_t limits[QUOTA_END]; /* by enum quota; those of the whole daemon are in settings */
};

struct settings {
        char *socket_path;        /* owned; "" if none is known and one is inherited */
        bool socket_path_default; /* neither asked for nor in the environment: its folder may be made */
        char *metrics_path;       /* of the socket of metrics; owned; NULL: there is none */
        mode_t socket_mode;       /* of both; 0600 unless set */
        bool socket_group_set;
        gid_t socket_group;
        unsigned workers;            /* worker loops; at least 1 */
        bool configured;             /* by a config file, among others */
        bool reset;                  /* throw away what a predecessor left */
        uint64_t limits[QUOTA_END];  /* by enum quota: those of the whole daemon */
        struct pool_settings *pools; /* owned; at least one, names differ */
        size_t pool_count;
};

enum settings_outcome {
        SETTINGS_RUN,
        SETTINGS_EXIT_DONE,   /* --help or --version was printed: exit 0 */
        SETTINGS_EXIT_FAILED, /* the system did not let us, and said why in one line: exit 1 */
        SETTINGS_EXIT_USAGE,  /* refused, and said why in one line: exit 2 */
};

/* Reads command line, environment and config file. Prints help, version or the one-line refusal. */
enum settings_outcome settings_load(int argc, char **argv, struct settings *out);
void settings_deinit(struct settings *settings);

/* "1G", "64M", "4096": bytes with an optional power-of-two suffix. -EINVAL, -ERANGE. */
int settings_parse_bytes(const char *text, uint64_t *bytes);

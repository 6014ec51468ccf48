/* What one source, the command line or a config file, asks for. A key of the file and the long option
 * of the same name take the same values and are parsed by the same function. */
#pragma once

#include "settings.h"

#define SOURCE_FAULT_BYTES 512
#define POOL_NAME_DEFAULT  "default"

/* Bits of pool_source.set. */
#define POOL_SET_SIZE     (1u << 0)
#define POOL_SET_MAX_SIZE (1u << 1)
#define POOL_SET_PAGE     (1u << 2)
#define POOL_SET_BACKING  (1u << 3)
#define POOL_SET_COMMIT   (1u << 4)
#define POOL_SET_KEEP     (1u << 5)
#define POOL_SET_GRACE    (1u << 6)
#define POOL_SET_SCRUB    (1u << 7)
/* Admission counts without a bit: its lists are in the file alone, and empty unless given. */
#define POOL_SET_TRIM (1u << 8)

/* Bits of settings_source.set. */
#define SOURCE_SET_MODE    (1u << 0)
#define SOURCE_SET_GROUP   (1u << 1)
#define SOURCE_SET_WORKERS (1u << 2)
#define SOURCE_SET_KEEP    (1u << 3)

struct pool_source {
        unsigned line;       /* where its section begins; 0 on the command line */
        unsigned set;        /* which fields of pool count; the name always does */
        unsigned limits_set; /* and which of its limits: bits by enum quota */
        struct pool_settings pool;
};

struct settings_source {
        unsigned set;
        unsigned limits_set; /* bits by enum quota */
        uint64_t limits[QUOTA_END];
        char *socket_path;  /* owned; NULL: not named */
        char *metrics_path; /* owned; NULL: not named; empty: off */
        mode_t socket_mode;
        gid_t socket_group;
        unsigned workers;
        bool keep;
        bool admin_group_set;
        gid_t admin_group;
        struct pool_source *pools; /* owned */
        size_t pool_count;
};

void settings_source_deinit(struct settings_source *source);

/* True if a pool may be called so; else why not, and what would do, is in fault. */
bool pool_name_check(const char *name, char fault[static SOURCE_FAULT_BYTES]);

/* The pool of this name, or NULL. */
struct pool_source *settings_source_find(const struct settings_source *source, const char *name);

/* Adds a pool that asks for nothing yet. The pointer lives until the next call. NULL: no memory. */
struct pool_source *settings_source_add(
        struct settings_source *source, const char *name, unsigned line);

enum setting_scope {
        SETTING_DAEMON = 1, /* belongs into [buddyd] */
        SETTING_POOL = 2,   /* belongs into [pool NAME] */
};

typedef bool setting_parse(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]);

/* One key. Parses the value into source (SETTING_DAEMON) or pool (SETTING_POOL); the other is NULL.
 * False: cause and mend are in fault, nothing is changed; an empty fault: memory has run out. */
struct setting_key {
        const char *name;
        enum setting_scope scope;
        setting_parse *parse;
};

/* The keys of admission and quotas, for the table of all keys. */
setting_parse setting_allow_users, setting_allow_groups, setting_read_only_users,
        setting_read_only_groups;
#define X(name, text, number, of_daemon) setting_parse setting_quota_##name;
QUOTA_LIST(X)
#undef X

/* Puts a refusal into fault; false. */
bool setting_refuse(char *fault, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool setting_refuse_memory(char *fault);

/* The key of this name in this scope, or NULL. */
const struct setting_key *setting_key_find(const char *name, enum setting_scope scope);

/* "size, max-size, …": all keys of a scope, for refusals. */
void setting_key_list(enum setting_scope scope, char *text, size_t text_bytes);

/* The command line. */
struct options {
        struct settings_source source; /* at most one pool */
        char *config_path;             /* owned; NULL: none */
        bool reset;
};
enum settings_outcome options_read(int argc, char **argv, struct options *out);
void options_deinit(struct options *options);

/* A config file. 0, or after one logged line -EINVAL; -ENOMEM, -EMFILE, -ENFILE: the system has none left. */
int config_read(const char *path, struct settings_source *out);

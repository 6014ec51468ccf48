/* The keys of the configuration: their names, their values, and where they belong. */
#include "settings_source.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS_MAX       64
#define GRACE_SECONDS_MAX 86400
#define TRIM_SECONDS_MAX  31536000 /* a year */

bool setting_refuse(char *fault, const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(fault, SOURCE_FAULT_BYTES, format, arguments);
        va_end(arguments);
        return false;
}

bool setting_refuse_memory(char *fault) {
        *fault = '\0';
        return false;
}

static bool parse_unsigned(const char *text, int base, unsigned long max, unsigned long *out) {
        if (!isdigit((unsigned char)*text))
                return false;
        errno = 0;
        char *end;
        unsigned long value = strtoul(text, &end, base);
        if (errno || *end || value > max)
                return false;
        *out = value;
        return true;
}

static bool parse_bytes(const char *value, uint64_t *out, char *fault) {
        int error = settings_parse_bytes(value, out);
        if (error == -ERANGE)
                return setting_refuse(
                        fault, "'%.64s' bytes are more than 64 bits can count; give less", value);
        if (error)
                return setting_refuse(fault,
                        "'%.64s' is not a number of bytes; give digits and perhaps K, M, G or T, "
                        "as in 512M",
                        value);
        return true;
}

static bool parse_yes_no(const char *value, bool *out, char *fault) {
        static const char *const words[2][4] = {
                {"no", "false", "off", "0"}, {"yes", "true", "on", "1"}};
        for (unsigned i = 0; i < 8; i++) {
                if (strcmp(value, words[i / 4][i % 4]) == 0) {
                        *out = i / 4;
                        return true;
                }
        }
        return setting_refuse(fault, "'%.64s' is neither yes nor no; give one of these", value);
}

static bool parse_socket(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)pool;
        if (!*value)
                return setting_refuse(fault, "the socket's path is empty; give one");
        char *path = strdup(value);
        if (!path)
                return setting_refuse_memory(fault);
        free(source->socket_path);
        source->socket_path = path;
        return true;
}

static bool parse_metrics_socket(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)pool;
        if (!*value)
                return setting_refuse(fault, "the path is empty; give one, or off");
        char *path = strdup(strcmp(value, "off") == 0 ? "" : value);
        if (!path)
                return setting_refuse(fault, "out of memory; free some");
        free(source->metrics_path);
        source->metrics_path = path;
        return true;
}

static bool parse_socket_mode(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)pool;
        unsigned long mode;
        if (!parse_unsigned(value, 8, 0777, &mode))
                return setting_refuse(
                        fault, "'%.64s' is not a file mode; give an octal one such as 0660", value);
        source->socket_mode = (mode_t)mode;
        source->set |= SOURCE_SET_MODE;
        return true;
}

static bool parse_group(const char *value, gid_t *out, char *fault) {
        const struct group *group = getgrnam(value);
        unsigned long gid;
        if (group)
                gid = group->gr_gid;
        else if (!parse_unsigned(value, 10, UINT32_MAX - 1ul, &gid))
                return setting_refuse(fault,
                        "there is no group '%.64s'; create it, or give another one or a gid",
                        value);
        *out = (gid_t)gid;
        return true;
}

static bool parse_daemon_admin_group(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)pool;
        if (!parse_group(value, &source->admin_group, fault))
                return false;
        source->admin_group_set = true;
        return true;
}

static bool parse_pool_admin_group(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        if (!parse_group(value, &pool->pool.admin_group, fault))
                return false;
        pool->pool.admin_group_set = true;
        return true;
}

static bool parse_socket_group(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)pool;
        if (!parse_group(value, &source->socket_group, fault))
                return false;
        source->set |= SOURCE_SET_GROUP;
        return true;
}

static bool parse_workers(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)pool;
        unsigned long workers;
        if (!parse_unsigned(value, 10, WORKERS_MAX, &workers) || workers == 0)
                return setting_refuse(fault, "'%.64s' is not a number of workers; give 1 to %d",
                        value, WORKERS_MAX);
        source->workers = (unsigned)workers;
        source->set |= SOURCE_SET_WORKERS;
        return true;
}

static bool parse_daemon_keep(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)pool;
        if (!parse_yes_no(value, &source->keep, fault))
                return false;
        source->set |= SOURCE_SET_KEEP;
        return true;
}

static bool parse_pool_keep(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        if (!parse_yes_no(value, &pool->pool.keep, fault))
                return false;
        pool->set |= POOL_SET_KEEP;
        return true;
}

static bool parse_grace(struct settings_source *source, struct pool_source *pool, const char *value,
        char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        unsigned long seconds;
        if (!parse_unsigned(value, 10, GRACE_SECONDS_MAX, &seconds))
                return setting_refuse(fault, "'%.64s' is not a number of seconds; give 0 to %d",
                        value, GRACE_SECONDS_MAX);
        pool->pool.grace_seconds = (unsigned)seconds;
        pool->set |= POOL_SET_GRACE;
        return true;
}

static bool parse_scrub(struct settings_source *source, struct pool_source *pool, const char *value,
        char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        if (!parse_yes_no(value, &pool->pool.scrub, fault))
                return false;
        pool->set |= POOL_SET_SCRUB;
        return true;
}

static bool parse_trim_after(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        unsigned long seconds = 0;
        if (strcmp(value, "off") != 0 &&
                (!parse_unsigned(value, 10, TRIM_SECONDS_MAX, &seconds) || seconds == 0))
                return setting_refuse(fault,
                        "'%.64s' is not a number of seconds; give 1 to %d, or off", value,
                        TRIM_SECONDS_MAX);
        pool->pool.trim_after_seconds = (unsigned)seconds;
        pool->set |= POOL_SET_TRIM;
        return true;
}

static bool parse_size(struct settings_source *source, struct pool_source *pool, const char *value,
        char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        if (!parse_bytes(value, &pool->pool.size_bytes, fault))
                return false;
        pool->set |= POOL_SET_SIZE;
        return true;
}

static bool parse_max_size(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        if (!parse_bytes(value, &pool->pool.max_size_bytes, fault))
                return false;
        pool->set |= POOL_SET_MAX_SIZE;
        return true;
}

static bool parse_page_size(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        if (!parse_bytes(value, &pool->pool.page_bytes, fault))
                return false;
        pool->set |= POOL_SET_PAGE;
        return true;
}

static bool parse_backing(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        if (strcmp(value, "posix-shm") == 0)
                pool->pool.backing = BACKING_POSIX_SHM;
        else if (strcmp(value, "memfd") == 0)
                pool->pool.backing = BACKING_MEMFD;
        else
                return setting_refuse(
                        fault, "'%.64s' is no backing; give posix-shm or memfd", value);
        pool->set |= POOL_SET_BACKING;
        return true;
}

static bool parse_commit(struct settings_source *source, struct pool_source *pool,
        const char *value, char fault[static SOURCE_FAULT_BYTES]) {
        (void)source;
        if (strcmp(value, "eager") == 0)
                pool->pool.commit = COMMIT_EAGER;
        else if (strcmp(value, "lazy") == 0)
                pool->pool.commit = COMMIT_LAZY;
        else
                return setting_refuse(
                        fault, "'%.64s' is no way to commit; give eager or lazy", value);
        pool->set |= POOL_SET_COMMIT;
        return true;
}

/* Of quotas, for the table. */
#define QUOTA_KEY(name, text, number, of_daemon)                                                   \
        {text, (of_daemon) ? SETTING_DAEMON : SETTING_POOL, setting_quota_##name},

/* clang-format off */
static const struct setting_key keys[] = {
        {"socket", SETTING_DAEMON, parse_socket},
        {"metrics-socket", SETTING_DAEMON, parse_metrics_socket},
        {"socket-mode", SETTING_DAEMON, parse_socket_mode},
        {"socket-group", SETTING_DAEMON, parse_socket_group},
        {"workers", SETTING_DAEMON, parse_workers},
        {"keep", SETTING_DAEMON, parse_daemon_keep},
        {"admin-group", SETTING_DAEMON, parse_daemon_admin_group},
        {"size", SETTING_POOL, parse_size},
        {"max-size", SETTING_POOL, parse_max_size},
        {"page-size", SETTING_POOL, parse_page_size},
        {"backing", SETTING_POOL, parse_backing},
        {"commit", SETTING_POOL, parse_commit},
        {"keep", SETTING_POOL, parse_pool_keep},
        {"grace", SETTING_POOL, parse_grace},
        {"scrub", SETTING_POOL, parse_scrub},
        {"allow-users", SETTING_POOL, setting_allow_users},
        {"allow-groups", SETTING_POOL, setting_allow_groups},
        {"read-only-users", SETTING_POOL, setting_read_only_users},
        {"read-only-groups", SETTING_POOL, setting_read_only_groups},
        {"trim-after", SETTING_POOL, parse_trim_after},
        {"admin-group", SETTING_POOL, parse_pool_admin_group},
        QUOTA_LIST(QUOTA_KEY)
};
/* clang-format on */
#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

const struct setting_key *setting_key_find(const char *name, enum setting_scope scope) {
        for (size_t i = 0; i < KEY_COUNT; i++) {
                if (keys[i].scope == scope && strcmp(keys[i].name, name) == 0)
                        return &keys[i];
        }
        return NULL;
}

void setting_key_list(enum setting_scope scope, char *text, size_t text_bytes) {
        size_t length = 0;
        for (size_t i = 0; i < KEY_COUNT && length < text_bytes; i++) {
                if (keys[i].scope != scope)
                        continue;
                length += (size_t)snprintf(text + length, text_bytes - length, "%s%s",
                        length ? ", " : "", keys[i].name);
        }
}

bool pool_name_check(const char *name, char fault[static SOURCE_FAULT_BYTES]) {
        static const char allowed[] =
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
        size_t length = strlen(name);
        if (length == 0)
                return setting_refuse(fault, "the pool's name is empty; give one");
        if (length > POOL_NAME_MAX)
                return setting_refuse(fault,
                        "the pool's name '%.64s…' is longer than %d characters; give a shorter one",
                        name, POOL_NAME_MAX);
        if (strspn(name, allowed) != length)
                return setting_refuse(fault,
                        "'%.64s' is no name for a pool; use letters, digits, '.', '_' and '-' only",
                        name);
        return true;
}

struct pool_source *settings_source_find(const struct settings_source *source, const char *name) {
        for (size_t i = 0; i < source->pool_count; i++) {
                if (strcmp(source->pools[i].pool.name, name) == 0)
                        return &source->pools[i];
        }
        return NULL;
}

struct pool_source *settings_source_add(
        struct settings_source *source, const char *name, unsigned line) {
        struct pool_source *pools =
                reallocarray(source->pools, source->pool_count + 1, sizeof(*pools));
        if (!pools)
                return NULL;
        source->pools = pools;
        struct pool_source *pool = &pools[source->pool_count++];
        *pool = (struct pool_source){.line = line};
        memcpy(pool->pool.name, name, strnlen(name, POOL_NAME_MAX));
        return pool;
}

void settings_source_deinit(struct settings_source *source) {
        free(source->socket_path);
        free(source->metrics_path);
        free(source->pools);
        *source = (struct settings_source){0};
}

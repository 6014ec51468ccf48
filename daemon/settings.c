/* Puts defaults, config file, environment and command line together and checks the whole. */
#include "settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "bytes.h"
#include "core/geometry.h"
#include "fd_store.h"
#include "log.h"
#include "quota.h"
#include "settings_source.h"

#define DEFAULT_SIZE_BYTES    (UINT64_C(1) << 30)
#define DEFAULT_PAGE_BYTES    UINT64_C(4096)
#define DEFAULT_WORKERS       4
#define DEFAULT_GRACE_SECONDS 10
#define SOCKET_PATH_MAX       (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

/* ---- Pools ---- */

static void pool_source_overlay(struct pool_source *below, const struct pool_source *above) {
        if (above->set & POOL_SET_SIZE)
                below->pool.size_bytes = above->pool.size_bytes;
        if (above->set & POOL_SET_MAX_SIZE)
                below->pool.max_size_bytes = above->pool.max_size_bytes;
        if (above->set & POOL_SET_PAGE)
                below->pool.page_bytes = above->pool.page_bytes;
        if (above->set & POOL_SET_BACKING)
                below->pool.backing = above->pool.backing;
        if (above->set & POOL_SET_COMMIT)
                below->pool.commit = above->pool.commit;
        if (above->set & POOL_SET_KEEP)
                below->pool.keep = above->pool.keep;
        if (above->set & POOL_SET_GRACE)
                below->pool.grace_seconds = above->pool.grace_seconds;
        if (above->set & POOL_SET_SCRUB)
                below->pool.scrub = above->pool.scrub;
        if (above->set & POOL_SET_TRIM)
                below->pool.trim_after_seconds = above->pool.trim_after_seconds;
        /* Limits are in the file alone. */
        below->set |= above->set;
}

/* Adds the command line's pool to the file's, or lays it over the one of the same name. */
static int pools_merge(struct settings_source *file, const struct settings_source *line) {
        const struct pool_source nothing = {.pool.name = POOL_NAME_DEFAULT};
        const struct pool_source *above = line->pool_count ? &line->pools[0] : &nothing;
        if (file->pool_count && !line->pool_count)
                return 0;
        struct pool_source *below = settings_source_find(file, above->pool.name);
        if (!below)
                below = settings_source_add(file, above->pool.name, 0);
        if (!below)
                return -ENOMEM;
        pool_source_overlay(below, above);
        return 0;
}

/* Those that are not set. */
static void limits_default(uint64_t limits[static QUOTA_END], unsigned set) {
        uint64_t defaults[QUOTA_END];
        quota_defaults(defaults);
        for (unsigned i = 0; i < QUOTA_END; i++)
                if (!(set >> i & 1))
                        limits[i] = defaults[i];
}

static void pool_defaults(struct pool_source *source, bool keep) {
        struct pool_settings *pool = &source->pool;
        if (!(source->set & POOL_SET_SIZE))
                pool->size_bytes = DEFAULT_SIZE_BYTES;
        if (!(source->set & POOL_SET_MAX_SIZE))
                pool->max_size_bytes = pool->size_bytes;
        if (!(source->set & POOL_SET_PAGE))
                pool->page_bytes = DEFAULT_PAGE_BYTES;
        if (!(source->set & POOL_SET_BACKING))
                pool->backing = BACKING_POSIX_SHM;
        if (!(source->set & POOL_SET_COMMIT))
                pool->commit = COMMIT_EAGER;
        if (!(source->set & POOL_SET_KEEP))
                pool->keep = keep;
        if (!(source->set & POOL_SET_GRACE))
                pool->grace_seconds = DEFAULT_GRACE_SECONDS;
        limits_default(pool->limits, source->limits_set);
}

/* Says what is wrong with the figures of a pool, and what would do. */
static bool pool_figures_check(const struct pool_settings *pool, char *fault, size_t fault_bytes) {
        struct bytes_text size = bytes_exact(pool->size_bytes);
        struct bytes_text page = bytes_exact(pool->page_bytes);
        struct bytes_text max = bytes_exact(pool->max_size_bytes);
        uint64_t over_size = pool->size_bytes % (pool->page_bytes ? pool->page_bytes : 1);
        uint64_t over_max = pool->max_size_bytes % (pool->page_bytes ? pool->page_bytes : 1);
        if (!is_power_of_two(pool->page_bytes) ||
                pool->page_bytes < UINT64_C(1) << PAGE_SHIFT_MIN ||
                pool->page_bytes > UINT64_C(1) << PAGE_SHIFT_MAX)
                snprintf(fault, fault_bytes,
                        "page-size %s is not a power of two from 4K to 1G; give one", page.text);
        else if (pool->size_bytes == 0)
                snprintf(fault, fault_bytes, "size is 0; give at least one page of %s", page.text);
        else if (pool->size_bytes < pool->page_bytes)
                snprintf(fault, fault_bytes,
                        "size %s is less than one page of %s; give more, or smaller pages",
                        size.text, page.text);
        else if (over_size)
                snprintf(fault, fault_bytes,
                        "size %s is not a multiple of the page size %s; give %s", size.text,
                        page.text, bytes_exact(pool->size_bytes - over_size).text);
        else if (pool->max_size_bytes < pool->size_bytes)
                snprintf(fault, fault_bytes,
                        "size %s is over max-size %s; make one of them fit the other", size.text,
                        max.text);
        else if (over_max)
                snprintf(fault, fault_bytes,
                        "max-size %s is not a multiple of the page size %s; give %s", max.text,
                        page.text, bytes_exact(pool->max_size_bytes - over_max).text);
        else if (pool->max_size_bytes / pool->page_bytes >= PAGE_NONE)
                snprintf(fault, fault_bytes,
                        "max-size %s is more than 2^32 - 2 pages of %s; give larger pages",
                        max.text, page.text);
        else if (pool->trim_after_seconds > 0 && pool->commit == COMMIT_EAGER)
                snprintf(fault, fault_bytes,
                        "trim-after is for lazy pools, and in an eager one every page stays "
                        "reserved; set commit = lazy, or remove trim-after");
        else if (pool->max_size_bytes > INT64_MAX)
                snprintf(fault, fault_bytes, "max-size %s is more than a file can have; give less",
                        max.text);
        else
                return true;
        return false;
}

static int pools_resolve(
        struct settings_source *source, const char *config_path, bool keep, struct settings *out) {
        struct pool_settings *pools = calloc(source->pool_count, sizeof(*pools));
        if (!pools) {
                log_error("out of memory; free some");
                return -ENOMEM;
        }
        for (size_t i = 0; i < source->pool_count; i++) {
                struct pool_source *pool = &source->pools[i];
                pool_defaults(pool, keep);
                char fault[SOURCE_FAULT_BYTES];
                if (!pool_figures_check(&pool->pool, fault, sizeof(fault))) {
                        if (pool->line)
                                log_pool_error(pool->pool.name, "%s:%u: pool '%s': %s", config_path,
                                        pool->line, pool->pool.name, fault);
                        else
                                log_pool_error(
                                        pool->pool.name, "pool '%s': %s", pool->pool.name, fault);
                        free(pools);
                        return -EINVAL;
                }
                pools[i] = pool->pool;
        }
        out->pools = pools;
        out->pool_count = source->pool_count;
        return 0;
}

/* ---- Socket ---- */

/* $BUDDYD_SOCKET, else the folder that this user's daemons have. NULL: it has none. */
static char *socket_path_ambient(bool *is_default) {
        const char *path = getenv("BUDDYD_SOCKET");
        *is_default = !path || !*path;
        if (!*is_default)
                return strdup(path);
        if (geteuid() == 0)
                return strdup("/run/buddyd/buddyd.sock");
        const char *folder = getenv("XDG_RUNTIME_DIR");
        char *joined;
        if (!folder || !*folder || asprintf(&joined, "%s/buddyd/buddyd.sock", folder) < 0)
                return NULL;
        return joined;
}

/* One that was inherited needs no path. */
static bool socket_is_inherited(void) {
        int fd;
        return fd_store_passed_sockets(&fd) > 0;
}

static int socket_resolve(const char *asked, struct settings *out) {
        bool is_default = false;
        errno = 0;
        char *path = asked ? strdup(asked) : socket_path_ambient(&is_default);
        if (!path && socket_is_inherited())
                path = strdup("");
        if (!path && errno == ENOMEM) {
                log_error("out of memory; free some");
                return -ENOMEM;
        }
        if (!path) {
                log_error("no place for the socket: XDG_RUNTIME_DIR is not set; set it, or give "
                          "--socket PATH");
                return -EINVAL;
        }
        if (strlen(path) > SOCKET_PATH_MAX) {
                log_error("%s: the socket's path has %zu bytes and %zu is the limit; give a "
                          "shorter --socket",
                        path, strlen(path), SOCKET_PATH_MAX);
                free(path);
                return -EINVAL;
        }
        out->socket_path = path;
        out->socket_path_default = is_default;
        return 0;
}

/* Off unless it is named: a default could be in the way of another daemon's. */
static int metrics_resolve(const struct settings_source *line, const struct settings_source *file,
        struct settings *out) {
        const char *asked = line->metrics_path ? line->metrics_path : file->metrics_path;
        if (!asked || !*asked)
                return 0;
        if (strcmp(asked, out->socket_path) == 0) {
                log_error("%s: the metrics cannot have the socket that clients connect to; give "
                          "--metrics-socket another path",
                        asked);
                return -EINVAL;
        }
        out->metrics_path = strdup(asked);
        return out->metrics_path ? 0 : -ENOMEM;
}

/* ---- The whole ---- */

static unsigned default_workers(void) {
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        if (cpus < 1)
                return 1;
        return cpus < DEFAULT_WORKERS ? (unsigned)cpus : DEFAULT_WORKERS;
}

/* The command line's values where it has them, else the file's, else the defaults. */
static int settings_resolve(
        const struct options *options, struct settings_source *file, struct settings *out) {
        const struct settings_source *line = &options->source;
        const struct settings_source *mode = line->set & SOURCE_SET_MODE ? line : file;
        const struct settings_source *group = line->set & SOURCE_SET_GROUP ? line : file;
        const struct settings_source *workers = line->set & SOURCE_SET_WORKERS ? line : file;
        *out = (struct settings){
                .socket_mode = mode->set & SOURCE_SET_MODE ? mode->socket_mode : 0600,
                .socket_group_set = group->set & SOURCE_SET_GROUP,
                .socket_group = group->socket_group,
                .workers = workers->set & SOURCE_SET_WORKERS ? workers->workers : default_workers(),
                .configured = options->config_path != NULL,
                .reset = options->reset,
        };
        memcpy(out->limits, file->limits, sizeof(out->limits));
        limits_default(out->limits, file->limits_set);
        if (pools_merge(file, line) < 0) {
                log_error("out of memory; free some");
                return -ENOMEM;
        }
        int error = pools_resolve(file, options->config_path, file->keep, out);
        if (error)
                return error;
        for (size_t i = 0; i < out->pool_count; i++) {
                struct pool_settings *pool = &out->pools[i];
                pool->keep |= line->keep;
                if (pool->admin_group_set || !file->admin_group_set)
                        continue;
                pool->admin_group_set = true;
                pool->admin_group = file->admin_group;
        }
        error = socket_resolve(line->socket_path ? line->socket_path : file->socket_path, out);
        return error ? error : metrics_resolve(line, file, out);
}

enum settings_outcome settings_load(int argc, char **argv, struct settings *out) {
        struct options options;
        enum settings_outcome outcome = options_read(argc, argv, &options);
        if (outcome != SETTINGS_RUN)
                return outcome;
        struct settings_source file = {0};
        struct settings settings = {0};
        int error = options.config_path ? config_read(options.config_path, &file) : 0;
        if (!error)
                error = settings_resolve(&options, &file, &settings);
        if (error)
                settings_deinit(&settings);
        else
                *out = settings;
        settings_source_deinit(&file);
        options_deinit(&options);
        if (!error)
                return SETTINGS_RUN;
        return error == -EINVAL ? SETTINGS_EXIT_USAGE : SETTINGS_EXIT_FAILED;
}

void settings_deinit(struct settings *settings) {
        free(settings->socket_path);
        free(settings->metrics_path);
        free(settings->pools);
        *settings = (struct settings){0};
}

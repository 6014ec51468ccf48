/* See reload.h. What changes live is in the atomic fields of struct served_pool; the store's settings keep what was applied last,
 * and those of the start keep what needs a restart to change. */
#include "reload.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bytes.h"
#include "log.h"
#include "quota.h"
#include "serving.h"

struct reload {
        struct serving *serving;
        const char *pool; /* NULL: the daemon's own section */
        unsigned applied, pending;
};

struct value_text {
        char text[48];
};

static struct value_text value_seconds(unsigned seconds) {
        struct value_text value;
        if (seconds == 0)
                snprintf(value.text, sizeof(value.text), "off");
        else
                snprintf(value.text, sizeof(value.text), "%u s", seconds);
        return value;
}

static struct value_text value_group(bool set, gid_t group) {
        struct value_text value;
        snprintf(value.text, sizeof(value.text), set ? "%u" : "none", (unsigned)group);
        return value;
}

static struct value_text value_number(uint64_t number) {
        struct value_text value;
        snprintf(value.text, sizeof(value.text), "%" PRIu64, number);
        return value;
}

static struct value_text value_mode(mode_t mode) {
        struct value_text value;
        snprintf(value.text, sizeof(value.text), "%04o", (unsigned)mode);
        return value;
}

static void reload_scope(const struct reload *reload, char *text, size_t text_bytes) {
        if (reload->pool)
                snprintf(text, text_bytes, "pool '%s'", reload->pool);
        else
                snprintf(text, text_bytes, "[buddyd]");
}

static void reload_tell_applied(
        struct reload *reload, const char *key, const char *before, const char *after) {
        char scope[POOL_NAME_MAX + 16];
        if (strcmp(before, after) == 0)
                return;
        reload_scope(reload, scope, sizeof(scope));
        log_event(LOG_EVENT_CONFIG_CHANGED, &(struct log_subject){.pool = reload->pool},
                "configuration: %s: %s is %s now, was %s", scope, key, after, before);
        reload->applied++;
}

static void reload_tell_pending(
        struct reload *reload, const char *key, const char *before, const char *after) {
        char scope[POOL_NAME_MAX + 16];
        if (strcmp(before, after) == 0)
                return;
        reload_scope(reload, scope, sizeof(scope));
        log_event(LOG_EVENT_CONFIG_PENDING, &(struct log_subject){.pool = reload->pool},
                "configuration: %s: %s stays %s, as %s needs a restart", scope, key, before, after);
        reload->pending++;
}

/* ---- Limits ---- */

/* Those that the file gives another value than it did; what was set by hand meanwhile stays otherwise. Of the daemon, or of a pool. */
static void limits_apply(struct reload *reload, struct served_pool *served,
        uint64_t read[static QUOTA_END], const uint64_t asked[static QUOTA_END]) {
        for (unsigned i = QUOTA_NOTHING + 1; i < QUOTA_END; i++) {
                enum quota quota = (enum quota)i;
                if (quota_is_of_daemon(quota) != !reload->pool || read[i] == asked[i])
                        continue;
                reload_tell_applied(reload, quota_name(quota),
                        quota_value_text(quota, quota_get(reload->serving, served, quota)).text,
                        quota_value_text(quota, asked[i]).text);
                quota_set(reload->serving, served, quota, asked[i]);
                read[i] = asked[i];
        }
}

/* ---- Pools ---- */

static const char *yes_no(bool value) {
        return value ? "yes" : "no";
}

static void pool_apply(
        struct reload *reload, struct served_pool *served, const struct pool_settings *asked) {
        struct pool_settings *now = &served->store->settings;
        reload_tell_applied(reload, "admin-group",
                value_group(now->admin_group_set, now->admin_group).text,
                value_group(asked->admin_group_set, asked->admin_group).text);
        reload_tell_applied(reload, "trim-after", value_seconds(now->trim_after_seconds).text,
                value_seconds(asked->trim_after_seconds).text);
        reload_tell_applied(reload, "grace", value_number(now->grace_seconds).text,
                value_number(asked->grace_seconds).text);
        reload_tell_applied(reload, "keep", yes_no(now->keep), yes_no(asked->keep));
        limits_apply(reload, served, now->limits, asked->limits);
        now->admin_group_set = asked->admin_group_set;
        now->admin_group = asked->admin_group;
        now->trim_after_seconds = asked->trim_after_seconds;
        now->grace_seconds = asked->grace_seconds;
        now->keep = asked->keep;
        served_pool_adjust(served, now);
}

static void pool_tell_pending(struct reload *reload, const struct pool_settings *start,
        const struct pool_settings *asked) {
        static const char *const backings[] = {
                [BACKING_POSIX_SHM] = "posix-shm", [BACKING_MEMFD] = "memfd"};
        static const char *const commits[] = {[COMMIT_EAGER] = "eager", [COMMIT_LAZY] = "lazy"};
        if (asked->size_bytes > start->size_bytes && asked->size_bytes <= start->max_size_bytes)
                log_event(LOG_EVENT_CONFIG_PENDING, &(struct log_subject){.pool = start->name},
                        "configuration: pool '%s': buddyctl grow %s makes it larger at once",
                        start->name, bytes_exact(asked->size_bytes).text);
        reload_tell_pending(reload, "size", bytes_exact(start->size_bytes).text,
                bytes_exact(asked->size_bytes).text);
        reload_tell_pending(reload, "max-size", bytes_exact(start->max_size_bytes).text,
                bytes_exact(asked->max_size_bytes).text);
        reload_tell_pending(reload, "page-size", bytes_exact(start->page_bytes).text,
                bytes_exact(asked->page_bytes).text);
        reload_tell_pending(reload, "backing", backings[start->backing], backings[asked->backing]);
        reload_tell_pending(reload, "commit", commits[start->commit], commits[asked->commit]);
        reload_tell_pending(reload, "scrub", yes_no(start->scrub), yes_no(asked->scrub));
        if (memcmp(&start->admission, &asked->admission, sizeof(start->admission)) != 0)
                reload_tell_pending(reload, "who is admitted", "as it is", "another list");
}

static const struct pool_settings *pool_find(const struct settings *settings, const char *name) {
        for (size_t i = 0; i < settings->pool_count; i++)
                if (strcmp(settings->pools[i].name, name) == 0)
                        return &settings->pools[i];
        return NULL;
}

/* A pool of the start is served under the same index. */
static void pools_reload(
        struct reload *reload, struct serving *serving, const struct settings *asked) {
        const struct settings *start = serving->settings;
        for (size_t i = 0; i < serving->pool_count; i++) {
                const struct pool_settings *pool = pool_find(asked, start->pools[i].name);
                reload->pool = start->pools[i].name;
                if (!pool) {
                        reload_tell_pending(reload, "the pool", "served", "its removal");
                        continue;
                }
                /* What is eager today is not trimmed, though it is to be lazy after a restart. */
                struct pool_settings applied = *pool;
                if (start->pools[i].commit == COMMIT_EAGER)
                        applied.trim_after_seconds = 0;
                pool_apply(reload, &serving->pools[i], &applied);
                pool_tell_pending(reload, &start->pools[i], pool);
        }
        for (size_t i = 0; i < asked->pool_count; i++) {
                reload->pool = asked->pools[i].name;
                if (!pool_find(start, reload->pool))
                        reload_tell_pending(reload, "the pool", "unserved", "a new one");
        }
}

/* ---- The whole ---- */

static void daemon_tell_pending(
        struct reload *reload, const struct settings *start, const struct settings *asked) {
        reload_tell_pending(reload, "socket", start->socket_path, asked->socket_path);
        reload_tell_pending(reload, "metrics-socket",
                start->metrics_path ? start->metrics_path : "off",
                asked->metrics_path ? asked->metrics_path : "off");
        reload_tell_pending(reload, "socket-mode", value_mode(start->socket_mode).text,
                value_mode(asked->socket_mode).text);
        reload_tell_pending(reload, "socket-group",
                value_group(start->socket_group_set, start->socket_group).text,
                value_group(asked->socket_group_set, asked->socket_group).text);
        reload_tell_pending(reload, "workers", value_number(start->workers).text,
                value_number(asked->workers).text);
}

void reload_apply(struct serving *serving, const struct settings *asked) {
        struct reload reload = {.serving = serving};
        limits_apply(&reload, NULL, serving->limits_read, asked->limits);
        daemon_tell_pending(&reload, serving->settings, asked);
        pools_reload(&reload, serving, asked);
        if (reload.applied + reload.pending == 0)
                log_event(LOG_EVENT_CONFIG_READ, NULL,
                        "configuration read again: nothing has changed");
        else
                log_event(LOG_EVENT_CONFIG_READ, NULL,
                        "configuration read again: %u changes applied, %u need a restart",
                        reload.applied, reload.pending);
}

/* The keys of quotas. */
#include "settings_source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "quota.h"

static bool figure_parse(enum quota quota, const char *value, uint64_t *out, char *fault) {
        if (settings_parse_bytes(value, out) == 0 && *out < QUOTA_SHARE) {
                if (quota_value_is_possible(quota, *out))
                        return true;
                return setting_refuse(
                        fault, "'%.64s' would keep everybody out; give 1 or more", value);
        }
        return setting_refuse(fault, "'%.64s' is no limit; give %s, none%s", value,
                quota_is_bytes(quota) ? "bytes, as in 512M" : "a count, as in 1000",
                quota_value_is_possible(quota, QUOTA_SHARE) ? ", or share" : "");
}

static bool value_parse(enum quota quota, const char *value, uint64_t *out, char *fault) {
        bool none = strcmp(value, "none") == 0;
        bool share = strcmp(value, "share") == 0 && quota_value_is_possible(quota, QUOTA_SHARE);
        if (!none && !share)
                return figure_parse(quota, value, out, fault);
        *out = none ? QUOTA_NONE : QUOTA_SHARE;
        return true;
}

static bool limit_parse(struct settings_source *source, struct pool_source *pool, enum quota quota,
        const char *value, char *fault) {
        uint64_t parsed;
        if (!value_parse(quota, value, &parsed, fault))
                return false;
        if (pool) {
                pool->pool.limits[quota] = parsed;
                pool->limits_set |= 1u << quota;
        } else {
                source->limits[quota] = parsed;
                source->limits_set |= 1u << quota;
        }
        return true;
}

#define X(name, text, number, of_daemon)                                                           \
        bool setting_quota_##name(struct settings_source *source, struct pool_source *pool,        \
                const char *value, char fault[static SOURCE_FAULT_BYTES]) {                        \
                return limit_parse(source, pool, QUOTA_##name, value, fault);                      \
        }
QUOTA_LIST(X)
#undef X

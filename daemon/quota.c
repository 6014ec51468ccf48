/* See quota.h. */
#include "quota.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "connection.h"
#include "handle.h"
#include "serving.h"
#include "session.h"

const char *quota_name(enum quota quota) {
        static const char *const names[QUOTA_END] = {
#define X(name, text, number, of_daemon) [QUOTA_##name] = text,
                QUOTA_LIST(X)
#undef X
        };
        return names[quota];
}

bool quota_is_of_daemon(enum quota quota) {
        static const bool those[QUOTA_END] = {
#define X(name, text, number, of_daemon) [QUOTA_##name] = of_daemon,
                QUOTA_LIST(X)
#undef X
        };
        return those[quota];
}

void quota_defaults(uint64_t limits[static QUOTA_END]) {
        for (unsigned i = 0; i < QUOTA_END; i++)
                limits[i] = quota_value_is_possible((enum quota)i, QUOTA_SHARE) ? QUOTA_SHARE
                                                                                : QUOTA_NONE;
        limits[QUOTA_CLIENT_OUTPUT] = CLIENT_OUTPUT_BYTES;
}

bool quota_is_bytes(enum quota quota) {
        return quota == QUOTA_CLIENT_BYTES || quota == QUOTA_USER_BYTES ||
               quota == QUOTA_USER_BUFFERS || quota == QUOTA_CLIENT_OUTPUT;
}

static bool quota_may_be_share(enum quota quota) {
        return quota >= QUOTA_USER_BYTES && quota <= QUOTA_USER_BUFFERS &&
               quota != QUOTA_USER_RANGES;
}

/* Where nobody may connect, or no request may be in flight, nobody could change it again. */
bool quota_value_is_possible(enum quota quota, uint64_t value) {
        if (value == 0)
                return quota != QUOTA_USER_CONNECTIONS && quota != QUOTA_CLIENT_REQUESTS;
        return value != QUOTA_SHARE || quota_may_be_share(quota);
}

struct bytes_text quota_value_text(enum quota quota, uint64_t value) {
        struct bytes_text text;
        if (value < QUOTA_SHARE && quota_is_bytes(quota))
                return bytes_exact(value);
        if (value < QUOTA_SHARE)
                snprintf(text.text, sizeof(text.text), "%" PRIu64, value);
        else
                snprintf(text.text, sizeof(text.text), value == QUOTA_SHARE ? "share" : "none");
        return text;
}

/* ---- In force ---- */

static void quota_push(struct served_pool *served) {
        const struct pool_limits limits = {
                .client_bytes = atomic_load(&served->limits[QUOTA_CLIENT_BYTES]),
                .client_ranges = atomic_load(&served->limits[QUOTA_CLIENT_RANGES]),
                .user_bytes = atomic_load(&served->limits[QUOTA_USER_BYTES]),
                .user_ranges = atomic_load(&served->limits[QUOTA_USER_RANGES]),
                .user_clients = atomic_load(&served->limits[QUOTA_USER_CLIENTS]),
                .user_keys = atomic_load(&served->limits[QUOTA_USER_KEYS]),
                .user_holds = atomic_load(&served->limits[QUOTA_USER_HOLDS]),
                .privileged_uid = getuid(),
        };
        pool_set_limits(served->pool, &limits);
        atomic_store(&served->waiters.user_max, atomic_load(&served->limits[QUOTA_USER_WAITS]));
}

void quota_apply(struct served_pool *served, const uint64_t limits[static QUOTA_END]) {
        for (unsigned i = 0; i < QUOTA_END; i++)
                atomic_store(&served->limits[i], limits[i]);
        quota_push(served);
}

/* Where the whole daemon's limits are; NULL: it is a pool's. */
static _Atomic uint64_t *quota_of_daemon(struct users *users, enum quota quota) {
        switch (quota) {
        case QUOTA_USER_CONNECTIONS:
                return &users->connections_limit;
        case QUOTA_USER_BUFFERS:
                return &users->buffers_limit;
        case QUOTA_CLIENT_REQUESTS:
                return &users->client_requests;
        case QUOTA_CLIENT_OUTPUT:
                return &users->client_output;
        default:
                return NULL;
        }
}

void quota_apply_daemon(struct users *users, const uint64_t limits[static QUOTA_END]) {
        for (unsigned i = 0; i < QUOTA_END; i++)
                if (quota_of_daemon(users, (enum quota)i))
                        atomic_store(quota_of_daemon(users, (enum quota)i), limits[i]);
}

uint64_t quota_get(struct serving *serving, const struct served_pool *served, enum quota quota) {
        const _Atomic uint64_t *of_daemon = quota_of_daemon(&serving->users, quota);
        return atomic_load(of_daemon ? of_daemon : &served->limits[quota]);
}

void quota_set(
        struct serving *serving, struct served_pool *served, enum quota quota, uint64_t value) {
        _Atomic uint64_t *of_daemon = quota_of_daemon(&serving->users, quota);
        atomic_store(of_daemon ? of_daemon : &served->limits[quota], value);
        if (!of_daemon)
                quota_push(served);
}

/* ---- In words ---- */

enum status call_refuse_over(struct call *call, const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(call->detail, sizeof(call->detail), format, arguments);
        va_end(arguments);
        if (call->served)
                statistics_count(&worker_statistics(call->worker, call->served)->quota_refusals, 1);
        return STATUS_QUOTA;
}

struct limit_words {
        enum quota quota;
        const char *things; /* NULL: bytes */
        const char *mend;
};

static const struct limit_words words[] = {
        [POOL_LIMIT_CLIENT_BYTES] = {QUOTA_CLIENT_BYTES, NULL, "release some"},
        [POOL_LIMIT_CLIENT_RANGES] = {QUOTA_CLIENT_RANGES, "ranges", "release some"},
        [POOL_LIMIT_USER_BYTES] = {QUOTA_USER_BYTES, NULL, "release some"},
        [POOL_LIMIT_USER_RANGES] = {QUOTA_USER_RANGES, "ranges", "release some"},
        [POOL_LIMIT_USER_CLIENTS] = {QUOTA_USER_CLIENTS, "clients", "end some"},
        [POOL_LIMIT_USER_KEYS] = {QUOTA_USER_KEYS, "keys", "unpublish some"},
        [POOL_LIMIT_USER_HOLDS] = {QUOTA_USER_HOLDS, "further holds", "release some"},
};

static void excess_explain(
        struct call *call, const struct pool_excess *excess, const struct pool_want *want) {
        const struct limit_words *limit = &words[excess->limit];
        char who[48], figures[96];
        if (excess->limit == POOL_LIMIT_CLIENT_BYTES || excess->limit == POOL_LIMIT_CLIENT_RANGES)
                snprintf(who, sizeof(who), "client %" PRIu32, excess->session);
        else
                snprintf(who, sizeof(who), "uid %" PRIu32, excess->uid);
        if (!limit->things)
                snprintf(figures, sizeof(figures), "%s of its %s", bytes_whole(excess->used).text,
                        bytes_whole(excess->allowed).text);
        else
                snprintf(figures, sizeof(figures), "%" PRIu64 " of its %" PRIu64 " %s",
                        excess->used, excess->allowed, limit->things);
        const char *when = want->pressed ? " while others wait" : excess->gift ? " for gifts" : "";
        call_refuse_over(call, "%s holds %s%s (%s): %s, or have it raised with buddyctl quota", who,
                figures, when, quota_name(limit->quota),
                want->giver ? "let it release some" : limit->mend);
}

enum status call_refuse_quota(struct call *call, uint32_t session, const struct pool_want *want) {
        struct pool_excess excess;
        if (session == 0)
                session = call->session->id;
        if (!pool_find_excess(call->served->pool, session, want, &excess))
                return call_refuse_over(call, "over a quota until just now: try again");
        excess_explain(call, &excess, want);
        return STATUS_QUOTA;
}

/* ---- Caches and shares ---- */

uint64_t call_take_back_own(struct call *call) {
        return call_take_back_of(call, call->session->uid);
}

uint64_t call_take_back_of(struct call *call, uint32_t uid) {
        struct served_pool *served = call->served;
        struct pool_session_info info;
        uint64_t bytes = 0;
        for (uint32_t session = 0; (session = pool_session_next(served->pool, session)) != 0;) {
                if (pool_session_info(served->pool, session, &info) != 0 ||
                        info.identity.uid != uid)
                        continue;
                for (unsigned order = 0; order < ORDER_COUNT; order++)
                        bytes += cache_trim(served, session, order, 0);
        }
        if (bytes > 0)
                call_freed(call);
        return bytes;
}

enum status call_admit_share(struct call *call, uint64_t bytes) {
        struct served_pool *served = call->served;
        struct pool_excess excess;
        const struct pool_want want = {.bytes = bytes, .ranges = 1, .pressed = true};
        if (waiters_count(&served->waiters) == 0 ||
                atomic_load_explicit(&served->limits[QUOTA_USER_BYTES], memory_order_relaxed) !=
                        QUOTA_SHARE ||
                user_is_privileged(call->session->uid) ||
                !waiters_has_others(&served->waiters, call->session->uid) ||
                !pool_find_excess(served->pool, call->session->id, &want, &excess))
                return STATUS_OK;
        excess_explain(call, &excess, &want);
        return STATUS_QUOTA;
}

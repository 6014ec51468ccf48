/* What the sessions and keys of one uid hold in a pool, and what they may. Accounts are rebuilt from the ledger with
 * everything else; a session's figures are added up under its own lock and given to its uid's account when that lock is let go,
 * so a grant or a return costs the account one addition for bytes and one for ranges. Whoever is about to take more
 * charges it first, and only then looks whether it was too much, so no two sessions can pass a limit together. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;

#define LIMIT_NONE  UINT64_MAX       /* no limit */
#define LIMIT_SHARE (UINT64_MAX - 1) /* half of what the others leave; none for privileged uids */

struct pool_limits {
        uint64_t client_bytes, client_ranges; /* of one session: LIMIT_NONE or a figure */
        uint64_t
                user_bytes; /* of one uid: the same, or LIMIT_SHARE, which binds only while others wait */
        uint64_t user_ranges;             /* of one uid: as client_ranges */
        uint64_t user_clients, user_keys; /* of one uid: LIMIT_SHARE, too */
        uint64_t user_holds;              /* further holds, of which a pool has a table: the same */
        uint32_t privileged_uid;          /* beside 0 */
};

enum pool_limit {
        POOL_LIMIT_NONE,
        POOL_LIMIT_CLIENT_BYTES,
        POOL_LIMIT_CLIENT_RANGES,
        POOL_LIMIT_USER_BYTES,
        POOL_LIMIT_USER_RANGES,
        POOL_LIMIT_USER_CLIENTS,
        POOL_LIMIT_USER_KEYS,
        POOL_LIMIT_USER_HOLDS,
};

/* What somebody is about to take. */
struct pool_want {
        uint64_t bytes, ranges, keys, holds;
        uint32_t giver; /* a gift of this session's; 0: none */
        bool pressed; /* while others wait: then bytes have a share, too, if that is their limit */
};

/* Which limit is in the way: so much is held of so much. */
struct pool_excess {
        enum pool_limit limit;
        uint32_t session, uid;
        uint64_t used, allowed;
        bool gift; /* of what others may give: half of what is left beside it */
};

/* Limits count for what is taken from now on. */
void pool_set_limits(struct pool *pool, const struct pool_limits *limits);
void pool_get_limits(struct pool *pool, struct pool_limits *out);

/* Whether a session may not take so much, at this moment, and why. */
bool pool_find_excess(
        struct pool *pool, uint32_t session, const struct pool_want *want, struct pool_excess *out);

/* The same for one more session of a uid. */
bool pool_find_excess_clients(struct pool *pool, uint32_t uid, struct pool_excess *out);

struct pool_user {
        uint32_t uid;
        bool privileged;
        uint64_t bytes, ranges, clients, keys, holds;
};

/* Lists the uids that have sessions or keys, from place *cursor on (0 to begin), at most max; *cursor is 0 at the end. */
size_t pool_list_users(struct pool *pool, uint32_t *cursor, struct pool_user *out, size_t max);

/* The limits of a served pool: from the config to the core and to those who wait, and in words for who is refused. */
#pragma once

#include "bytes.h"
#include "core/account.h"
#include "dispatch.h"
#include "proto/quota.h"

struct served_pool;
struct serving;
struct settings;
struct users;

#define CLIENT_OUTPUT_BYTES (UINT64_C(64) << 10) /* unless given */

/* Those that no config names. */
void quota_defaults(uint64_t limits[static QUOTA_END]);

/* A value that this limit can have: a figure, QUOTA_NONE or, where it counts what others lack, QUOTA_SHARE. No connections at all
 * is none: nobody could come and change it. */
bool quota_value_is_possible(enum quota quota, uint64_t value);

/* As the config names it. */
const char *quota_name(enum quota quota);

/* The whole daemon's, and not a pool's. */
bool quota_is_of_daemon(enum quota quota);

/* The value as the config takes it. */
struct bytes_text quota_value_text(enum quota quota, uint64_t value);

/* Bytes, or a count. */
bool quota_is_bytes(enum quota quota);

/* Puts a pool's limits into force. */
void quota_apply(struct served_pool *served, const uint64_t limits[static QUOTA_END]);

/* The same of the whole daemon's. */
void quota_apply_daemon(struct users *users, const uint64_t limits[static QUOTA_END]);

/* One limit of a pool, or of the whole daemon. */
uint64_t quota_get(struct serving *serving, const struct served_pool *served, enum quota quota);
void quota_set(
        struct serving *serving, struct served_pool *served, enum quota quota, uint64_t value);

/* Refuses what a session (0: the call's) may not take: says which limit is in the way, and counts it. */
enum status call_refuse_quota(struct call *call, uint32_t session, const struct pool_want *want);

/* The same in words of the caller's own. */
enum status call_refuse_over(struct call *call, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* Takes back what the call's session, and others of its uid, have in caches but not in use. Bytes that became free. */
uint64_t call_take_back_own(struct call *call);

/* The same of all sessions of a uid. */
uint64_t call_take_back_of(struct call *call, uint32_t uid);

/* An alloc that does not wait may take so much, also while others wait. */
enum status call_admit_share(struct call *call, uint64_t bytes);

/* One function per request; see dispatch.h for what they have in common. */
#pragma once

#include "dispatch.h"

/* Refuses with one line of reason. */
enum status call_refuse(struct call *call, enum status status, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* handle_session.c */
request_handler handle_ping, handle_hello, handle_goodbye;
/* handle_ranges.c */
request_handler handle_alloc, handle_release;
/* handle_sharing.c */
request_handler handle_attach, handle_give, handle_lookup, handle_publish, handle_unpublish,
        handle_find;
/* handle_looking.c */
request_handler handle_stats, handle_clients, handle_holds, handle_check;
/* handle_map.c */
request_handler handle_map;
/* handle_metrics.c */
request_handler handle_metrics;
/* handle_cache.c */
request_handler handle_cache, handle_uncache;
/* handle_quota.c */
request_handler handle_quota;
/* handle_operator.c */
request_handler handle_hold, handle_unhold;
/* handle_operate.c */
request_handler handle_kick, handle_drain, handle_trim, handle_grow;

/* What several nouns need: ranges between the wire and the pool. */

/* The order for a length. */
enum status call_order(struct call *call, uint64_t length, unsigned *order);

/* The block that a range names. */
enum status call_block(struct call *call, const struct message_range *range, struct block *out);

/* The blocks that many ranges name, in the worker's scratch. */
enum status call_blocks(struct call *call, const struct message_ranges *ranges);

/* Answers with blocks, which are in the worker's scratch or the only one. */
void call_reply_blocks(struct call *call, const struct block *blocks, size_t count);

/* Refuses as a failed operation on a block says. */
enum status call_refuse_block(struct call *call, int error, struct block block);

/* Refuses as a failed grant of count blocks says, and lets waiters have what it took and gave back. */
enum status call_refuse_grant(struct call *call, int error, unsigned order, size_t count);

/* Memory came back: serves waiters. */
void call_freed(struct call *call);

/* A pool at a glance. What it points at, and the statistics that it is made of, lie in the worker's scratch. */
void stats_collect(struct worker *worker, struct served_pool *served, struct reply_stats *stats);

/* A session as operators see it; its name is info's. now_s: monotonic clock. */
struct reply_client stats_client(
        struct served_pool *served, const struct pool_session_info *info, uint64_t now_s);

/* Whether the peer may operate this pool: it is root, the daemon's user, or in the pool's admin group. */
bool call_may_operate(const struct call *call, const struct served_pool *served);

/* Refuses, unless the peer is root, the daemon's user, or in the pool's admin group. */
enum status call_admit_operator(struct call *call);

/* The same for what all pools share: the peer may operate each of them. */
enum status call_admit_operator_of_all(struct call *call);

/* Stops all other workers between two turns, and lets them go on. */
void call_stop_others(struct call *call);
void call_let_others_go_on(struct call *call);

/* Refuses, if nothing is granted as the pool is draining. */
enum status call_admit_grant(struct call *call);

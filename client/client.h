/* struct buddyclient, and what the files of the library share about it. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "buddyclient.h"
#include "cache.h"
#include "channel.h"
#include "holdings.h"
#include "mapping.h"
#include "process.h"
#include "proto/message.h"
#include "reopen.h"
#include "roll.h"

#define CLIENT_POOL_MAX 48u /* characters of a pool's name */
#define CLIENT_NAME_MAX 63u /* bytes of a client's name */

/* Connection: `connected` and everything under it is written by connect only, before any other
 * thread may use the client. What changes later has its own lock (channel, holdings, mapping) or
 * is atomic. */
struct buddyclient {
        /* Set up before connect. */
        char *socket_path; /* owned; NULL: looked for */
        char pool[CLIENT_POOL_MAX + 1];
        char name[CLIENT_NAME_MAX + 1];
        bool read_only;
        uint64_t cache_bytes;
        int timeout_ms;

        struct process_mark mark;
        int64_t born; /* with the address, tells this client from one that was here before */
        struct holdings holdings;

        bool connected;
        bool destroyed; /* only callbacks are still run */
        struct channel channel;
        struct mapping mapping;
        struct cache cache;
        uint32_t session;
        uint8_t token[MESSAGE_TOKEN_BYTES];
        uint64_t page_bytes;
        uint64_t max_size_bytes;
        struct reopening reopening; /* of the one who is resuming, as are the next three */
        struct message_done done;
        uint64_t granted_ranges;
        struct roll roll;
        _Atomic uint64_t size_bytes; /* as the daemon last said */
};

/* 0 if requests can be made: -EINVAL for NULL, -ENOTCONN before connect and in a forked child. */
int client_usable(const struct buddyclient *client);

/* Makes one request and waits for its reply, as long as the client's timeout says (for an alloc that
 * waits: beyond its own time), also over a connection that is lost and made again. Records the reason of a failure for this thread. */
int client_exchange(struct buddyclient *client, struct request *request, struct call *call);

/* How this client says hello. */
struct request_hello client_hello(const struct buddyclient *client);

/* A pool only grows, and never beyond what was said at hello. */
void client_learn_size(struct buddyclient *client, uint64_t size_bytes);

/* Records the reason behind this thread's refusal, and returns error. client may be NULL. */
int client_refuse(const struct buddyclient *client, int error, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Forgets this thread's reasons of a client that is about to go. */
void client_forget_detail(const struct buddyclient *client);

/* A range as the wire names it. -EINVAL: no pool has such a range. */
int client_place(const struct buddyclient *client, const struct buddyclient_range *range,
        uint64_t *place, uint32_t *generation);

/* A range that the daemon granted. -EPROTO: it cannot be one of this pool. */
int client_range(const struct buddyclient *client, uint64_t place, uint32_t generation,
        struct buddyclient_range *out);

/* A range that the wire names (and that was checked) as the table has it. */
struct holding client_holding(
        const struct buddyclient *client, uint64_t place, uint32_t generation);

/* Has the daemon take what is in an order's slots from `keep` on; nobody waits for it. */
void client_uncache(struct buddyclient *client, unsigned order, unsigned keep);

/* The same for all of several orders, a bit each. */
void client_uncache_orders(struct buddyclient *client, uint32_t orders);

/* Before a request that drops a hold of this range: the table is what counts that hold. -ESTALE: it was returned since it had this
 * name; -ENOMEM. Refused with words. */
int client_leave_cache(struct buddyclient *client, const struct buddyclient_range *range);

/* Drops one hold of each from the table, of those that the table knows. */
void client_forget(struct buddyclient *client, const struct message_ranges *ranges);

/* Refuses a range: -EINVAL, no pool has it; -ESTALE, it is not held. */
int client_refuse_range(
        const struct buddyclient *client, const struct buddyclient_range *range, int error);

/* The messages of the protocol as plain C, and their encoding: the only header of proto that others
 * need for talking, and message_*.c are the only files that include generated code. What each
 * request means stands in docs/PROTOCOL.md.
 *
 * Decoding puts strings and arrays into the caller's arena: they live until its next reset. Encoding writes a whole
 * frame, header included. Nothing here does I/O or holds state; any thread may call anything. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "quota.h"
#include "status.h"

#define PROTOCOL_VERSION        1u
#define MESSAGE_BATCH_MAX       4096u /* ranges in one request */
#define MESSAGE_ORDERS_MAX      64u
#define MESSAGE_TOKEN_BYTES     16u
#define MESSAGE_NAME_MAX        255u /* bytes of a name or key, without the terminator */
#define MESSAGE_TEXT_MAX        1023u /* bytes of a detail or fault; longer ones are cut when encoded */
#define MESSAGE_ENTRIES_MAX     1024u   /* clients or holds in one reply; so many always fit */
#define MESSAGE_CELLS_MAX       4096u   /* of one map, and shares in one reply to it */
#define MESSAGE_PAGE_MAX        524288u /* bytes of a page of text */
#define MESSAGE_DESCRIPTORS_MAX 8u
#define MESSAGE_LIMITS_MAX      64u
#define MESSAGE_FIELDS_MAX      16000u /* fields in one body, nested ones too; a packed array is one */
/* An arena of this size decodes every message that is within its cap, if it was reset before. Address space: only
 * what a message needs is touched. */
#define MESSAGE_ARENA_REQUEST (2u * 1024 * 1024)
#define MESSAGE_ARENA_REPLY   (8u * 1024 * 1024)

/* The numbers are the field numbers in buddyd.proto, dense, and index the daemon's dispatch table. */
#define REQUEST_LIST(X)                                                                            \
        X(HELLO, hello, 2)                                                                         \
        X(ALLOC, alloc, 3)                                                                         \
        X(RELEASE, release, 4)                                                                     \
        X(ATTACH, attach, 5)                                                                       \
        X(GIVE, give, 6)                                                                           \
        X(LOOKUP, lookup, 7)                                                                       \
        X(PUBLISH, publish, 8)                                                                     \
        X(UNPUBLISH, unpublish, 9)                                                                 \
        X(FIND, find, 10)                                                                          \
        X(PING, ping, 11)                                                                          \
        X(GOODBYE, goodbye, 12)                                                                    \
        X(STATS, stats, 13)                                                                        \
        X(CLIENTS, clients, 14)                                                                    \
        X(HOLDS, holds, 15)                                                                        \
        X(CHECK, check, 16)                                                                        \
        X(HOLD, hold, 17)                                                                          \
        X(UNHOLD, unhold, 18)                                                                      \
        X(CACHE, cache, 19)                                                                        \
        X(UNCACHE, uncache, 20)                                                                    \
        X(KICK, kick, 21)                                                                          \
        X(DRAIN, drain, 22)                                                                        \
        X(TRIM, trim, 23)                                                                          \
        X(GROW, grow, 24)                                                                          \
        X(MAP, map, 26)                                                                            \
        X(METRICS, metrics, 27)                                                                    \
        X(QUOTA, quota, 25)

enum request_kind {
        REQUEST_NONE = 0, /* unknown to this version: refused, not fatal */
#define X(name, field, number) REQUEST_##name = number,
        REQUEST_LIST(X)
#undef X
                REQUEST_KIND_END = 28,
};

/* "HELLO" … for logs and statistics; "unknown" for anything else. */
const char *request_kind_name(unsigned kind);

/* A range as the API has it: bytes. */
struct message_range {
        uint64_t offset;
        uint64_t length;
        uint64_t generation;
};

/* Many ranges, page-size independent: each 12 bytes on the wire. place = offset | order, where
 * offset is a multiple of 4 KiB; the length is page size << order. */
struct message_ranges {
        const uint64_t *places;
        const uint32_t *generations;
        size_t count;
};

/* Bits of features. */
#define FEATURE_RESUMES                                                                            \
        UINT64_C(                                                                                  \
                1) /* the client comes back when it loses the connection, as long as its process lives */

enum hello_access {
        ACCESS_READ_WRITE = 0,
        ACCESS_READ_ONLY = 1, /* read-only descriptor; may attach, look up, release */
        ACCESS_OBSERVER = 2,  /* no session, no descriptor: buddyctl */
};

struct request_hello {
        uint32_t version;
        uint64_t features; /* bits the client knows; none are defined yet */
        const char *pool;
        const char *name;
        enum hello_access access;
        uint32_t session;     /* with a token: the session to resume; 0: a new one */
        const uint8_t *token; /* MESSAGE_TOKEN_BYTES, or NULL */
        uint64_t cache_bytes;
};

struct request_alloc {
        uint64_t length;    /* bytes, > 0 */
        uint32_t count;     /* 1 … MESSAGE_BATCH_MAX */
        bool wait;          /* count must be 1 */
        int64_t timeout_ms; /* with wait: -1 = as long as it takes */
        uint64_t waited_ms; /* with wait: before, over a connection that was lost */
        uint32_t spare; /* so many more, if they are free; with count, MESSAGE_BATCH_MAX at most */
};

struct request_release {
        struct message_ranges ranges;
        bool one_way; /* no reply, whatever comes of it */
};

struct request_attach {
        struct message_range range;
};

struct request_give {
        struct message_ranges ranges;
        uint32_t peer;
};

struct request_key { /* lookup, publish, unpublish */
        const char *key;
        struct message_range range; /* publish only */
};

struct request_find {
        const char *name;
};

struct request_list {     /* clients, holds */
        uint32_t session; /* holds: only this client's; 0: all */
        uint64_t cursor;  /* 0 to begin, then what the last reply said */
        uint32_t limit;   /* entries at most; 0: the daemon's choice */
};

struct request_hold {
        uint64_t length;
};

struct request_unhold {
        uint64_t offset;
};

enum metrics_format {
        METRICS_OPENMETRICS = 0,
        METRICS_PROMETHEUS =
                1, /* its older text format, which promtool and textfile collectors read */
        METRICS_FORMAT_END,
};

struct request_metrics {
        uint64_t cursor; /* 0 to begin, then what the last reply said */
        uint32_t format; /* enum metrics_format */
};

/* Has no reply. */
struct request_uncache {
        uint32_t order;
        uint32_t keep; /* slots, from the first on */
};

struct request_kick {
        uint32_t session;
};

struct request_drain {
        bool off; /* serve again */
};

struct request_grow {
        uint64_t size_bytes; /* of the pool from then on */
};

struct request_map {
        uint64_t offset, cell_bytes; /* multiples of the page size */
        uint32_t cells;              /* 1 … MESSAGE_CELLS_MAX */
        bool by_client;
        uint64_t cursor; /* 0 to begin, then what the last reply said */
};

struct request_quota {
        uint32_t limit; /* enum quota, to set; 0: only looks */
        uint64_t value;
        uint64_t cursor; /* of the users */
};

struct request {
        uint64_t id; /* the client's choice; the reply bears it */
        enum request_kind kind;
        union {
                struct request_hello hello;
                struct request_alloc alloc;
                struct request_release release;
                struct request_attach attach;
                struct request_give give;
                struct request_key lookup, publish, unpublish;
                struct request_find find;
                struct request_list clients, holds;
                struct request_hold hold;
                struct request_unhold unhold;
                struct request_uncache uncache;
                struct request_kick kick;
                struct request_drain drain;
                struct request_grow grow;
                struct request_map map;
                struct request_metrics metrics;
                struct request_quota quota;
                /* ping, goodbye, stats, check, cache, trim: no body */
        };
};

#define REPLY_LIST(X)                                                                              \
        X(REFUSED, refused, 2)                                                                     \
        X(DONE, done, 3)                                                                           \
        X(RANGES, ranges, 4)                                                                       \
        X(WELCOME, welcome, 5)                                                                     \
        X(PEER, peer, 6)                                                                           \
        X(STATS, stats, 7)                                                                         \
        X(CLIENTS, clients, 8)                                                                     \
        X(HOLDS, holds, 9)                                                                         \
        X(CHECK, check, 10)                                                                        \
        X(RANGE, range, 11)                                                                        \
        X(RETURNED, returned, 12)                                                                  \
        X(MAP, map, 14)                                                                            \
        X(TEXT, text, 15)                                                                          \
        X(QUOTAS, quotas, 16)

enum reply_kind {
        REPLY_NONE = 0,
#define X(name, field, number) REPLY_##name = number,
        REPLY_LIST(X)
#undef X
};

struct reply_refused {
        enum status status;
        const char *detail; /* one line with figures; may be empty */
};

enum descriptor_kind {
        DESCRIPTOR_SEGMENT = 1,
        DESCRIPTOR_PULSE = 2,
};

/* How far a session's requests came: the first `ranges` ranges of this request were done, and every request about ranges
 * before it that was not refused. */
struct message_done {
        uint64_t request; /* modulo 2^MESSAGE_DONE_BITS */
        uint32_t ranges;
        uint64_t place; /* of the last of them, while it is held; generation 0: none */
        uint32_t generation;
        uint32_t use; /* that it is published by */
};
#define MESSAGE_DONE_BITS 41

struct reply_welcome {
        uint32_t version;
        uint64_t features;
        uint32_t session;
        const uint8_t *token; /* MESSAGE_TOKEN_BYTES, or NULL for an observer */
        uint64_t page_bytes;
        uint64_t size_bytes;     /* of the pool now */
        uint64_t max_size_bytes; /* reserve this much address space */
        bool resumed;
        const uint32_t *descriptors; /* enum descriptor_kind, in the order they were sent */
        size_t descriptor_count;
        struct message_done done;
        uint64_t granted_ranges; /* that a resumed session holds, without those that peers gave */
};

struct reply_latency { /* microseconds */
        double p50, p99, p999, max;
};

struct reply_order {
        uint32_t order;
        uint64_t block_bytes, free_blocks, held_blocks;
        double unusable_index, fragmentation_index;
};

struct reply_stats {
        const char *pool;
        const char *backing;
        uint64_t page_bytes, size_bytes, capacity_bytes, held_bytes, cached_bytes, free_bytes;
        uint64_t largest_free_bytes, resident_bytes;
        uint64_t clients, waiters, restarts, uptime_seconds;
        uint64_t allocs_total, frees_total, cache_hits_total;
        uint64_t requested_bytes_total, granted_bytes_total;
        uint64_t no_space_total, quota_refusals_total, reclaimed_bytes_total;
        uint64_t orphans;  /* sessions of an earlier daemon whose clients have not come back yet */
        uint64_t draining; /* 1: nothing is granted */
        uint64_t trimmed_bytes_total; /* given back to the system */
        uint64_t oldest_waiter_ms;
        struct reply_latency alloc, free;
        const struct reply_order *orders;
        size_t order_count;
};

struct reply_client {
        uint32_t session;
        const char *name;
        uint32_t pid, uid;
        bool connected, read_only;
        uint64_t held_bytes, held_ranges, cached_bytes, waiting;
        uint64_t connected_seconds;
};

struct reply_clients {
        const struct reply_client *entries;
        size_t count;
        uint64_t next_cursor; /* 0: that was all */
};

struct reply_hold {
        struct message_range range;
        uint32_t session; /* 0: held by key */
        uint64_t age_seconds;
        const char *key;
        bool given; /* by a peer, not granted or attached */
};

struct reply_holds {
        const struct reply_hold *entries;
        size_t count;
        uint64_t next_cursor;
};

/* Bytes to be added up, cell by cell, over all replies to one map. */
struct reply_map {
        uint64_t size_bytes;  /* of the pool */
        uint64_t next_cursor; /* 0: that was all */
        uint32_t first;       /* cell that granted[0] is of */
        const uint64_t *granted;
        size_t granted_count;
        const uint64_t *cached; /* from cell 0 on; in the first reply alone */
        size_t cached_count;
        const uint32_t
                *share_cells; /* by client: of this cell, this session (0: a key) has so much */
        const uint32_t *share_sessions;
        const uint64_t *share_bytes;
        size_t share_count;
};

struct reply_check {
        uint64_t pages, chunks, records, live_blocks, holds, keys, sessions, free_blocks;
        uint64_t microseconds;
        const char *fault; /* empty: everything holds */
};

struct reply_returned {
        uint64_t count; /* kick: holds; trim: stretches of memory */
        uint64_t bytes; /* kick: that became free; trim: that the system has back */
        uint64_t microseconds;
};

struct reply_text {
        const char *text;     /* MESSAGE_PAGE_MAX bytes at most */
        uint64_t next_cursor; /* 0: that was all */
};

/* What one uid uses: of the pool, but for connections and buffers, which are of the daemon. */
struct reply_user {
        uint32_t uid;
        bool privileged; /* shares are no limit to it */
        uint64_t bytes, ranges, clients, keys, holds, waits, connections, buffers;
};

struct reply_quotas {
        const uint64_t *limits; /* of enum quota, from 1 on */
        size_t limit_count;
        const struct reply_user *entries;
        size_t count;
        uint64_t next_cursor; /* 0: that was all */
};

struct reply {
        uint64_t id;
        enum reply_kind kind;
        union {
                struct reply_refused refused;
                struct message_ranges ranges;
                struct reply_welcome welcome;
                uint32_t peer;
                struct reply_stats stats;
                struct reply_clients clients;
                struct reply_holds holds;
                struct reply_check check;
                struct message_range range;
                struct reply_returned returned;
                struct reply_map map;
                struct reply_text text;
                struct reply_quotas quotas;
                /* done: no body */
        };
};

/* Decodes one message (without frame header). 0; -EBADMSG: not a message, or one over a limit: arrays (also such as differ
 * in length), names (also with a NUL in them), fields, access; -ENOMEM: the arena is full. An unknown body gives kind
 * NONE and the id; an unknown status is STATUS_PROTOCOL. Texts are never NULL. On failure *out is unchanged. */
int request_decode(struct arena *arena, const uint8_t *message, size_t length, struct request *out);
int reply_decode(struct arena *arena, const uint8_t *message, size_t length, struct reply *out);

/* Bytes of the whole frame, or 0 for a message that cannot be encoded. */
size_t request_frame_bytes(const struct request *request);
size_t reply_frame_bytes(const struct reply *reply);

/* Writes the whole frame. Returns its length, or -EMSGSIZE: it does not fit into size, is over the frame cap, has
 * an array or a name over its limit, or its kind is none that there is. A missing text is an empty one. */
ptrdiff_t request_encode(const struct request *request, uint8_t *frame, size_t size);
ptrdiff_t reply_encode(const struct reply *reply, uint8_t *frame, size_t size);

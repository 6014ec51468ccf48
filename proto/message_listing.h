/* The replies with messages in them: statistics, and listings of clients and holds. Internal to
 * message_reply.c and message_listing.c. */
#pragma once

#include "body.h"
#include "buddyd.pb-c.h"

#define LISTING_PIECE ((size_t)32) /* entries that are written at a time */

/* On the way to the wire: the message and what it points at. */
struct stats_body {
        Buddyd__Stats stats;
        Buddyd__Latency alloc, free;
        Buddyd__Order orders[MESSAGE_ORDERS_MAX];
        Buddyd__Order *order_list[MESSAGE_ORDERS_MAX];
};

struct clients_body {
        Buddyd__Clients clients;
        Buddyd__ClientEntry entries[LISTING_PIECE];
        Buddyd__ClientEntry *list[LISTING_PIECE];
};

struct holds_body {
        Buddyd__Holds holds;
        Buddyd__HoldEntry entries[LISTING_PIECE];
        Buddyd__HoldEntry *list[LISTING_PIECE];
};

struct quotas_body {
        Buddyd__Quotas quotas;
        Buddyd__UserEntry entries[LISTING_PIECE];
        Buddyd__UserEntry *list[LISTING_PIECE];
};

/* 0, -EBADMSG or -ENOMEM; *out is written also then. */
int stats_from_wire(struct body_memory *memory, const Buddyd__Stats *wire, struct reply_stats *out);
int clients_from_wire(
        struct body_memory *memory, const Buddyd__Clients *wire, struct reply_clients *out);
int holds_from_wire(struct body_memory *memory, const Buddyd__Holds *wire, struct reply_holds *out);
int quotas_from_wire(
        struct body_memory *memory, const Buddyd__Quotas *wire, struct reply_quotas *out);

/* The piece that begins at entry first; the last one bears the cursor. 0 or -EMSGSIZE. */
int stats_to_wire(const struct reply_stats *stats, struct stats_body *out);
int clients_to_wire(const struct reply_clients *clients, size_t first, struct clients_body *out);
int holds_to_wire(const struct reply_holds *holds, size_t first, struct holds_body *out);
int quotas_to_wire(const struct reply_quotas *quotas, size_t first, struct quotas_body *out);

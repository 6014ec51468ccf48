/* Statistics and listings between plain C and the wire. Stateless. */
#include "message_listing.h"

#include <errno.h>

static struct reply_latency latency_from_wire(const Buddyd__Latency *wire) {
        if (!wire)
                return (struct reply_latency){0};
        return (struct reply_latency){
                .p50 = wire->p50, .p99 = wire->p99, .p999 = wire->p999, .max = wire->max};
}

static void latency_to_wire(const struct reply_latency *latency, Buddyd__Latency *out) {
        *out = (Buddyd__Latency)BUDDYD__LATENCY__INIT;
        out->p50 = latency->p50;
        out->p99 = latency->p99;
        out->p999 = latency->p999;
        out->max = latency->max;
}

static int orders_from_wire(
        struct body_memory *memory, const Buddyd__Stats *wire, struct reply_stats *out) {
        if (wire->n_orders > MESSAGE_ORDERS_MAX)
                return -EBADMSG;
        struct reply_order *orders = body_alloc(memory, wire->n_orders * sizeof(*orders));
        if (!orders)
                return -ENOMEM;
        for (size_t i = 0; i < wire->n_orders; i++) {
                const Buddyd__Order *order = wire->orders[i];
                orders[i] = (struct reply_order){
                        .order = order->order,
                        .block_bytes = order->block_bytes,
                        .free_blocks = order->free_blocks,
                        .held_blocks = order->held_blocks,
                        .unusable_index = order->unusable_index,
                        .fragmentation_index = order->fragmentation_index,
                };
        }
        out->orders = orders;
        out->order_count = wire->n_orders;
        return 0;
}

/* The figures that are the same on both sides, field by field. */
#define STATS_FIGURES(X)                                                                           \
        X(page_bytes)                                                                              \
        X(size_bytes)                                                                              \
        X(capacity_bytes)                                                                          \
        X(held_bytes)                                                                              \
        X(cached_bytes)                                                                            \
        X(free_bytes)                                                                              \
        X(largest_free_bytes)                                                                      \
        X(resident_bytes)                                                                          \
        X(clients)                                                                                 \
        X(waiters)                                                                                 \
        X(restarts)                                                                                \
        X(uptime_seconds)                                                                          \
        X(allocs_total)                                                                            \
        X(frees_total)                                                                             \
        X(cache_hits_total)                                                                        \
        X(requested_bytes_total)                                                                   \
        X(granted_bytes_total)                                                                     \
        X(no_space_total)                                                                          \
        X(quota_refusals_total)                                                                    \
        X(reclaimed_bytes_total)                                                                   \
        X(orphans)                                                                                 \
        X(draining)                                                                                \
        X(trimmed_bytes_total)                                                                     \
        X(oldest_waiter_ms)

int stats_from_wire(
        struct body_memory *memory, const Buddyd__Stats *wire, struct reply_stats *out) {
        *out = (struct reply_stats){
#define X(field) .field = wire->field,
                STATS_FIGURES(X)
#undef X
                        .alloc = latency_from_wire(wire->alloc_us),
                .free = latency_from_wire(wire->free_us),
        };
        int error = body_text(memory, &wire->pool, MESSAGE_NAME_MAX, &out->pool);
        if (error == 0)
                error = body_text(memory, &wire->backing, MESSAGE_NAME_MAX, &out->backing);
        return error ? error : orders_from_wire(memory, wire, out);
}

static void orders_to_wire(const struct reply_stats *stats, struct stats_body *out) {
        for (size_t i = 0; i < stats->order_count; i++) {
                const struct reply_order *order = &stats->orders[i];
                Buddyd__Order *wire = &out->orders[i];
                *wire = (Buddyd__Order)BUDDYD__ORDER__INIT;
                wire->order = order->order;
                wire->block_bytes = order->block_bytes;
                wire->free_blocks = order->free_blocks;
                wire->held_blocks = order->held_blocks;
                wire->unusable_index = order->unusable_index;
                wire->fragmentation_index = order->fragmentation_index;
                out->order_list[i] = wire;
        }
        out->stats.orders = out->order_list;
        out->stats.n_orders = stats->order_count;
}

int stats_to_wire(const struct reply_stats *stats, struct stats_body *out) {
        if (stats->order_count > MESSAGE_ORDERS_MAX)
                return -EMSGSIZE;
        Buddyd__Stats *wire = &out->stats;
        *wire = (Buddyd__Stats)BUDDYD__STATS__INIT;
#define X(field) wire->field = stats->field;
        STATS_FIGURES(X)
#undef X
        latency_to_wire(&stats->alloc, &out->alloc);
        latency_to_wire(&stats->free, &out->free);
        wire->alloc_us = &out->alloc;
        wire->free_us = &out->free;
        orders_to_wire(stats, out);
        int error = body_put_text(stats->pool, MESSAGE_NAME_MAX, &wire->pool);
        return error ? error : body_put_text(stats->backing, MESSAGE_NAME_MAX, &wire->backing);
}

static int client_from_wire(
        struct body_memory *memory, const Buddyd__ClientEntry *wire, struct reply_client *out) {
        *out = (struct reply_client){
                .session = wire->session,
                .pid = wire->pid,
                .uid = wire->uid,
                .connected = wire->connected,
                .read_only = wire->read_only,
                .held_bytes = wire->held_bytes,
                .held_ranges = wire->held_ranges,
                .cached_bytes = wire->cached_bytes,
                .waiting = wire->waiting,
                .connected_seconds = wire->connected_seconds,
        };
        return body_text(memory, &wire->name, MESSAGE_NAME_MAX, &out->name);
}

int clients_from_wire(
        struct body_memory *memory, const Buddyd__Clients *wire, struct reply_clients *out) {
        if (wire->n_entries > MESSAGE_ENTRIES_MAX)
                return -EBADMSG;
        struct reply_client *entries = body_alloc(memory, wire->n_entries * sizeof(*entries));
        if (!entries)
                return -ENOMEM;
        for (size_t i = 0; i < wire->n_entries; i++) {
                int error = client_from_wire(memory, wire->entries[i], &entries[i]);
                if (error < 0)
                        return error;
        }
        *out = (struct reply_clients){
                .entries = entries, .count = wire->n_entries, .next_cursor = wire->next_cursor};
        return 0;
}

static int client_to_wire(const struct reply_client *client, Buddyd__ClientEntry *out) {
        *out = (Buddyd__ClientEntry)BUDDYD__CLIENT_ENTRY__INIT;
        out->session = client->session;
        out->pid = client->pid;
        out->uid = client->uid;
        out->connected = client->connected;
        out->read_only = client->read_only;
        out->held_bytes = client->held_bytes;
        out->held_ranges = client->held_ranges;
        out->cached_bytes = client->cached_bytes;
        out->waiting = client->waiting;
        out->connected_seconds = client->connected_seconds;
        return body_put_text(client->name, MESSAGE_NAME_MAX, &out->name);
}

/* Entries of the piece that begins at first, and whether it is the last. */
static size_t piece_entries(size_t count, size_t first, bool *last) {
        size_t left = count - first;
        *last = left <= LISTING_PIECE;
        return *last ? left : LISTING_PIECE;
}

int clients_to_wire(const struct reply_clients *clients, size_t first, struct clients_body *out) {
        bool last;
        size_t count = piece_entries(clients->count, first, &last);
        out->clients = (Buddyd__Clients)BUDDYD__CLIENTS__INIT;
        out->clients.n_entries = count;
        out->clients.entries = out->list;
        out->clients.next_cursor = last ? clients->next_cursor : 0;
        for (size_t i = 0; i < count; i++) {
                out->list[i] = &out->entries[i];
                int error = client_to_wire(&clients->entries[first + i], &out->entries[i]);
                if (error < 0)
                        return error;
        }
        return 0;
}

static int hold_from_wire(
        struct body_memory *memory, const Buddyd__HoldEntry *wire, struct reply_hold *out) {
        *out = (struct reply_hold){
                .range = {.offset = wire->offset,
                        .length = wire->length,
                        .generation = wire->generation},
                .session = wire->session,
                .age_seconds = wire->age_seconds,
                .given = wire->given,
        };
        return body_text(memory, &wire->key, MESSAGE_NAME_MAX, &out->key);
}

int holds_from_wire(
        struct body_memory *memory, const Buddyd__Holds *wire, struct reply_holds *out) {
        if (wire->n_entries > MESSAGE_ENTRIES_MAX)
                return -EBADMSG;
        struct reply_hold *entries = body_alloc(memory, wire->n_entries * sizeof(*entries));
        if (!entries)
                return -ENOMEM;
        for (size_t i = 0; i < wire->n_entries; i++) {
                int error = hold_from_wire(memory, wire->entries[i], &entries[i]);
                if (error < 0)
                        return error;
        }
        *out = (struct reply_holds){
                .entries = entries, .count = wire->n_entries, .next_cursor = wire->next_cursor};
        return 0;
}

static int hold_to_wire(const struct reply_hold *hold, Buddyd__HoldEntry *out) {
        *out = (Buddyd__HoldEntry)BUDDYD__HOLD_ENTRY__INIT;
        out->offset = hold->range.offset;
        out->length = hold->range.length;
        out->generation = hold->range.generation;
        out->session = hold->session;
        out->age_seconds = hold->age_seconds;
        out->given = hold->given;
        return body_put_text(hold->key, MESSAGE_NAME_MAX, &out->key);
}

int holds_to_wire(const struct reply_holds *holds, size_t first, struct holds_body *out) {
        bool last;
        size_t count = piece_entries(holds->count, first, &last);
        out->holds = (Buddyd__Holds)BUDDYD__HOLDS__INIT;
        out->holds.n_entries = count;
        out->holds.entries = out->list;
        out->holds.next_cursor = last ? holds->next_cursor : 0;
        for (size_t i = 0; i < count; i++) {
                out->list[i] = &out->entries[i];
                int error = hold_to_wire(&holds->entries[first + i], &out->entries[i]);
                if (error < 0)
                        return error;
        }
        return 0;
}

/* The fields that are the same on both sides. */
#define USER_FIELDS(X)                                                                             \
        X(uid)                                                                                     \
        X(privileged)                                                                              \
        X(bytes)                                                                                   \
        X(ranges)                                                                                  \
        X(clients)                                                                                 \
        X(keys)                                                                                    \
        X(holds)                                                                                   \
        X(waits)                                                                                   \
        X(connections)                                                                             \
        X(buffers)

int quotas_from_wire(
        struct body_memory *memory, const Buddyd__Quotas *wire, struct reply_quotas *out) {
        if (wire->n_entries > MESSAGE_ENTRIES_MAX || wire->n_limits > MESSAGE_LIMITS_MAX)
                return -EBADMSG;
        struct reply_user *entries = body_alloc(memory, wire->n_entries * sizeof(*entries));
        if (!entries)
                return -ENOMEM;
        for (size_t i = 0; i < wire->n_entries; i++)
                entries[i] = (struct reply_user){
#define X(field) .field = wire->entries[i]->field,
                        USER_FIELDS(X)
#undef X
                };
        *out = (struct reply_quotas){.limits = wire->limits,
                .limit_count = wire->n_limits,
                .entries = entries,
                .count = wire->n_entries,
                .next_cursor = wire->next_cursor};
        return 0;
}

static void user_to_wire(const struct reply_user *user, Buddyd__UserEntry *out) {
        *out = (Buddyd__UserEntry)BUDDYD__USER_ENTRY__INIT;
#define X(field) out->field = user->field;
        USER_FIELDS(X)
#undef X
}

/* The limits go with the first piece. */
int quotas_to_wire(const struct reply_quotas *quotas, size_t first, struct quotas_body *out) {
        bool last;
        size_t count = piece_entries(quotas->count, first, &last);
        if (quotas->limit_count > MESSAGE_LIMITS_MAX)
                return -EMSGSIZE;
        out->quotas = (Buddyd__Quotas)BUDDYD__QUOTAS__INIT;
        out->quotas.limits = (uint64_t *)(uintptr_t)quotas->limits;
        out->quotas.n_limits = first == 0 ? quotas->limit_count : 0;
        out->quotas.n_entries = count;
        out->quotas.entries = out->list;
        out->quotas.next_cursor = last ? quotas->next_cursor : 0;
        for (size_t i = 0; i < count; i++) {
                out->list[i] = &out->entries[i];
                user_to_wire(&quotas->entries[first + i], &out->entries[i]);
        }
        return 0;
}

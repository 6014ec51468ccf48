/* The pool at a glance: the daemon's figures as the public struct has them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client.h"

/* What the first version of the struct ended with; the struct only ever grows behind it. */
#define STATS_SIZE_FIRST                                                                           \
        (offsetof(struct buddyclient_stats, orders) +                                              \
                sizeof(((struct buddyclient_stats *)0)->orders))
#define ORDERS_MAX                                                                                 \
        (sizeof(((struct buddyclient_stats *)0)->orders) / sizeof(struct buddyclient_order))

struct stats_call {
        struct buddyclient *client;
        struct buddyclient_stats *out;
};

static void copy_orders(const struct reply_stats *from, struct buddyclient_stats *to) {
        size_t count = from->order_count < ORDERS_MAX ? from->order_count : ORDERS_MAX;
        for (size_t i = 0; i < count; i++) {
                const struct reply_order *order = &from->orders[i];
                to->orders[i] = (struct buddyclient_order){
                        .order = order->order,
                        .block_bytes = order->block_bytes,
                        .free_blocks = order->free_blocks,
                        .held_blocks = order->held_blocks,
                        .unusable_index = order->unusable_index,
                        .fragmentation_index = order->fragmentation_index,
                };
        }
        to->order_count = (uint32_t)count;
}

static struct buddyclient_latency copy_latency(const struct reply_latency *from) {
        return (struct buddyclient_latency){from->p50, from->p99, from->p999, from->max};
}

static void copy_stats(const struct reply_stats *from, struct buddyclient_stats *to) {
        *to = (struct buddyclient_stats){
#define COPY(field) .field = from->field
                COPY(page_bytes),
                COPY(size_bytes),
                COPY(capacity_bytes),
                COPY(held_bytes),
                COPY(cached_bytes),
                COPY(free_bytes),
                COPY(largest_free_bytes),
                COPY(resident_bytes),
                COPY(clients),
                COPY(waiters),
                COPY(restarts),
                COPY(uptime_seconds),
                COPY(allocs_total),
                COPY(frees_total),
                COPY(cache_hits_total),
                COPY(requested_bytes_total),
                COPY(granted_bytes_total),
                COPY(no_space_total),
                COPY(quota_refusals_total),
                COPY(reclaimed_bytes_total),
                COPY(orphans),
                COPY(oldest_waiter_ms),
#undef COPY
                .alloc_us = copy_latency(&from->alloc),
                .free_us = copy_latency(&from->free),
        };
        snprintf(to->pool, sizeof(to->pool), "%s", from->pool ? from->pool : "");
        snprintf(to->backing, sizeof(to->backing), "%s", from->backing ? from->backing : "");
        copy_orders(from, to);
}

static int accept_stats(void *context, const struct reply *reply) {
        struct stats_call *stats = context;
        if (reply->kind != REPLY_STATS)
                return -EPROTO;
        copy_stats(&reply->stats, stats->out);
        client_learn_size(stats->client, reply->stats.size_bytes);
        return 0;
}

int buddyclient_stats(struct buddyclient *client, struct buddyclient_stats *out) {
        int rc = client_usable(client);
        if (rc < 0)
                return rc;
        if (!out || out->struct_size < STATS_SIZE_FIRST)
                return client_refuse(client, -EINVAL, "struct_size is not set");
        struct buddyclient_stats stats;
        struct stats_call context = {client, &stats};
        struct request request = {.kind = REQUEST_STATS};
        struct call call = {.accept = accept_stats, .context = &context};
        rc = client_exchange(client, &request, &call);
        if (rc < 0)
                return rc;
        size_t caller_size = out->struct_size;
        stats.struct_size = caller_size;
        if (caller_size > sizeof(stats))
                memset((char *)out + sizeof(stats), 0, caller_size - sizeof(stats));
        memcpy(out, &stats, caller_size < sizeof(stats) ? caller_size : sizeof(stats));
        return 0;
}

/* Two views of the same figures. */
#include "stats_view.h"

#include <inttypes.h>

#include "printable.h"
#include "quantity.h"
#include "terminal.h"

void stats_view_orders_json(struct json *json, const struct reply_stats *stats) {
        json_begin_array(json, "orders");
        for (size_t i = 0; i < stats->order_count; i++) {
                const struct reply_order *order = &stats->orders[i];
                json_begin_object(json, NULL);
                json_integer(json, "order", order->order);
                json_integer(json, "block_bytes", order->block_bytes);
                json_integer(json, "free_blocks", order->free_blocks);
                json_integer(json, "held_blocks", order->held_blocks);
                json_number(json, "unusable_index", order->unusable_index);
                json_number(json, "fragmentation_index", order->fragmentation_index);
                json_end_object(json);
        }
        json_end_array(json);
}

static void latency_json(struct json *json, const char *key, const struct reply_latency *latency) {
        json_begin_object(json, key);
        json_number(json, "p50", latency->p50);
        json_number(json, "p99", latency->p99);
        json_number(json, "p999", latency->p999);
        json_number(json, "max", latency->max);
        json_end_object(json);
}

void stats_view_json(FILE *out, const struct reply_stats *stats) {
        struct json json = {.out = out};
        json_begin_object(&json, NULL);
        json_text(&json, "pool", stats->pool);
        json_text(&json, "backing", stats->backing);
        json_integer(&json, "page_bytes", stats->page_bytes);
        json_integer(&json, "size_bytes", stats->size_bytes);
        json_integer(&json, "capacity_bytes", stats->capacity_bytes);
        json_integer(&json, "held_bytes", stats->held_bytes);
        json_integer(&json, "cached_bytes", stats->cached_bytes);
        json_integer(&json, "free_bytes", stats->free_bytes);
        json_integer(&json, "largest_free_bytes", stats->largest_free_bytes);
        json_integer(&json, "resident_bytes", stats->resident_bytes);
        json_integer(&json, "clients", stats->clients);
        json_integer(&json, "waiters", stats->waiters);
        json_integer(&json, "orphans", stats->orphans);
        json_integer(&json, "restarts", stats->restarts);
        json_integer(&json, "uptime_seconds", stats->uptime_seconds);
        json_integer(&json, "allocs_total", stats->allocs_total);
        json_integer(&json, "frees_total", stats->frees_total);
        json_integer(&json, "cache_hits_total", stats->cache_hits_total);
        json_integer(&json, "requested_bytes_total", stats->requested_bytes_total);
        json_integer(&json, "granted_bytes_total", stats->granted_bytes_total);
        json_integer(&json, "no_space_total", stats->no_space_total);
        json_integer(&json, "quota_refusals_total", stats->quota_refusals_total);
        json_integer(&json, "reclaimed_bytes_total", stats->reclaimed_bytes_total);
        stats_view_orders_json(&json, stats);
        json_begin_object(&json, "latency_us");
        latency_json(&json, "alloc", &stats->alloc);
        latency_json(&json, "free", &stats->free);
        json_end_object(&json);
        json_end_object(&json);
        json_end_document(&json);
}

static void view_heading(FILE *out, const struct reply_stats *stats) {
        char page[QUANTITY_BYTES], uptime[QUANTITY_BYTES];
        terminal_style(out, STYLE_STRONG);
        fputs("pool ", out);
        printable_write(out, stats->pool);
        terminal_style(out, STYLE_PLAIN);
        fputs("  ", out);
        printable_write(out, stats->backing);
        fprintf(out, ", pages of %s, up %s, taken over %" PRIu64 " times\n",
                quantity_bytes(page, stats->page_bytes),
                quantity_seconds(uptime, stats->uptime_seconds), stats->restarts);
}

/* "held     512 MiB   50.0 %" on the left. */
static void view_share(
        FILE *out, const char *name, enum terminal_style style, uint64_t bytes, uint64_t size) {
        char amount[QUANTITY_BYTES], share[QUANTITY_BYTES];
        terminal_style(out, style);
        fprintf(out, "%-9s", name);
        terminal_style(out, STYLE_PLAIN);
        fprintf(out, "%12s %9s", quantity_bytes(amount, bytes), quantity_share(share, bytes, size));
}

static void view_bytes(FILE *out, const char *name, uint64_t bytes) {
        char amount[QUANTITY_BYTES];
        fprintf(out, "     %-19s%14s\n", name, quantity_bytes(amount, bytes));
}

static void view_count(FILE *out, const char *name, uint64_t count) {
        char amount[QUANTITY_BYTES];
        fprintf(out, "     %-19s%14s\n", name, quantity_count(amount, count));
}

static void view_memory(FILE *out, const struct reply_stats *stats) {
        uint64_t size = stats->size_bytes;
        terminal_bar(out, stats->held_bytes, stats->cached_bytes, size);
        fputc('\n', out);
        view_share(out, "held", STYLE_HELD, stats->held_bytes, size);
        view_bytes(out, "largest free block", stats->largest_free_bytes);
        view_share(out, "cached", STYLE_CACHED, stats->cached_bytes, size);
        view_bytes(out, "resident", stats->resident_bytes);
        view_share(out, "free", STYLE_FREE, stats->free_bytes, size);
        view_count(out, "clients", stats->clients);
        view_share(out, "size", STYLE_PLAIN, size, stats->capacity_bytes);
        view_count(out, "waiting", stats->waiters);
        view_share(out, "capacity", STYLE_PLAIN, stats->capacity_bytes, stats->capacity_bytes);
        view_count(out, "orphans", stats->orphans);
}

/* Counts stand left, bytes right. */
static void view_total(FILE *out, const char *name, uint64_t count) {
        char amount[QUANTITY_BYTES];
        fprintf(out, "%-15s%16s", name, quantity_count(amount, count));
}

static void view_totals(FILE *out, const struct reply_stats *stats) {
        fputc('\n', out);
        view_total(out, "allocs", stats->allocs_total);
        view_bytes(out, "bytes requested", stats->requested_bytes_total);
        view_total(out, "frees", stats->frees_total);
        view_bytes(out, "bytes granted", stats->granted_bytes_total);
        view_total(out, "cache hits", stats->cache_hits_total);
        view_bytes(out, "bytes reclaimed", stats->reclaimed_bytes_total);
        view_total(out, "no space", stats->no_space_total);
        view_count(out, "over quota", stats->quota_refusals_total);
}

static void view_latency(FILE *out, const char *name, const struct reply_latency *latency) {
        fprintf(out, "%-15s%12.2f%12.2f%12.2f%12.2f\n", name, latency->p50, latency->p99,
                latency->p999, latency->max);
}

void stats_view_text(FILE *out, const struct reply_stats *stats) {
        view_heading(out, stats);
        view_memory(out, stats);
        view_totals(out, stats);
        fprintf(out, "\n%s in buddyd%*s%12s%12s%12s%12s\n", quantity_microsecond(), 3, "", "p50",
                "p99", "p99.9", "max");
        view_latency(out, "alloc", &stats->alloc);
        view_latency(out, "free", &stats->free);
}

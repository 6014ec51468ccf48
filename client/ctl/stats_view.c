/* Two views of the same figures; the row of figures is in stats_row.c. */
#include "stats_view.h"

#include <inttypes.h>
#include <string.h>

#include "flow.h"
#include "map_view.h"
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

static void rates_json(struct json *json, const struct rates *rates) {
        json_begin_object(json, "rates");
        json_number(json, "seconds", rates->seconds);
        json_bool(json, "since_start", rates->since_start);
        json_number(json, "allocs_per_second", rates->allocs);
        json_number(json, "frees_per_second", rates->frees);
        json_number(json, "cache_hits_per_second", rates->cache_hits);
        json_number(json, "granted_bytes_per_second", rates->granted_bytes);
        json_end_object(json);
}

void stats_view_json(FILE *out, const struct stats_screen *screen) {
        const struct reply_stats *stats = screen->stats;
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
        json_integer(&json, "trimmed_bytes_total", stats->trimmed_bytes_total);
        json_bool(&json, "draining", stats->draining != 0);
        stats_view_orders_json(&json, stats);
        json_begin_object(&json, "latency_us");
        latency_json(&json, "alloc", &stats->alloc);
        latency_json(&json, "free", &stats->free);
        json_end_object(&json);
        json_number(&json, "oldest_waiter_seconds", (double)stats->oldest_waiter_ms / 1e3);
        json_number(&json, "rounding_waste_ratio", stats_waste_ratio(stats));
        rates_json(&json, &screen->rates);
        json_end_object(&json);
        json_end_document(&json);
}

#define MAP_WIDTH 78u

static void view_heading(FILE *out, const struct reply_stats *stats) {
        struct flow flow = {.out = out, .width = MAP_WIDTH};
        char text[MESSAGE_NAME_MAX + 32], amount[QUANTITY_BYTES];
        snprintf(text, sizeof(text), "pool %s", stats->pool);
        flow_phrase(&flow, STYLE_STRONG, NULL, text);
        flow_phrase(&flow, STYLE_PLAIN, NULL, stats->backing);
        snprintf(text, sizeof(text), "pages of %s", quantity_bytes(amount, stats->page_bytes));
        flow_phrase(&flow, STYLE_PLAIN, NULL, text);
        snprintf(text, sizeof(text), "up %s", quantity_seconds(amount, stats->uptime_seconds));
        flow_phrase(&flow, STYLE_PLAIN, NULL, text);
        snprintf(text, sizeof(text), "restarts %" PRIu64, stats->restarts);
        flow_phrase(&flow, STYLE_PLAIN, NULL, text);
        flow_end(&flow);
        if (stats->draining)
                fputs("draining: nothing is granted; buddyctl drain --off ends it\n", out);
}

/* "held     512 MiB   50.0 %" on the left. */
static void view_share(
        FILE *out, const char *name, enum terminal_style style, const char *amount, double share) {
        terminal_style(out, style);
        fprintf(out, "%-10s", name);
        terminal_style(out, STYLE_PLAIN);
        fprintf(out, "%14s", amount);
        if (share >= 0)
                fprintf(out, " %6.1f %%", share * 100);
        else
                fprintf(out, "%9s", "");
}

/* On the right; the longer the name, the less room for the value. */
static void view_right(FILE *out, const char *name, const char *value) {
        fprintf(out, "     %s%*s\n", name, 40 - (int)strlen(name), value);
}

static double share_of(uint64_t part, uint64_t whole) {
        return whole == 0 ? 0 : (double)part / (double)whole;
}

static void view_left(FILE *out, const struct stats_screen *screen, const char *name,
        enum terminal_style style, uint64_t bytes) {
        char amount[QUANTITY_BYTES];
        bool part = style != STYLE_PLAIN;
        view_share(out, name, style, quantity_amount(amount, bytes, screen->raw_bytes),
                part ? share_of(bytes, screen->stats->size_bytes) : -1);
}

/* How much of what is free is in blocks below which size. */
static void view_fragmentation(FILE *out, const struct reply_stats *stats) {
        const struct reply_order *order = stats_large_order(stats);
        char share[QUANTITY_BYTES], block[QUANTITY_BYTES], name[64] = "fragmentation";
        snprintf(share, sizeof(share), "%.1f %%", order ? order->unusable_index * 100 : 0);
        if (order)
                snprintf(name, sizeof(name), "fragmentation below %s",
                        quantity_bytes(block, order->block_bytes));
        view_right(out, name, share);
}

static void view_waiters(FILE *out, const struct reply_stats *stats) {
        char count[QUANTITY_BYTES], age[QUANTITY_BYTES], name[64] = "waiting";
        if (stats->waiters > 0)
                snprintf(name, sizeof(name), "waiting, oldest %s",
                        quantity_milliseconds(age, stats->oldest_waiter_ms));
        view_right(out, name, quantity_count(count, stats->waiters));
}

static void view_memory(FILE *out, const struct stats_screen *screen) {
        const struct reply_stats *stats = screen->stats;
        char text[QUANTITY_BYTES];
        view_left(out, screen, "held", STYLE_HELD, stats->held_bytes);
        view_right(out, "largest free block",
                quantity_amount(text, stats->largest_free_bytes, screen->raw_bytes));
        view_left(out, screen, "cached", STYLE_CACHED, stats->cached_bytes);
        view_fragmentation(out, stats);
        view_left(out, screen, "free", STYLE_FREE, stats->free_bytes);
        snprintf(text, sizeof(text), "%.1f %%", stats_waste_ratio(stats) * 100);
        view_right(out, "rounding waste of granted", text);
        view_left(out, screen, "size", STYLE_PLAIN, stats->size_bytes);
        view_right(out, "clients", quantity_count(text, stats->clients));
        view_left(out, screen, "capacity", STYLE_PLAIN, stats->capacity_bytes);
        view_waiters(out, stats);
        view_left(out, screen, "resident", STYLE_PLAIN, stats->resident_bytes);
        view_right(out, "orphans", quantity_count(text, stats->orphans));
}

/* A rate and a total on the left, a total on the right. */
static void view_flow(FILE *out, const char *name, const char *rate, const char *total) {
        fprintf(out, "%-11s%16s%18s", name, rate, total);
}

static void view_more(FILE *out, const char *name, const char *value) {
        fprintf(out, "   %-14s%16s\n", name, value);
}

static void view_flows_heading(FILE *out, const struct rates *rates) {
        char over[64] = "per second";
        if (!rates->since_start)
                snprintf(over, sizeof(over),
                        rates->seconds < 1000 ? "per s in %.3g s" : "per s in %.0f s",
                        rates->seconds);
        fprintf(out, "\n%27s%18s\n", over, "since the start");
}

static void view_flows(FILE *out, const struct stats_screen *screen) {
        const struct reply_stats *stats = screen->stats;
        const struct rates *rates = &screen->rates;
        bool raw = screen->raw_bytes;
        char rate[QUANTITY_BYTES], total[QUANTITY_BYTES], more[QUANTITY_BYTES];
        view_flows_heading(out, rates);
        view_flow(out, "allocs", quantity_rate(rate, rates->allocs),
                quantity_count(total, stats->allocs_total));
        view_more(out, "no space", quantity_count(more, stats->no_space_total));
        view_flow(out, "frees", quantity_rate(rate, rates->frees),
                quantity_count(total, stats->frees_total));
        view_more(out, "over quota", quantity_count(more, stats->quota_refusals_total));
        view_flow(out, "cache hits", quantity_rate(rate, rates->cache_hits),
                quantity_count(total, stats->cache_hits_total));
        view_more(out, "reclaimed", quantity_amount(more, stats->reclaimed_bytes_total, raw));
        view_flow(out, "granted", quantity_amount(rate, (uint64_t)rates->granted_bytes, raw),
                quantity_amount(total, stats->granted_bytes_total, raw));
        view_more(out, "requested", quantity_amount(more, stats->requested_bytes_total, raw));
}

static void view_latency(FILE *out, const char *name, const struct reply_latency *latency) {
        fprintf(out, "%-12s %12.2f %12.2f %12.2f %12.2f\n", name, latency->p50, latency->p99,
                latency->p999, latency->max);
}

void stats_view_text(FILE *out, const struct stats_screen *screen) {
        const struct reply_stats *stats = screen->stats;
        view_heading(out, stats);
        if (screen->map) {
                map_view_line(out, screen->map, MAP_WIDTH);
                fputc('\n', out);
        }
        fputc('\n', out);
        view_memory(out, screen);
        view_flows(out, screen);
        fprintf(out, "\n%s in buddyd%13s%13s%13s%13s\n", quantity_microsecond(), "p50", "p99",
                "p99.9", "max");
        view_latency(out, "alloc", &stats->alloc);
        view_latency(out, "free", &stats->free);
}

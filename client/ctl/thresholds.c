/* Everything is parsed before the daemon is asked. */
#include "thresholds.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "complain.h"
#include "json.h"
#include "quantity.h"

struct unusable_limit {
        double ratio;
        uint32_t order;
};

struct thresholds {
        bool has_largest;
        uint64_t min_largest;
        struct unusable_limit unusable[INVOCATION_LIMITS_MAX];
        size_t unusable_count;
};

bool thresholds_asked(const struct invocation *invocation) {
        return invocation_has(invocation, OPTION_MIN_LARGEST) ||
               invocation_has(invocation, OPTION_MAX_UNUSABLE);
}

/* "0.5@9": a share from 0 to 1, and an order. */
static bool unusable_parse(const char *text, struct unusable_limit *out) {
        const char *at = strchr(text, '@');
        char share[24];
        if (!at || at == text || (size_t)(at - text) >= sizeof(share) || !at[1] ||
                at[1 + strspn(at + 1, "0123456789")] != '\0' || strlen(at + 1) > 2)
                return false;
        memcpy(share, text, (size_t)(at - text));
        share[at - text] = '\0';
        if (quantity_parse_seconds(share, 0, 1, &out->ratio) != 0)
                return false;
        out->order = (uint32_t)strtoul(at + 1, NULL, 10);
        return true;
}

static enum exit_status thresholds_parse(
        const struct invocation *invocation, struct thresholds *out) {
        *out = (struct thresholds){0};
        const char *largest = invocation->values[OPTION_MIN_LARGEST];
        if (largest && quantity_parse_bytes(largest, &out->min_largest) != 0)
                return complain(EXIT_USAGE,
                        "--min-largest: \"%s\" is not a number of bytes; give one such as 2M",
                        largest);
        out->has_largest = largest != NULL;
        for (size_t i = 0; i < invocation->limit_count; i++)
                if (!unusable_parse(invocation->limits[i], &out->unusable[out->unusable_count++]))
                        return complain(EXIT_USAGE,
                                "--max-unusable: \"%s\" is not a share and an order; give them as "
                                "0.5@9",
                                invocation->limits[i]);
        return EXIT_DONE;
}

static enum exit_status orders_judge(
        const struct thresholds *thresholds, const struct reply_stats *stats) {
        for (size_t i = 0; i < thresholds->unusable_count; i++)
                if (thresholds->unusable[i].order >= stats->order_count)
                        return complain(EXIT_USAGE,
                                "--max-unusable: there is no order %" PRIu32
                                " in this pool; give one from 0 to %zu",
                                thresholds->unusable[i].order, stats->order_count - 1);
        return EXIT_DONE;
}

/* ---- Printing ---- */

struct report {
        struct json *json; /* NULL: text */
        bool exceeded;
};

static void report_begin(struct report *report, const char *name, bool fine) {
        report->exceeded |= !fine;
        if (!report->json) {
                fputs(fine ? "ok     " : "FAULT  ", stdout);
                return;
        }
        json_begin_object(report->json, NULL);
        json_text(report->json, "name", name);
        json_bool(report->json, "ok", fine);
}

static void report_largest(struct report *report, uint64_t figure, uint64_t limit) {
        char is[QUANTITY_BYTES], least[QUANTITY_BYTES];
        report_begin(report, "min_largest", figure >= limit);
        if (!report->json) {
                printf("largest free block: %s, at least %s\n", quantity_bytes(is, figure),
                        quantity_bytes(least, limit));
                return;
        }
        json_integer(report->json, "figure", figure);
        json_integer(report->json, "limit", limit);
        json_end_object(report->json);
}

static void report_unusable(struct report *report, const struct reply_order *order, double limit) {
        report_begin(report, "max_unusable", order->unusable_index <= limit);
        if (!report->json) {
                printf("unusable at order %" PRIu32 ": %.3f, at most %.3f\n", order->order,
                        order->unusable_index, limit);
                return;
        }
        json_integer(report->json, "order", order->order);
        json_number(report->json, "figure", order->unusable_index);
        json_number(report->json, "limit", limit);
        json_end_object(report->json);
}

static void report_all(struct report *report, const struct thresholds *thresholds,
        const struct reply_stats *stats) {
        if (thresholds->has_largest)
                report_largest(report, stats->largest_free_bytes, thresholds->min_largest);
        for (size_t i = 0; i < thresholds->unusable_count; i++)
                report_unusable(report, &stats->orders[thresholds->unusable[i].order],
                        thresholds->unusable[i].ratio);
}

static enum exit_status thresholds_report(
        const struct thresholds *thresholds, const struct reply_stats *stats, bool as_json) {
        struct json json = {.out = stdout};
        struct report report = {.json = as_json ? &json : NULL};
        if (as_json) {
                json_begin_object(&json, NULL);
                json_text(&json, "pool", stats->pool);
                json_begin_array(&json, "thresholds");
        }
        report_all(&report, thresholds, stats);
        if (as_json) {
                json_end_array(&json);
                json_bool(&json, "ok", !report.exceeded);
                json_end_object(&json);
                json_end_document(&json);
        }
        return report.exceeded ? EXIT_FAULT : EXIT_DONE;
}

enum exit_status thresholds_check(const struct invocation *invocation) {
        struct thresholds thresholds;
        struct observer observer;
        enum exit_status status = thresholds_parse(invocation, &thresholds);
        if (status == EXIT_DONE)
                status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        struct request request = {.kind = REQUEST_STATS};
        struct reply reply;
        status = ask(&observer, &request, REPLY_STATS, &reply);
        if (status == EXIT_DONE)
                status = orders_judge(&thresholds, &reply.stats);
        if (status == EXIT_DONE)
                status = thresholds_report(
                        &thresholds, &reply.stats, invocation_has(invocation, OPTION_JSON));
        observer_close(&observer);
        return status;
}

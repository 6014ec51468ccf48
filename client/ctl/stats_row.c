/* The row of figures: one table that says of each what it is called and how it is written. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "flow.h"
#include "printable.h"
#include "quantity.h"
#include "stats_view.h"

enum figure_kind { FIGURE_TEXT, FIGURE_BYTES, FIGURE_COUNT, FIGURE_SECONDS };

struct figure {
        enum figure_kind kind;
        size_t at; /* in struct reply_stats */
};

/* name as in the heading, kind, field */
#define STATS_ROW(X)                                                                               \
        X("POOL", TEXT, pool)                                                                      \
        X("BACKING", TEXT, backing)                                                                \
        X("PAGE", BYTES, page_bytes)                                                               \
        X("SIZE", BYTES, size_bytes)                                                               \
        X("CAPACITY", BYTES, capacity_bytes)                                                       \
        X("HELD", BYTES, held_bytes)                                                               \
        X("CACHED", BYTES, cached_bytes)                                                           \
        X("FREE", BYTES, free_bytes)                                                               \
        X("LARGEST", BYTES, largest_free_bytes)                                                    \
        X("RESIDENT", BYTES, resident_bytes)                                                       \
        X("CLIENTS", COUNT, clients)                                                               \
        X("WAITERS", COUNT, waiters)                                                               \
        X("ORPHANS", COUNT, orphans)                                                               \
        X("RESTARTS", COUNT, restarts)                                                             \
        X("UPTIME", SECONDS, uptime_seconds)                                                       \
        X("ALLOCS", COUNT, allocs_total)                                                           \
        X("FREES", COUNT, frees_total)                                                             \
        X("HITS", COUNT, cache_hits_total)                                                         \
        X("REQUESTED", BYTES, requested_bytes_total)                                               \
        X("GRANTED", BYTES, granted_bytes_total)                                                   \
        X("NO-SPACE", COUNT, no_space_total)                                                       \
        X("QUOTA", COUNT, quota_refusals_total)                                                    \
        X("RECLAIMED", BYTES, reclaimed_bytes_total)

#define X(name, kind, field) {name, FIGURE_##kind == FIGURE_TEXT},
const struct table_column stats_columns[] = {STATS_ROW(X) /* */
        {"OLDEST", false},
        {"WASTE", false}, {"FRAGMENTATION", false}, {"ALLOCS/S", false}, {"FREES/S", false},
        {"HITS/S", false}, {"GRANTED/S", false}};
#undef X
const unsigned stats_column_count = sizeof(stats_columns) / sizeof(stats_columns[0]);

#define X(name, kind, field) {FIGURE_##kind, offsetof(struct reply_stats, field)},
static const struct figure figures[] = {STATS_ROW(X)};
#undef X
#define FIGURES (sizeof(figures) / sizeof(figures[0]))

#define WIDTH_MIN 10

static void figure_write(
        char text[QUANTITY_BYTES], const struct stats_screen *screen, const struct figure *figure) {
        const char *at = (const char *)screen->stats + figure->at;
        uint64_t value = figure->kind == FIGURE_TEXT ? 0 : *(const uint64_t *)(const void *)at;
        switch (figure->kind) {
        case FIGURE_TEXT:
                snprintf(text, QUANTITY_BYTES, "%s", *(const char *const *)(const void *)at);
                break;
        case FIGURE_BYTES:
                quantity_amount(text, value, screen->raw_bytes);
                break;
        case FIGURE_COUNT:
                snprintf(text, QUANTITY_BYTES, "%" PRIu64, value);
                break;
        case FIGURE_SECONDS:
                quantity_seconds(text, value);
                break;
        }
}

/* Those that are made of others. */
static void made_write(
        char text[QUANTITY_BYTES], const struct stats_screen *screen, const char *name) {
        const struct reply_order *order = stats_large_order(screen->stats);
        if (strcmp(name, "OLDEST") == 0)
                quantity_milliseconds(text, screen->stats->oldest_waiter_ms);
        else if (strcmp(name, "WASTE") == 0)
                snprintf(text, QUANTITY_BYTES, "%.1f%%", stats_waste_ratio(screen->stats) * 100);
        else if (strcmp(name, "FRAGMENTATION") == 0)
                snprintf(text, QUANTITY_BYTES, "%.1f%%", order ? order->unusable_index * 100 : 0);
        else if (strcmp(name, "ALLOCS/S") == 0)
                quantity_rate(text, screen->rates.allocs);
        else if (strcmp(name, "FREES/S") == 0)
                quantity_rate(text, screen->rates.frees);
        else if (strcmp(name, "HITS/S") == 0)
                quantity_rate(text, screen->rates.cache_hits);
        else
                quantity_amount(text, (uint64_t)screen->rates.granted_bytes, screen->raw_bytes);
}

/* Wide enough for the heading and what mostly stands below, so that the rows of a watch are in line. */
static int column_width(const struct table_column *column) {
        int width = (int)strlen(column->heading);
        return width > WIDTH_MIN ? width : WIDTH_MIN;
}

static void cell_write(FILE *out, const struct table_column *column, const char *text, bool last) {
        int width = column_width(column);
        if (!column->left) {
                fprintf(out, "%*s", width, text);
                return;
        }
        char *escaped = printable_text(text);
        if (!escaped)
                return;
        fputs(escaped, out);
        for (int i = (int)flow_columns(escaped); !last && i < width; i++)
                fputc(' ', out);
        free(escaped);
}

void stats_view_row(
        FILE *out, const struct stats_screen *screen, const struct columns *columns, bool heading) {
        for (unsigned row = heading ? 0 : 1; row < 2; row++) {
                for (unsigned i = 0; i < columns->count; i++) {
                        unsigned which = columns->chosen[i];
                        const struct table_column *column = &stats_columns[which];
                        char text[QUANTITY_BYTES];
                        if (row == 0)
                                snprintf(text, sizeof(text), "%s", column->heading);
                        else if (which < FIGURES)
                                figure_write(text, screen, &figures[which]);
                        else
                                made_write(text, screen, column->heading);
                        if (i > 0)
                                fputs("  ", out);
                        cell_write(out, column, text, i + 1 == columns->count);
                }
                fputc('\n', out);
        }
}

/* The statistics of a pool as a screen for people, as a row of figures, and as JSON for programs. No state. */
#pragma once

#include <stdio.h>

#include "columns.h"
#include "json.h"
#include "map.h"
#include "sample.h"

struct stats_screen {
        const struct reply_stats *stats;
        struct rates rates;
        const struct map *map; /* for the line; NULL: there is none */
        bool raw_bytes;
};

/* One screen, under 80 columns and 24 lines. */
void stats_view_text(FILE *out, const struct stats_screen *screen);

/* One object on one line. */
void stats_view_json(FILE *out, const struct stats_screen *screen);

/* The array "orders" of the object that is open. */
void stats_view_orders_json(struct json *json, const struct reply_stats *stats);

/* The figures that -o can choose from, and a row of those chosen; heading: with their names above. */
extern const struct table_column stats_columns[];
extern const unsigned stats_column_count;
void stats_view_row(
        FILE *out, const struct stats_screen *screen, const struct columns *columns, bool heading);

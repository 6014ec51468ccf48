/* A map as text of any width, as one line, and as JSON. No state. */
#pragma once

#include "glyph.h"
#include "json.h"

#define MAP_WIDTH_MIN 10u
#define MAP_WIDTH_MAX 1000u
#define MAP_ROWS      16u

/* How text is cut into columns: what stands left of the cells, and how many of them are in a row. */
struct map_layout {
        unsigned width, gutter, row_cells, rows_max;
};
struct map_layout map_layout_for(unsigned width, unsigned rows_max);

struct map_picture {
        const struct map *map;
        const struct roster *roster; /* sorted by id */
        const struct legend *legend; /* NULL: by share */
        const struct reply_stats *stats;
        bool raw_bytes;
};

/* Heading, rows and legend; no line is wider than the layout says. */
void map_view_text(FILE *out, const struct map_picture *picture, const struct map_layout *layout);

/* One line of width characters, without its end. A map of fewer cells is stretched. */
void map_view_line(FILE *out, const struct map *map, unsigned width);

/* One object on one line. */
void map_view_json(FILE *out, const struct map_picture *picture);

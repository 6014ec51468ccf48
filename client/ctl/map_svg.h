/* A map as a picture for browsers: title, axis of offsets, legend, and for each run of like cells a text that shows when the pointer is on
 * it. Well-formed XML whatever clients call themselves. No state. */
#pragma once

#include "map_view.h"

#define MAP_SVG_ROW_CELLS 64u

/* Cells in a row: 1 or more. The picture must have been asked for by client, and its legend be set; by_client: coloured by holder,
 * else by share. when: of what time it is, for people. */
struct map_svg {
        const struct map_picture *picture;
        unsigned row_cells;
        bool by_client;
        const char *when;
};
void map_svg_write(FILE *out, const struct map_svg *svg);

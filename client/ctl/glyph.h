/* How one cell of a map looks in a terminal: a character that says how full it is, and a style that says with what. Without colour the
 * character alone tells. No state. */
#pragma once

#include "map.h"
#include "terminal.h"

#define GLYPH_FREE(utf8)   ((utf8) ? "·" : ".")
#define GLYPH_CACHED(utf8) ((utf8) ? "▒" : "c")

/* By share: the free one, the cached one for more cached than held, else one of levels, of which only the last means full. */
const char *glyph_by_share(const struct map_cell *cell, bool utf8);
enum terminal_style glyph_style(const struct map_cell *cell);

/* Who has how much, and by which letter and style each is told from the others. */
struct legend_entry {
        uint32_t session;
        uint64_t bytes;
        char letter;
        enum terminal_style style;
};

struct legend {
        struct legend_entry *entries; /* owned; the largest first */
        size_t count;
        struct legend_entry **by_session; /* owned; the same, sorted */
};

/* -ENOMEM. The map was asked for by client. */
int legend_init(struct legend *legend, const struct map *map);
void legend_deinit(struct legend *legend);

/* Its entry; NULL: has nothing. */
const struct legend_entry *legend_find(const struct legend *legend, uint32_t session);

/* The entry of whoever has most of a cell; NULL: nobody has any of it. */
const struct legend_entry *legend_of_cell(const struct legend *legend, const struct map_cell *cell);

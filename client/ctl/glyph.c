/* See glyph.h. */
#include "glyph.h"

#include <errno.h>
#include <stdlib.h>

#define LEVELS           8u
#define SESSION_OPERATOR 1u

const char *glyph_by_share(const struct map_cell *cell, bool utf8) {
        static const char *const blocks[LEVELS] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
        static const char *const ascii[LEVELS] = {"-", "-", "-", "+", "+", "*", "*", "#"};
        uint64_t granted = cell->held + cell->cached;
        if (granted == 0)
                return GLYPH_FREE(utf8);
        if (cell->cached > cell->held)
                return GLYPH_CACHED(utf8);
        unsigned level = terminal_cells(granted, cell->length, LEVELS);
        return (utf8 ? blocks : ascii)[level - 1];
}

enum terminal_style glyph_style(const struct map_cell *cell) {
        if (cell->held + cell->cached == 0)
                return STYLE_FREE;
        return cell->cached > cell->held ? STYLE_CACHED : STYLE_HELD;
}

/* ---- Legend ---- */

static int entry_compare(const void *left, const void *right) {
        const struct legend_entry *const *a = left, *const *b = right;
        return ((*a)->session > (*b)->session) - ((*a)->session < (*b)->session);
}

static char entry_letter(uint32_t session, size_t place) {
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        if (session == 0)
                return '=';
        if (session == SESSION_OPERATOR)
                return '@';
        return place < sizeof(letters) - 1 ? letters[place] : '+';
}

static void legend_fill(struct legend *legend, const struct map_share *sums) {
        size_t place = 0;
        for (size_t i = 0; i < legend->count; i++) {
                struct legend_entry *entry = &legend->entries[i];
                *entry = (struct legend_entry){
                        .session = sums[i].session,
                        .bytes = sums[i].bytes,
                        .letter = entry_letter(sums[i].session, place),
                        .style = (enum terminal_style)(STYLE_CLIENT + i % STYLE_CLIENTS),
                };
                if (sums[i].session > SESSION_OPERATOR)
                        place++;
                legend->by_session[i] = entry;
        }
        if (legend->count > 0)
                qsort(legend->by_session, legend->count, sizeof(struct legend_entry *),
                        entry_compare);
}

int legend_init(struct legend *legend, const struct map *map) {
        struct map_share *sums = map_sessions(map, &legend->count);
        size_t room = legend->count > 0 ? legend->count : 1;
        legend->entries = calloc(room, sizeof(struct legend_entry));
        legend->by_session = calloc(room, sizeof(struct legend_entry *));
        bool failed = !legend->entries || !legend->by_session || (!sums && map->share_count > 0);
        if (failed)
                legend_deinit(legend);
        else
                legend_fill(legend, sums);
        free(sums);
        return failed ? -ENOMEM : 0;
}

void legend_deinit(struct legend *legend) {
        free(legend->entries);
        free(legend->by_session);
        *legend = (struct legend){0};
}

const struct legend_entry *legend_find(const struct legend *legend, uint32_t session) {
        struct legend_entry wanted = {.session = session}, *key = &wanted;
        if (legend->count == 0)
                return NULL;
        struct legend_entry **found = bsearch(&key, legend->by_session, legend->count,
                sizeof(struct legend_entry *), entry_compare);
        return found ? *found : NULL;
}

const struct legend_entry *legend_of_cell(
        const struct legend *legend, const struct map_cell *cell) {
        if (cell->share_count == 0 || cell->held + cell->cached == 0)
                return NULL;
        return legend_find(legend, cell->shares[0].session);
}

/* See map_view.h. */
#include "map_view.h"

#include <string.h>

#include "flow.h"
#include "printable.h"
#include "quantity.h"

#define GUTTER         11u /* the widest offset, and a blank */
#define GUTTER_FROM    40u /* narrower ones have none */
#define LEGEND_ENTRIES 24u

struct map_layout map_layout_for(unsigned width, unsigned rows_max) {
        struct map_layout layout = {.width = width, .gutter = width >= GUTTER_FROM ? GUTTER : 0};
        unsigned cells = width - layout.gutter;
        /* So that rows begin at offsets that are easy to read. */
        layout.row_cells = cells >= 16 ? cells / 8 * 8 : cells;
        unsigned rows = MAP_CELLS_MAX / layout.row_cells;
        layout.rows_max = rows_max < rows ? rows_max : rows;
        return layout;
}

/* ---- Text ---- */

static void view_heading(FILE *out, const struct map_picture *picture, unsigned width) {
        const struct reply_stats *stats = picture->stats;
        struct flow flow = {.out = out, .width = width};
        char text[160], amount[QUANTITY_BYTES];
        bool raw = picture->raw_bytes;
        snprintf(text, sizeof(text), "pool %s", stats->pool);
        flow_phrase(&flow, STYLE_STRONG, NULL, text);
        snprintf(text, sizeof(text), "%s%s", quantity_amount(amount, picture->map->size_bytes, raw),
                raw ? " bytes" : "");
        flow_phrase(&flow, STYLE_PLAIN, NULL, text);
        snprintf(text, sizeof(text), "a cell is %s",
                quantity_amount(amount, picture->map->cell_bytes, raw));
        flow_phrase(&flow, STYLE_PLAIN, NULL, text);
        flow_end(&flow);
}

static void view_cell(FILE *out, const struct map_picture *picture, const struct map_cell *cell,
        enum terminal_style *style) {
        bool utf8 = printable_utf8();
        char letter[2] = "";
        const char *glyph = glyph_by_share(cell, utf8);
        enum terminal_style wanted = glyph_style(cell);
        if (picture->legend) {
                const struct legend_entry *entry = legend_of_cell(picture->legend, cell);
                letter[0] = entry ? entry->letter : '\0';
                glyph = entry ? letter : GLYPH_FREE(utf8);
                wanted = entry ? entry->style : STYLE_FREE;
        }
        if (wanted != *style)
                terminal_style(out, wanted);
        *style = wanted;
        fputs(glyph, out);
}

static void view_row(FILE *out, const struct map_picture *picture, const struct map_layout *layout,
        size_t first) {
        const struct map *map = picture->map;
        enum terminal_style style = STYLE_PLAIN;
        char offset[QUANTITY_BYTES];
        if (layout->gutter > 0)
                fprintf(out, "%*s ", (int)layout->gutter - 1,
                        quantity_bytes(offset, map->cells[first].offset));
        for (size_t i = first; i < first + layout->row_cells && i < map->count; i++)
                view_cell(out, picture, &map->cells[i], &style);
        if (style != STYLE_PLAIN)
                terminal_style(out, STYLE_PLAIN);
        fputc('\n', out);
}

static void legend_amount(struct flow *flow, enum terminal_style style, const char *mark,
        const char *name, const char *amount) {
        char text[MAP_HOLDER_TEXT + QUANTITY_BYTES];
        snprintf(text, sizeof(text), "%s %s", name, amount);
        flow_phrase(flow, style, mark, text);
}

static void view_legend_share(const struct map_picture *picture, struct flow *flow) {
        bool utf8 = printable_utf8(), raw = picture->raw_bytes;
        const struct reply_stats *stats = picture->stats;
        char amount[QUANTITY_BYTES];
        legend_amount(flow, STYLE_HELD, utf8 ? "▁▄█" : "-+*#", "held",
                quantity_amount(amount, stats->held_bytes, raw));
        legend_amount(flow, STYLE_CACHED, GLYPH_CACHED(utf8), "cached",
                quantity_amount(amount, stats->cached_bytes, raw));
        legend_amount(flow, STYLE_FREE, GLYPH_FREE(utf8), "free",
                quantity_amount(amount, stats->free_bytes, raw));
        legend_amount(flow, STYLE_PLAIN, NULL, "largest free block",
                quantity_amount(amount, stats->largest_free_bytes, raw));
}

static void view_legend_clients(const struct map_picture *picture, struct flow *flow) {
        const struct legend *legend = picture->legend;
        char name[MAP_HOLDER_TEXT], amount[QUANTITY_BYTES], more[64];
        for (size_t i = 0; i < legend->count && i < LEGEND_ENTRIES; i++) {
                const struct legend_entry *entry = &legend->entries[i];
                char mark[2] = {entry->letter, '\0'};
                legend_amount(flow, entry->style, mark,
                        map_holder(picture->roster, entry->session, name),
                        quantity_amount(amount, entry->bytes, picture->raw_bytes));
        }
        if (legend->count > LEGEND_ENTRIES) {
                snprintf(more, sizeof(more), "and %zu more", legend->count - LEGEND_ENTRIES);
                flow_phrase(flow, STYLE_PLAIN, NULL, more);
        }
        legend_amount(flow, STYLE_FREE, GLYPH_FREE(printable_utf8()), "free",
                quantity_amount(amount, picture->stats->free_bytes, picture->raw_bytes));
}

void map_view_text(FILE *out, const struct map_picture *picture, const struct map_layout *layout) {
        struct flow flow = {.out = out, .width = layout->width};
        view_heading(out, picture, layout->width);
        for (size_t first = 0; first < picture->map->count; first += layout->row_cells)
                view_row(out, picture, layout, first);
        (picture->legend ? view_legend_clients : view_legend_share)(picture, &flow);
        flow_end(&flow);
}

void map_view_line(FILE *out, const struct map *map, unsigned width) {
        enum terminal_style style = STYLE_PLAIN;
        bool utf8 = printable_utf8();
        for (unsigned i = 0; i < width && map->count > 0; i++) {
                const struct map_cell *cell = &map->cells[(size_t)i * map->count / width];
                enum terminal_style wanted = glyph_style(cell);
                if (wanted != style)
                        terminal_style(out, wanted);
                style = wanted;
                fputs(glyph_by_share(cell, utf8), out);
        }
        terminal_style(out, STYLE_PLAIN);
}

/* ---- JSON ---- */

static void json_holder(
        struct json *json, const struct map_share *share, const struct roster *roster) {
        const char *name = roster_name(roster, share->session);
        json_begin_object(json, NULL);
        json_integer(json, "id", share->session);
        json_text(json, "name", name ? name : "");
        json_integer(json, "bytes", share->bytes);
        json_end_object(json);
}

static void json_cell(
        struct json *json, const struct map_cell *cell, const struct map_picture *picture) {
        json_begin_object(json, NULL);
        json_integer(json, "offset", cell->offset);
        json_integer(json, "length", cell->length);
        json_integer(json, "held_bytes", cell->held);
        json_integer(json, "cached_bytes", cell->cached);
        json_integer(json, "free_bytes", cell->free);
        if (picture->legend) {
                json_begin_array(json, "holders");
                for (size_t i = 0; i < cell->share_count; i++)
                        json_holder(json, &cell->shares[i], picture->roster);
                json_end_array(json);
        }
        json_end_object(json);
}

void map_view_json(FILE *out, const struct map_picture *picture) {
        const struct map *map = picture->map;
        struct json json = {.out = out};
        json_begin_object(&json, NULL);
        json_text(&json, "pool", picture->stats->pool);
        json_integer(&json, "size_bytes", map->size_bytes);
        json_integer(&json, "page_bytes", picture->stats->page_bytes);
        json_integer(&json, "cell_bytes", map->cell_bytes);
        json_begin_array(&json, "cells");
        for (size_t i = 0; i < map->count; i++)
                json_cell(&json, &map->cells[i], picture);
        json_end_array(&json);
        json_end_object(&json);
        json_end_document(&json);
}

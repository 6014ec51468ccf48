/* Rows of cells from top to bottom, offsets on the left, distances within a row on top. Neighbours that look alike and are the same
 * holder's are one run: one drawing, one text. */
#include "map_svg.h"

#include <math.h>
#include <string.h>

#include "flow.h"
#include "printable.h"
#include "quantity.h"

#define LEFT                  96.0
#define CELLS_WIDTH           896.0
#define WIDTH                 (LEFT + CELLS_WIDTH + 24.0)
#define TOP                   96.0
#define ROW_HEIGHT            22.0
#define ROW_GAP               4.0
#define LEVELS                16u
#define HOLDERS_TOLD          4u
#define LEGEND_TOLD           12u
#define LEGEND_HEIGHT         22.0
#define LEGEND_COLUMN         224.0
#define LEGEND_HOLDER_COLUMNS 18u

static const char held_colour[] = "#0072b2", cached_colour[] = "#e69f00", free_colour[] = "#e6e9ec";
/* The eight that people with any kind of colour vision tell apart (Okabe and Ito), the faintest left out. */
static const char *const client_colours[STYLE_CLIENTS] = {
        "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7a00"};

/* ---- Text in XML ---- */

static bool point_is_xml(uint32_t point) {
        return point != 0xfffe && point != 0xffff;
}

static void xml_text(FILE *out, const char *text) {
        size_t length = strlen(text);
        for (size_t i = 0; i < length;) {
                uint32_t point = 0;
                size_t bytes = printable_decode(text + i, length - i, &point);
                if (bytes == 0 || !printable_is_plain(point) || !point_is_xml(point))
                        fprintf(out, "\\x%02x", (unsigned char)text[i]);
                else if (point == '<' || point == '&' || point == '>' || point == '"')
                        fprintf(out, "&#%u;", (unsigned)point);
                else
                        fwrite(text + i, 1, bytes, out);
                /* What cannot stand there is escaped byte by byte. */
                i += bytes == 0 || !printable_is_plain(point) || !point_is_xml(point) ? 1 : bytes;
        }
}

static void text_at(FILE *out, double x, double y, const char *style, const char *text) {
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, style);
        xml_text(out, text);
        fputs("</text>\n", out);
}

static void rect_at(FILE *out, const double box[4], const char *fill) {
        if (box[2] > 0 && box[3] > 0)
                fprintf(out,
                        "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"/>",
                        box[0], box[1], box[2], box[3], fill);
}

/* ---- Runs ---- */

struct run {
        size_t first, count;
        struct map_cell sum;
        const struct legend_entry *entry;  /* whose most of each cell is; NULL: nobody's */
        unsigned held_level, cached_level; /* by client: all of it is the former */
};

static unsigned level_of(uint64_t bytes, uint64_t length) {
        return terminal_cells(bytes, length, LEVELS);
}

static struct run run_of_cell(const struct map_svg *svg, size_t index) {
        const struct map_cell *cell = &svg->picture->map->cells[index];
        return (struct run){
                .first = index,
                .count = 1,
                .sum = *cell,
                .entry = legend_of_cell(svg->picture->legend, cell),
                .held_level =
                        level_of(cell->held + (svg->by_client ? cell->cached : 0), cell->length),
                .cached_level = svg->by_client ? 0 : level_of(cell->cached, cell->length),
        };
}

/* The run that begins at a cell and ends within its row. */
static struct run run_from(const struct map_svg *svg, size_t first) {
        struct run run = run_of_cell(svg, first);
        size_t row_end = (first / svg->row_cells + 1) * svg->row_cells;
        for (size_t i = first + 1; i < row_end && i < svg->picture->map->count; i++) {
                struct run next = run_of_cell(svg, i);
                if (next.entry != run.entry || next.held_level != run.held_level ||
                        next.cached_level != run.cached_level)
                        break;
                run.count++;
                run.sum.length += next.sum.length;
                run.sum.held += next.sum.held;
                run.sum.cached += next.sum.cached;
                run.sum.free += next.sum.free;
        }
        return run;
}

/* What a session has of a run. */
static uint64_t run_bytes_of(const struct map *map, const struct run *run, uint32_t session) {
        uint64_t bytes = 0;
        for (size_t i = run->first; i < run->first + run->count; i++)
                for (size_t k = 0; k < map->cells[i].share_count; k++)
                        if (map->cells[i].shares[k].session == session)
                                bytes += map->cells[i].shares[k].bytes;
        return bytes;
}

/* Those who have most of the run's first cell, with what they have of all of it. */
static void run_holders(FILE *out, const struct map_svg *svg, const struct run *run) {
        const struct map_cell *cell = &svg->picture->map->cells[run->first];
        char name[MAP_HOLDER_TEXT], amount[QUANTITY_BYTES];
        for (size_t i = 0; i < cell->share_count && i < HOLDERS_TOLD; i++) {
                uint32_t session = cell->shares[i].session;
                fputs(i == 0 ? "&#10;holder " : ", ", out);
                xml_text(out, map_holder(svg->picture->roster, session, name));
                fprintf(out, " %s",
                        quantity_bytes(amount, run_bytes_of(svg->picture->map, run, session)));
        }
        if (cell->share_count > HOLDERS_TOLD)
                fprintf(out, " and %zu more", cell->share_count - HOLDERS_TOLD);
}

static void run_title(FILE *out, const struct map_svg *svg, const struct run *run) {
        char from[QUANTITY_BYTES], to[QUANTITY_BYTES];
        char held[QUANTITY_BYTES], cached[QUANTITY_BYTES], left[QUANTITY_BYTES];
        uint64_t begins = run->sum.offset, ends = begins + run->sum.length;
        fprintf(out, "<title>%s to %s (bytes %llu to %llu)&#10;held %s, cached %s, free %s",
                quantity_bytes(from, begins), quantity_bytes(to, ends), (unsigned long long)begins,
                (unsigned long long)ends - 1, quantity_bytes(held, run->sum.held),
                quantity_bytes(cached, run->sum.cached), quantity_bytes(left, run->sum.free));
        run_holders(out, svg, run);
        fputs("</title>", out);
}

/* Whether somebody else's cell stands before it in its row. */
static bool run_meets_another(const struct map_svg *svg, const struct run *run) {
        if (!svg->by_client || !run->entry || run->first % svg->row_cells == 0)
                return false;
        const struct map_cell *before = &svg->picture->map->cells[run->first - 1];
        return legend_of_cell(svg->picture->legend, before) != run->entry;
}

/* Held at the bottom, cached on it, free above. */
static void run_draw(FILE *out, const struct map_svg *svg, const struct run *run) {
        double cell_width = CELLS_WIDTH / svg->row_cells;
        double x = LEFT + cell_width * (double)(run->first % svg->row_cells);
        double y = TOP + (ROW_HEIGHT + ROW_GAP) * (double)(run->first / svg->row_cells);
        double width = cell_width * (double)run->count;
        double held = ROW_HEIGHT * run->held_level / LEVELS;
        double cached = ROW_HEIGHT * run->cached_level / LEVELS;
        if (held + cached > ROW_HEIGHT)
                held = ROW_HEIGHT - cached;
        const char *fill = held_colour;
        if (svg->by_client && run->entry)
                fill = client_colours[run->entry->style - STYLE_CLIENT];
        fputs("<g>", out);
        run_title(out, svg, run);
        rect_at(out, (double[]){x, y, width, ROW_HEIGHT}, free_colour);
        rect_at(out, (double[]){x, y + ROW_HEIGHT - held, width, held}, fill);
        rect_at(out, (double[]){x, y + ROW_HEIGHT - held - cached, width, cached}, "url(#cached)");
        if (run_meets_another(svg, run))
                rect_at(out, (double[]){x, y, 0.75, ROW_HEIGHT}, "#ffffff");
        fputs("</g>\n", out);
}

/* ---- Around them ---- */

static void svg_begin(FILE *out, double height, const char *pool) {
        fprintf(out,
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                "viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n<title>Map of pool ",
                WIDTH, height, WIDTH, height);
        xml_text(out, pool);
        fprintf(out,
                "</title>\n<style>\n"
                "text { font-family: system-ui, 'DejaVu Sans', sans-serif; fill: #1f2328; }\n"
                ".title { font-size: 20px; font-weight: 600; }\n"
                ".figures { font-size: 13px; fill: #424a53; }\n"
                ".offset { font-size: 12px; text-anchor: end; font-variant-numeric: tabular-nums; "
                "}\n"
                ".distance { font-size: 11px; fill: #57606a; }\n"
                ".key { font-size: 13px; }\n"
                "g:hover rect { stroke: #1f2328; stroke-width: 1; }\n"
                "</style>\n<defs><pattern id=\"cached\" width=\"6\" height=\"6\" "
                "patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">"
                "<rect width=\"6\" height=\"6\" fill=\"%s\"/>"
                "<rect width=\"2\" height=\"6\" fill=\"#b37400\"/></pattern></defs>\n"
                "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
                cached_colour);
}

static void svg_heading(FILE *out, const struct map_svg *svg) {
        const struct reply_stats *stats = svg->picture->stats;
        char text[256], size[QUANTITY_BYTES], cell[QUANTITY_BYTES], largest[QUANTITY_BYTES];
        snprintf(text, sizeof(text), "Pool %.100s, %s", stats->pool,
                quantity_bytes(size, svg->picture->map->size_bytes));
        text_at(out, LEFT, 34, "title", text);
        snprintf(text, sizeof(text), "%s, %s; a cell is %s, the largest free block %s", svg->when,
                stats->backing, quantity_bytes(cell, svg->picture->map->cell_bytes),
                quantity_bytes(largest, stats->largest_free_bytes));
        text_at(out, LEFT, 56, "figures", text);
}

/* How far into its row a cell begins, every eighth of a row. */
static void svg_axis(FILE *out, const struct map_svg *svg) {
        unsigned step = svg->row_cells >= 8 ? svg->row_cells / 8 : 1;
        char text[QUANTITY_BYTES + 1], amount[QUANTITY_BYTES];
        for (unsigned i = 0; i < svg->row_cells; i += step) {
                double x = LEFT + CELLS_WIDTH * i / svg->row_cells;
                snprintf(text, sizeof(text), "+%s",
                        quantity_bytes(amount, i * svg->picture->map->cell_bytes));
                fprintf(out, "<path d=\"M%.1f %.1fv6\" stroke=\"#8c959f\"/>", x, TOP - 9);
                text_at(out, x, TOP - 13, "distance", i == 0 ? "offset" : text);
        }
}

static void svg_key(FILE *out, unsigned place, double y, const char *fill, const char *text) {
        double x = LEFT + LEGEND_COLUMN * (place % 4);
        y += LEGEND_HEIGHT * (place / 4);
        fprintf(out,
                "<rect x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"14\" fill=\"%s\" "
                "stroke=\"#8c959f\" stroke-width=\"0.75\"/>",
                x, y - 11, fill);
        text_at(out, x + 20, y, "key", text);
}

static void svg_legend_shares(FILE *out, const struct map_svg *svg, double y) {
        const struct reply_stats *stats = svg->picture->stats;
        char text[64], amount[QUANTITY_BYTES];
        snprintf(text, sizeof(text), "held %s", quantity_bytes(amount, stats->held_bytes));
        svg_key(out, 0, y, held_colour, text);
        snprintf(text, sizeof(text), "cached %s", quantity_bytes(amount, stats->cached_bytes));
        svg_key(out, 1, y, "url(#cached)", text);
        snprintf(text, sizeof(text), "free %s", quantity_bytes(amount, stats->free_bytes));
        svg_key(out, 2, y, free_colour, text);
}

/* A holder in the width of its column: a long name is cut, its id is not. */
static void legend_holder(const char *holder, char out[static MAP_HOLDER_TEXT]) {
        const char *id = strrchr(holder, '#');
        if (!id || flow_columns(holder) <= LEGEND_HOLDER_COLUMNS)
                snprintf(out, MAP_HOLDER_TEXT, "%s", holder);
        else
                snprintf(out, MAP_HOLDER_TEXT, "%.*s…%s",
                        (int)flow_cut(holder, LEGEND_HOLDER_COLUMNS - 1 - (unsigned)strlen(id)),
                        holder, id);
}

static void svg_legend_clients(FILE *out, const struct map_svg *svg, double y) {
        const struct legend *legend = svg->picture->legend;
        char text[MAP_HOLDER_TEXT + QUANTITY_BYTES + 1], name[MAP_HOLDER_TEXT],
                holder[MAP_HOLDER_TEXT], amount[QUANTITY_BYTES];
        unsigned place = 0;
        for (; place < legend->count && place < LEGEND_TOLD; place++) {
                const struct legend_entry *entry = &legend->entries[place];
                legend_holder(map_holder(svg->picture->roster, entry->session, name), holder);
                snprintf(text, sizeof(text), "%s %s", holder, quantity_bytes(amount, entry->bytes));
                svg_key(out, place, y, client_colours[entry->style - STYLE_CLIENT], text);
        }
        snprintf(text, sizeof(text), "free %s",
                quantity_bytes(amount, svg->picture->stats->free_bytes));
        svg_key(out, place++, y, free_colour, text);
        if (legend->count > LEGEND_TOLD) {
                snprintf(text, sizeof(text), "and %zu more holders", legend->count - LEGEND_TOLD);
                text_at(out, LEFT + LEGEND_COLUMN * (place % 4), y + LEGEND_HEIGHT * (place / 4),
                        "key", text);
        }
}

static unsigned legend_lines(const struct map_svg *svg) {
        size_t count = svg->picture->legend->count;
        if (!svg->by_client)
                return 1;
        if (count > LEGEND_TOLD)
                return (LEGEND_TOLD + 2 + 3) / 4;
        return (unsigned)(count + 1 + 3) / 4;
}

void map_svg_write(FILE *out, const struct map_svg *svg) {
        const struct map *map = svg->picture->map;
        size_t rows = (map->count + svg->row_cells - 1) / svg->row_cells;
        double legend_y = TOP + (ROW_HEIGHT + ROW_GAP) * (double)rows + 30;
        char offset[QUANTITY_BYTES];
        svg_begin(out, legend_y + LEGEND_HEIGHT * legend_lines(svg), svg->picture->stats->pool);
        svg_heading(out, svg);
        svg_axis(out, svg);
        for (size_t row = 0; row < rows; row++)
                text_at(out, LEFT - 10, TOP + (ROW_HEIGHT + ROW_GAP) * (double)row + 15, "offset",
                        quantity_bytes(offset, map->cells[row * svg->row_cells].offset));
        for (size_t i = 0; i < map->count;) {
                struct run run = run_from(svg, i);
                run_draw(out, svg, &run);
                i += run.count;
        }
        (svg->by_client ? svg_legend_clients : svg_legend_shares)(out, svg, legend_y);
        fputs("</svg>\n", out);
}

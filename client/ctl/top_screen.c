/* Heading, figures, map, and below it clients and orders, beside each other where there is room; one line for keys at the bottom. What has no room
 * is left out, from the bottom up. */
#include "top_screen.h"

#include <inttypes.h>
#include <ncurses.h>
#include <stdlib.h>
#include <string.h>

#include "flow.h"
#include "map_view.h"
#include "printable.h"
#include "quantity.h"
#include "top_draw.h"
#include "top_lists.h"

#define FIGURE_ROWS  4
#define MAP_ROWS_MAX 12
#define ORDERS_WIDTH 32
#define BOTH_WIDTH   (46 + 2 + ORDERS_WIDTH)
#define LISTS_MIN    6 /* rows that the lists keep while the map has more than one */

struct parts {
        struct top_box heading, map, left, right, keys; /* rows 0: has no room */
};

static int lesser(int a, int b) {
        return a < b ? a : b;
}

static struct map_layout map_part_layout(const struct top_box *box) {
        unsigned width = box->columns < (int)MAP_WIDTH_MIN ? MAP_WIDTH_MIN : (unsigned)box->columns;
        return map_layout_for(width, box->rows > 0 ? (unsigned)box->rows : 1);
}

/* What room the map may take, and, if there are figures, takes. */
static int map_part_rows(const struct top_box *box, const struct map *map) {
        struct map_layout layout = map_part_layout(box);
        size_t rows = map ? (map->count + layout.row_cells - 1) / layout.row_cells : SIZE_MAX;
        return rows < (size_t)box->rows ? (int)rows : box->rows;
}

/* map NULL: as if it filled its part. */
static struct parts screen_parts(const struct map *map) {
        int rows = LINES, columns = COLS;
        struct parts parts = {.heading = {0, 0, lesser(FIGURE_ROWS, rows), columns}};
        int left = rows - parts.heading.rows;
        if (left > 1) {
                parts.keys = (struct top_box){rows - 1, 0, 1, columns};
                left--;
        }
        int map_rows = lesser(MAP_ROWS_MAX, left > LISTS_MIN + 2 ? (left - LISTS_MIN) : left > 1);
        parts.map = (struct top_box){parts.heading.rows, 0, map_rows, columns};
        map_rows = map_part_rows(&parts.map, map);
        left -= map_rows;
        int lists = parts.heading.rows + map_rows + 1;
        parts.left = (struct top_box){lists, 0, left > 1 ? left - 1 : 0, columns};
        if (columns >= BOTH_WIDTH) {
                parts.left.columns = columns - ORDERS_WIDTH - 2;
                parts.right = (struct top_box){
                        lists, columns - ORDERS_WIDTH, parts.left.rows, ORDERS_WIDTH};
        }
        return parts;
}

size_t top_screen_cells(void) {
        struct parts parts = screen_parts(NULL);
        struct map_layout layout = map_part_layout(&parts.map);
        return (size_t)layout.row_cells * layout.rows_max;
}

void top_screen_begin(void) {
        curs_set(0);
        top_draw_begin();
}

/* ---- Heading ---- */

static void draw_title(const struct top_box *box, const struct top_feed *feed) {
        const struct reply_stats *stats = top_feed_stats(feed);
        char uptime[QUANTITY_BYTES];
        char *pool = printable_text(feed->has_figures ? stats->pool : ask_pool(feed->invocation));
        int at = top_draw(box, 0, 0, STYLE_STRONG, "buddyctl top");
        at = top_draw(box, 0, at + 2, STYLE_PLAIN, "pool ");
        at = top_draw(box, 0, at, STYLE_STRONG, pool ? pool : "");
        free(pool);
        if (feed->trouble[0] != '\0')
                top_draw(box, 0, at + 2, STYLE_CACHED, "buddyd is away");
        else if (feed->has_figures)
                top_drawf(box, 0, at + 2, "%s  up %s  restarts %" PRIu64, stats->backing,
                        quantity_seconds(uptime, stats->uptime_seconds), stats->restarts);
}

static int draw_figure(const struct top_box *box, int row, int at, enum terminal_style style,
        const char *const words[2]) {
        at = top_draw(box, row, at, style, words[0]);
        at = top_draw(box, row, at + 1, STYLE_STRONG, words[1]);
        return at + 2;
}

static void draw_shares(const struct top_box *box, const struct reply_stats *stats) {
        const struct {
                const char *name;
                enum terminal_style style;
                uint64_t bytes;
        } shares[] = {{"held", STYLE_HELD, stats->held_bytes},
                {"cached", STYLE_CACHED, stats->cached_bytes},
                {"free", STYLE_PLAIN, stats->free_bytes},
                {"largest", STYLE_PLAIN, stats->largest_free_bytes},
                {"size", STYLE_PLAIN, stats->size_bytes}};
        int at = 0;
        for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
                char amount[QUANTITY_BYTES];
                at = draw_figure(box, 1, at, shares[i].style,
                        (const char *[]){shares[i].name, quantity_bytes(amount, shares[i].bytes)});
        }
}

static void draw_rates(const struct top_box *box, const struct rates *rates) {
        char text[QUANTITY_BYTES];
        int at = draw_figure(box, 2, 0, STYLE_PLAIN,
                (const char *[]){"allocs/s", quantity_rate(text, rates->allocs)});
        at = draw_figure(box, 2, at, STYLE_PLAIN,
                (const char *[]){"frees/s", quantity_rate(text, rates->frees)});
        at = draw_figure(box, 2, at, STYLE_PLAIN,
                (const char *[]){"hits/s", quantity_rate(text, rates->cache_hits)});
        draw_figure(box, 2, at, STYLE_PLAIN,
                (const char *[]){
                        "granted/s", quantity_bytes(text, (uint64_t)rates->granted_bytes)});
}

static void draw_waits(const struct top_box *box, const struct reply_stats *stats) {
        const struct reply_order *order = stats_large_order(stats);
        char text[QUANTITY_BYTES], oldest[QUANTITY_BYTES];
        int at = draw_figure(box, 3, 0, STYLE_PLAIN,
                (const char *[]){"clients", quantity_count(text, stats->clients)});
        at = draw_figure(box, 3, at, STYLE_PLAIN,
                (const char *[]){"waiting", quantity_count(text, stats->waiters)});
        if (stats->waiters > 0)
                at = draw_figure(box, 3, at, STYLE_PLAIN,
                        (const char *[]){
                                "oldest", quantity_milliseconds(oldest, stats->oldest_waiter_ms)});
        at = draw_figure(box, 3, at, STYLE_PLAIN,
                (const char *[]){"no space", quantity_count(text, stats->no_space_total)});
        snprintf(text, sizeof(text), "%.1f %%", order ? order->unusable_index * 100 : 0);
        at = draw_figure(box, 3, at, STYLE_PLAIN, (const char *[]){"fragmented", text});
        snprintf(text, sizeof(text), "%.1f %s", stats->alloc.p99, quantity_microsecond());
        draw_figure(box, 3, at, STYLE_PLAIN, (const char *[]){"alloc p99", text});
}

/* ---- Map ---- */

static void draw_cell(const struct top_box *box, int row, int at, const struct top_feed *feed,
        const struct map_cell *cell, bool by_client) {
        bool utf8 = printable_utf8();
        const struct legend_entry *entry = by_client ? legend_of_cell(&feed->legend, cell) : NULL;
        if (!by_client) {
                top_draw(box, row, at, glyph_style(cell), glyph_by_share(cell, utf8));
        } else {
                char letter[2] = {entry ? entry->letter : '\0', '\0'};
                top_draw(box, row, at, entry ? entry->style : STYLE_FREE,
                        entry ? letter : GLYPH_FREE(utf8));
        }
}

static void draw_map(
        const struct top_box *box, const struct top_feed *feed, const struct top_state *state) {
        struct map_layout layout = map_part_layout(box);
        char offset[QUANTITY_BYTES];
        for (size_t i = 0; i < feed->map.count; i++) {
                int row = (int)(i / layout.row_cells), at = (int)(i % layout.row_cells);
                if (at == 0 && layout.gutter > 0)
                        top_draw_right(box, row, (int)layout.gutter - 1, STYLE_FREE,
                                quantity_bytes(offset, feed->map.cells[i].offset));
                draw_cell(box, row, (int)layout.gutter + at, feed, &feed->map.cells[i],
                        state->by_client);
        }
}

/* ---- Keys, questions, help ---- */

static void draw_keys(
        const struct top_box *box, const struct top_feed *feed, const struct top_state *state) {
        char text[300];
        if (feed->trouble[0] != '\0') {
                snprintf(text, sizeof(text), "away for %.0f s: %s", top_clock() - feed->lost,
                        feed->trouble);
                top_draw(box, 0, 0, STYLE_CACHED, text);
        } else if (state->told[0] != '\0') {
                top_draw(box, 0, 0, STYLE_STRONG, state->told);
        } else {
                snprintf(text, sizeof(text),
                        "q quit  h help  s sort: %s  m map: %s  o orders  k kick  +- every %g s",
                        roster_key_name(state->sort), state->by_client ? "client" : "share",
                        state->every);
                top_draw(box, 0, 0, STYLE_PLAIN, text);
        }
        top_draw_reverse(box, 0, true);
}

/* Lines in a frame in the middle, as far as the screen has room. */
static void draw_window(const char *const *lines, size_t count) {
        unsigned widest = 0;
        for (size_t i = 0; i < count; i++)
                widest = flow_columns(lines[i]) > widest ? flow_columns(lines[i]) : widest;
        int columns = lesser((int)widest + 4, COLS), rows = lesser((int)count + 2, LINES);
        struct top_box box = {(LINES - rows) / 2, (COLS - columns) / 2, rows, columns};
        for (int row = 0; row < rows; row++)
                for (int at = 0; at < columns; at++)
                        top_draw(&box, row, at, STYLE_PLAIN, " ");
        bool framed = rows > 2 && columns > 4;
        for (size_t i = 0; i < count; i++)
                top_draw(&box, (int)i + framed, framed ? 2 : 0, STYLE_PLAIN, lines[i]);
        for (int row = 0; row < rows; row++)
                top_draw_reverse(&box, row, true);
}

static void draw_help(void) {
        static const char *const lines[] = {
                "q        quit",
                "h, ?     this help",
                "s, S     sort the clients by the next, the one before",
                "m        colour the map by share or by client",
                "o        orders instead of clients, where both have no room",
                "up, down select a client; also page up, page down, home, end",
                "k        kick the selected client, after a question",
                "+, -     ask more, less often",
                "space    ask at once",
                "",
                "any key goes back",
        };
        draw_window(lines, sizeof(lines) / sizeof(lines[0]));
}

static void draw_question(const struct top_feed *feed, const struct top_state *state) {
        char name[MAP_HOLDER_TEXT], question[160], loses[100], held[QUANTITY_BYTES];
        const struct reply_client *client = top_client_find(&feed->clients, state->asks);
        if (!client)
                return;
        snprintf(question, sizeof(question), "Kick %s, pid %" PRIu32 "?",
                map_holder(&feed->by_id, client->session, name), client->pid);
        snprintf(loses, sizeof(loses), "It loses %s in %" PRIu64 " ranges.",
                quantity_bytes(held, client->held_bytes + client->cached_bytes),
                client->held_ranges);
        char *escaped = printable_text(question);
        const char *lines[] = {escaped ? escaped : "", loses, "", "y: yes    any other key: no"};
        draw_window(lines, 4);
        free(escaped);
}

void top_screen_draw(const struct top_feed *feed, struct top_state *state) {
        struct parts parts = screen_parts(feed->has_figures ? &feed->map : NULL);
        erase();
        draw_title(&parts.heading, feed);
        if (feed->has_figures) {
                draw_shares(&parts.heading, top_feed_stats(feed));
                draw_rates(&parts.heading, &feed->rates);
                draw_waits(&parts.heading, top_feed_stats(feed));
                draw_map(&parts.map, feed, state);
                bool both = parts.right.rows > 0;
                if (both || state->lower == TOP_LOWER_CLIENTS)
                        top_clients_draw(&parts.left, feed, state);
                if (both || state->lower == TOP_LOWER_ORDERS)
                        top_orders_draw(both ? &parts.right : &parts.left, top_feed_stats(feed));
        }
        draw_keys(&parts.keys, feed, state);
        if (state->help)
                draw_help();
        else if (state->asks != 0)
                draw_question(feed, state);
        refresh();
}

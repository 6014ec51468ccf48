/* See top_lists.h. */
#include "top_lists.h"

#include <inttypes.h>
#include <stdlib.h>

#include "flow.h"
#include "printable.h"
#include "quantity.h"

static size_t client_place(const struct roster *clients, uint32_t session) {
        size_t at = 0;
        while (at < clients->count && clients->entries[at].session != session)
                at++;
        return at;
}

const struct reply_client *top_client_find(const struct roster *clients, uint32_t session) {
        size_t at = client_place(clients, session);
        return at < clients->count ? &clients->entries[at] : NULL;
}

void top_client_move(const struct roster *clients, struct top_state *state, long by) {
        if (clients->count == 0)
                return;
        size_t place = client_place(clients, state->selected);
        long last = (long)clients->count - 1;
        long to = place == clients->count ? (by > 0 ? 0 : last) : (long)place + by;
        to = to < 0 ? 0 : to > last ? last : to;
        state->selected = clients->entries[to].session;
}

/* Columns from the right: what has no room is left out, the least important first. */
struct fields {
        int name_end, held_end, cached_end, ranges_end, waiting_end; /* 0: left out */
};

#define LETTER_WIDTH 2
#define ID_WIDTH     6
#define NAME_MIN     8
#define BYTES_WIDTH  11
#define COUNT_WIDTH  9
#define WIDTH_MAX    86 /* wider, names and figures would be far from each other */

static struct fields fields_for(int width) {
        struct fields fields = {0};
        width = width < WIDTH_MAX ? width : WIDTH_MAX;
        int used = LETTER_WIDTH + ID_WIDTH + NAME_MIN;
        int *const ends[] = {
                &fields.held_end, &fields.waiting_end, &fields.cached_end, &fields.ranges_end};
        static const int widths[] = {BYTES_WIDTH, COUNT_WIDTH, BYTES_WIDTH, COUNT_WIDTH};
        bool has[4];
        for (unsigned i = 0; i < 4; i++) {
                has[i] = used + widths[i] <= width;
                used += has[i] ? widths[i] : 0;
        }
        static const unsigned from_right[] = {1, 3, 2, 0};
        int end = width;
        for (unsigned i = 0; i < 4; i++) {
                unsigned which = from_right[i];
                if (!has[which])
                        continue;
                *ends[which] = end;
                end -= widths[which];
        }
        fields.name_end = end;
        return fields;
}

static void field_draw(
        const struct top_box *box, int row, int end, enum terminal_style style, const char *text) {
        if (end > 0)
                top_draw_right(box, row, end, style, text);
}

static void clients_heading(
        const struct top_box *box, const struct fields *fields, enum roster_key sort) {
#define STYLE_OF(key) (sort == (key) ? STYLE_STRONG : STYLE_FREE)
        top_draw_right(box, 0, LETTER_WIDTH + ID_WIDTH - 1, STYLE_OF(ROSTER_ID), "ID");
        top_draw(box, 0, LETTER_WIDTH + ID_WIDTH, STYLE_OF(ROSTER_NAME), "CLIENT");
        field_draw(box, 0, fields->held_end, STYLE_OF(ROSTER_HELD), "HELD");
        field_draw(box, 0, fields->cached_end, STYLE_OF(ROSTER_CACHED), "CACHED");
        field_draw(box, 0, fields->ranges_end, STYLE_FREE, "RANGES");
        field_draw(box, 0, fields->waiting_end, STYLE_OF(ROSTER_WAITING), "WAITING");
#undef STYLE_OF
}

static void client_draw(const struct top_box *box, int row, const struct fields *fields,
        const struct top_feed *feed, const struct reply_client *client) {
        char text[QUANTITY_BYTES];
        const struct legend_entry *entry = legend_find(&feed->legend, client->session);
        char letter[2] = {entry ? entry->letter : ' ', '\0'};
        top_draw(box, row, 0, entry ? entry->style : STYLE_PLAIN, letter);
        snprintf(text, sizeof(text), "%" PRIu32, client->session);
        top_draw_right(box, row, LETTER_WIDTH + ID_WIDTH - 1, STYLE_PLAIN, text);
        char *name = printable_text(client->name);
        struct top_box name_box = *box;
        name_box.columns =
                fields->name_end - 1 < box->columns ? fields->name_end - 1 : box->columns;
        top_draw(&name_box, row, LETTER_WIDTH + ID_WIDTH,
                client->connected ? STYLE_PLAIN : STYLE_FREE, name ? name : "");
        free(name);
        field_draw(
                box, row, fields->held_end, STYLE_STRONG, quantity_bytes(text, client->held_bytes));
        field_draw(box, row, fields->cached_end, STYLE_PLAIN,
                quantity_bytes(text, client->cached_bytes));
        field_draw(box, row, fields->ranges_end, STYLE_PLAIN,
                quantity_count(text, client->held_ranges));
        field_draw(box, row, fields->waiting_end, client->waiting > 0 ? STYLE_CACHED : STYLE_PLAIN,
                quantity_count(text, client->waiting));
}

/* Keeps the selected one in sight. */
static void list_scroll(struct top_state *state, size_t place, size_t count, size_t rows) {
        if (place < count && place < state->first)
                state->first = place;
        if (place < count && place >= state->first + rows)
                state->first = place - rows + 1;
        if (state->first + rows > count)
                state->first = count > rows ? count - rows : 0;
}

void top_clients_draw(
        const struct top_box *box, const struct top_feed *feed, struct top_state *state) {
        struct fields fields = fields_for(box->columns);
        const struct roster *clients = &feed->clients;
        if (box->rows < 2)
                return;
        size_t rows = (size_t)box->rows - 1;
        size_t place = client_place(clients, state->selected);
        list_scroll(state, place, clients->count, rows);
        clients_heading(box, &fields, state->sort);
        if (clients->count == 0)
                top_draw(box, 1, LETTER_WIDTH + ID_WIDTH, STYLE_FREE, "nobody is connected");
        for (size_t i = state->first; i < clients->count && i < state->first + rows; i++) {
                int row = (int)(i - state->first) + 1;
                client_draw(box, row, &fields, feed, &clients->entries[i]);
                if (i == place)
                        top_draw_reverse(box, row, true);
        }
}

void top_orders_draw(const struct top_box *box, const struct reply_stats *stats) {
        if (box->rows < 2)
                return;
        static const int ends[] = {9, 16, 23, 32};
        static const char *const headings[] = {"BLOCK", "FREE", "HELD", "UNUSABLE"};
        for (unsigned i = 0; i < 4; i++)
                top_draw_right(box, 0, ends[i], STYLE_FREE, headings[i]);
        int row = 1;
        for (size_t i = 0; i < stats->order_count && row < box->rows; i++) {
                const struct reply_order *order = &stats->orders[i];
                char text[QUANTITY_BYTES];
                /* Where there are more orders than rows, those without blocks have to go. */
                if (stats->order_count >= (size_t)box->rows && order->free_blocks == 0 &&
                        order->held_blocks == 0)
                        continue;
                top_draw_right(
                        box, row, ends[0], STYLE_PLAIN, quantity_bytes(text, order->block_bytes));
                top_draw_right(
                        box, row, ends[1], STYLE_PLAIN, quantity_count(text, order->free_blocks));
                top_draw_right(
                        box, row, ends[2], STYLE_PLAIN, quantity_count(text, order->held_blocks));
                snprintf(text, sizeof(text), "%.3f", order->unusable_index);
                top_draw_right(box, row++, ends[3], STYLE_PLAIN, text);
        }
}

/* See top_draw.h. */
#include "top_draw.h"

#include <ncurses.h>
#include <stdarg.h>
#include <stdlib.h>

#include "flow.h"

static bool coloured;

void top_draw_begin(void) {
        static const short eight[STYLE_CLIENT + STYLE_CLIENTS] = {
                [STYLE_HELD] = COLOR_CYAN,
                [STYLE_CACHED] = COLOR_YELLOW,
                [STYLE_FREE] = -1,
                [STYLE_CLIENT] = COLOR_CYAN,
                [STYLE_CLIENT + 1] = COLOR_YELLOW,
                [STYLE_CLIENT + 2] = COLOR_GREEN,
                [STYLE_CLIENT + 3] = COLOR_MAGENTA,
                [STYLE_CLIENT + 4] = COLOR_BLUE,
                [STYLE_CLIENT + 5] = COLOR_RED,
                [STYLE_CLIENT + 6] = -1,
        };
        coloured = terminal_has_colour(stdout) && has_colors() && start_color() == OK;
        if (!coloured)
                return;
        use_default_colors();
        for (short style = STYLE_HELD; style < (short)(STYLE_CLIENT + STYLE_CLIENTS); style++)
                init_pair(style, COLORS >= 256 ? terminal_palette[style] : eight[style], -1);
}

static int style_attributes(enum terminal_style style) {
        if (style == STYLE_PLAIN)
                return (int)A_NORMAL;
        if (style == STYLE_STRONG)
                return (int)A_BOLD;
        return coloured ? COLOR_PAIR(style) : (int)A_NORMAL;
}

static int box_end(const struct top_box *box) {
        int end = box->column + box->columns;
        return end < COLS ? end : COLS;
}

int top_draw(
        const struct top_box *box, int row, int at, enum terminal_style style, const char *text) {
        int room = box_end(box) - box->column - at;
        if (row < 0 || row >= box->rows || box->row + row >= LINES || at < 0 || room <= 0)
                return at;
        size_t bytes = flow_cut(text, (unsigned)room);
        attrset(style_attributes(style));
        mvaddnstr(box->row + row, box->column + at, text, (int)bytes);
        attrset((int)A_NORMAL);
        unsigned columns = flow_columns(text);
        return at + (columns < (unsigned)room ? (int)columns : room);
}

int top_drawf(const struct top_box *box, int row, int at, const char *format, ...) {
        char text[256];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        return top_draw(box, row, at, STYLE_PLAIN, text);
}

void top_draw_right(
        const struct top_box *box, int row, int end, enum terminal_style style, const char *text) {
        int at = end - (int)flow_columns(text);
        if (at >= 0)
                top_draw(box, row, at, style, text);
}

void top_draw_reverse(const struct top_box *box, int row, bool on) {
        if (row < 0 || row >= box->rows || box->row + row >= LINES)
                return;
        mvchgat(box->row + row, box->column, box_end(box) - box->column, on ? A_REVERSE : A_NORMAL,
                0, NULL);
}

/* Text in its place on an ncurses screen, cut to the room that there is, and styles as colours. What is outside of the screen is not
 * drawn. */
#pragma once

#include "terminal.h"

struct top_box {
        int row, column, rows, columns;
};

/* Colour pairs for the styles, where the terminal has colours and NO_COLOR is not set. */
void top_draw_begin(void);

/* Writes in the box's row, from column at on, no further than the box goes; text of clients must have been escaped. Returns the
 * column behind it. */
int top_draw(
        const struct top_box *box, int row, int at, enum terminal_style style, const char *text);

/* The same with printf's arguments, plain, of 255 bytes at most. */
int top_drawf(const struct top_box *box, int row, int at, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* The same, ending at column end. */
void top_draw_right(
        const struct top_box *box, int row, int end, enum terminal_style style, const char *text);

/* Turns a row of the box around, light to dark. */
void top_draw_reverse(const struct top_box *box, int row, bool on);

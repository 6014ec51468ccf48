/* What the terminal can show: colours only on one and where NO_COLOR is not set. No state. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum terminal_style {
        STYLE_PLAIN,
        STYLE_STRONG,
        STYLE_HELD,
        STYLE_CACHED,
        STYLE_FREE,
        STYLE_CLIENT, /* the first of STYLE_CLIENTS that tell clients apart */
};
#define STYLE_CLIENTS 7u

/* Colours of the xterm palette that stand out on dark and on light ground, and apart for people who see few colours. */
extern const unsigned char terminal_palette[STYLE_CLIENT + STYLE_CLIENTS];

/* Whether out takes colours. */
bool terminal_has_colour(FILE *out);

/* Switches to a style if out takes colours. */
void terminal_style(FILE *out, enum terminal_style style);

/* Clears the screen if out is a terminal. */
void terminal_clear(FILE *out);

/* How many of cells stand for part of whole, rounded up to 1 for anything at all, and short of all for
 * anything short of whole. */
unsigned terminal_cells(uint64_t part, uint64_t whole, unsigned cells);

/* Whether ncurses can draw on a terminal of this type. To be asked first: its newterm does not free all when it fails. */
bool terminal_is_known(void);

/* Columns and rows of the terminal that out is; else of $COLUMNS, else 80 times 24. */
struct terminal_size {
        unsigned columns, rows;
};
struct terminal_size terminal_size(FILE *out);

/* What the terminal can show: colours only on one and where NO_COLOR is not set. No state. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define TERMINAL_BAR_CELLS 64

enum terminal_style {
        STYLE_PLAIN,
        STYLE_STRONG,
        STYLE_HELD,
        STYLE_CACHED,
        STYLE_FREE,
};

/* Whether out takes colours. */
bool terminal_has_colour(FILE *out);

/* Switches to a style if out takes colours. */
void terminal_style(FILE *out, enum terminal_style style);

/* Clears the screen if out is a terminal. */
void terminal_clear(FILE *out);

/* How many of cells stand for part of whole, rounded up to 1 for anything at all, and short of all for
 * anything short of whole. */
unsigned terminal_cells(uint64_t part, uint64_t whole, unsigned cells);

/* Held, cached and free as a bar of TERMINAL_BAR_CELLS between brackets. */
void terminal_bar(FILE *out, uint64_t held, uint64_t cached, uint64_t size);

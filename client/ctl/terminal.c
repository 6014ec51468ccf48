/* Escape sequences, and only these: the texts of others come escaped. */
#include "terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool terminal_has_colour(FILE *out) {
        const char *refused = getenv("NO_COLOR");
        const char *type = getenv("TERM");
        if ((refused && refused[0] != '\0') || !type || strcmp(type, "dumb") == 0)
                return false;
        int fd = fileno(out);
        return fd >= 0 && isatty(fd);
}

const unsigned char terminal_palette[STYLE_CLIENT + STYLE_CLIENTS] = {
        [STYLE_HELD] = 33,
        [STYLE_CACHED] = 172,
        [STYLE_FREE] = 245,
        [STYLE_CLIENT] = 33,
        [STYLE_CLIENT + 1] = 172,
        [STYLE_CLIENT + 2] = 36,
        [STYLE_CLIENT + 3] = 169,
        [STYLE_CLIENT + 4] = 74,
        [STYLE_CLIENT + 5] = 166,
        [STYLE_CLIENT + 6] = 136,
};

/* Of the eight that every terminal has. */
static const unsigned char eight_colours[STYLE_CLIENT + STYLE_CLIENTS] = {
        [STYLE_HELD] = 36,
        [STYLE_CACHED] = 33,
        [STYLE_FREE] = 2,
        [STYLE_CLIENT] = 36,
        [STYLE_CLIENT + 1] = 33,
        [STYLE_CLIENT + 2] = 32,
        [STYLE_CLIENT + 3] = 35,
        [STYLE_CLIENT + 4] = 34,
        [STYLE_CLIENT + 5] = 31,
        [STYLE_CLIENT + 6] = 1,
};

static bool has_palette(void) {
        const char *type = getenv("TERM");
        const char *depth = getenv("COLORTERM");
        return (type && strstr(type, "256color")) || (depth && depth[0] != '\0');
}

void terminal_style(FILE *out, enum terminal_style style) {
        if (!terminal_has_colour(out))
                return;
        if (style == STYLE_PLAIN || style == STYLE_STRONG)
                fputs(style == STYLE_STRONG ? "\033[1m" : "\033[0m", out);
        else if (has_palette())
                fprintf(out, "\033[38;5;%um", terminal_palette[style]);
        else
                fprintf(out, "\033[%um", eight_colours[style]);
}

void terminal_clear(FILE *out) {
        if (isatty(fileno(out)))
                fputs("\033[H\033[2J", out);
}

unsigned terminal_cells(uint64_t part, uint64_t whole, unsigned cells) {
        if (part == 0 || whole == 0)
                return 0;
        if (part >= whole)
                return cells;
        unsigned count = (unsigned)((double)part / (double)whole * cells + 0.5);
        if (count == 0)
                return 1;
        return count >= cells ? cells - 1 : count;
}

static unsigned positive(const char *text) {
        unsigned long value = text ? strtoul(text, NULL, 10) : 0;
        return value > 0 && value < 10000 ? (unsigned)value : 0;
}

struct terminal_size terminal_size(FILE *out) {
        struct terminal_size size = {80, 24};
        struct winsize window;
        unsigned columns = positive(getenv("COLUMNS"));
        if (columns > 0)
                size.columns = columns;
        if (ioctl(fileno(out), TIOCGWINSZ, &window) == 0 && window.ws_col > 0 && window.ws_row > 0)
                size = (struct terminal_size){window.ws_col, window.ws_row};
        return size;
}

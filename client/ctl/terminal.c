/* Escape sequences, and only these: the texts of others come escaped. */
#include "terminal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "printable.h"

bool terminal_has_colour(FILE *out) {
        const char *refused = getenv("NO_COLOR");
        const char *type = getenv("TERM");
        if ((refused && refused[0] != '\0') || !type || strcmp(type, "dumb") == 0)
                return false;
        int fd = fileno(out);
        return fd >= 0 && isatty(fd);
}

void terminal_style(FILE *out, enum terminal_style style) {
        static const char *const codes[] = {
                [STYLE_PLAIN] = "0",
                [STYLE_STRONG] = "1",
                [STYLE_HELD] = "36",
                [STYLE_CACHED] = "33",
                [STYLE_FREE] = "2",
        };
        if (terminal_has_colour(out))
                fprintf(out, "\033[%sm", codes[style]);
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

static void bar_part(FILE *out, enum terminal_style style, const char *cell, unsigned count) {
        terminal_style(out, style);
        for (unsigned i = 0; i < count; i++)
                fputs(cell, out);
}

void terminal_bar(FILE *out, uint64_t held, uint64_t cached, uint64_t size) {
        bool utf8 = printable_utf8();
        unsigned taken = terminal_cells(held + cached, size, TERMINAL_BAR_CELLS);
        unsigned cached_cells = terminal_cells(cached, held + cached, taken);
        fputc('[', out);
        bar_part(out, STYLE_HELD, utf8 ? "█" : "#", taken - cached_cells);
        bar_part(out, STYLE_CACHED, utf8 ? "▒" : "=", cached_cells);
        bar_part(out, STYLE_FREE, utf8 ? "·" : ".", TERMINAL_BAR_CELLS - taken);
        terminal_style(out, STYLE_PLAIN);
        fputc(']', out);
}

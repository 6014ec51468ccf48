/* Drawing. Everything goes to standard error, a picture in one write. */
#include "picture.h"

#include <inttypes.h>
#include <langinfo.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TERMINAL_MS 100
#define LINE_MS     5000
#define WIDTH_MAX   512
#define FRAME_WIDTH 9 /* "[" and "]" with the label before and a column free at the end */

void picture_init(struct picture *picture, uint64_t pool_bytes) {
        memset(picture, 0, sizeof(*picture));
        picture->pool_bytes = pool_bytes;
        picture->unit_bytes = (pool_bytes + PICTURE_UNITS - 1) / PICTURE_UNITS;
        picture->begun_us = report_clock_us();
        picture->shown_us = picture->begun_us;
        picture->terminal = isatty(STDERR_FILENO);
        picture->utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
}

void picture_mark(struct picture *picture, const struct buddyclient_range *range, bool held) {
        uint64_t position = range->offset;
        uint64_t end = range->offset + range->length;
        while (position < end) {
                uint64_t unit = position / picture->unit_bytes;
                uint64_t next = (unit + 1) * picture->unit_bytes;
                uint64_t part = (next < end ? next : end) - position;
                if (held)
                        picture->units[unit] += part;
                else
                        picture->units[unit] -= part;
                position = next;
        }
}

int picture_interval_ms(const struct picture *picture) {
        return picture->terminal ? TERMINAL_MS : LINE_MS;
}

static unsigned terminal_width(void) {
        struct winsize size;
        if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
                return 80;
        return size.ws_col > WIDTH_MAX ? WIDTH_MAX : size.ws_col;
}

/* 0 … 4: how much of the units that lie under a cell is held; anything held shows. */
static unsigned cell_shade(const struct picture *picture, unsigned cell, unsigned cells) {
        uint64_t units = (picture->pool_bytes + picture->unit_bytes - 1) / picture->unit_bytes;
        uint64_t from = units * cell / cells;
        uint64_t to = units * (cell + 1) / cells;
        if (to == from)
                to = from + 1;
        uint64_t held = 0;
        for (uint64_t i = from; i < to; i++)
                held += picture->units[i];
        uint64_t room = (to - from) * picture->unit_bytes;
        uint64_t shade = (held * 4 + room - 1) / room;
        return shade > 4 ? 4 : (unsigned)shade;
}

static void put_shade(FILE *out, const struct picture *picture, unsigned shade) {
        static const char *const blocks[] = {" ", "\u2591", "\u2592", "\u2593", "\u2588"};
        static const char *const letters[] = {" ", ".", ":", "+", "#"};
        fputs(picture->utf8 ? blocks[shade] : letters[shade], out);
}

static void draw_progress(FILE *out, const struct picture *picture, unsigned cells, double share) {
        fputs("\r\033[Kfiles [", out);
        for (unsigned i = 0; i < cells; i++)
                put_shade(out, picture, i < (unsigned)(share * cells) ? 4 : 0);
        fputs("]\n\033[K", out);
}

static void draw_pool(FILE *out, const struct picture *picture, unsigned cells) {
        fputs("pool  [", out);
        for (unsigned i = 0; i < cells; i++)
                put_shade(out, picture, cell_shade(picture, i, cells));
        fputs("]\n\033[K", out);
}

static void print_figures(
        FILE *out, const struct picture *picture, uint64_t done_bytes, uint64_t held_bytes) {
        double seconds = (double)(picture->shown_us - picture->begun_us) / 1e6;
        double share = picture->total_bytes ? (double)done_bytes / (double)picture->total_bytes : 0;
        fprintf(out, "%.0f %%, %.1f of %.1f MiB, %.0f MiB/s, pool: %.1f of %.1f MiB held\n",
                share > 1 ? 100 : share * 100, report_mib(done_bytes),
                report_mib(picture->total_bytes),
                seconds > 0 ? report_mib(done_bytes) / seconds : 0, report_mib(held_bytes),
                report_mib(picture->pool_bytes));
}

static void write_all(const char *text, size_t length) {
        while (length) {
                ssize_t written = write(STDERR_FILENO, text, length);
                if (written <= 0)
                        return; /* the picture is no reason to break off */
                text += written;
                length -= (size_t)written;
        }
}

void picture_clear(struct picture *picture) {
        static const char text[] = "\033[3A\r\033[J";
        if (picture->drawn)
                write_all(text, sizeof(text) - 1);
        picture->drawn = false;
}

void picture_show(struct picture *picture, uint64_t done_bytes, uint64_t held_bytes) {
        uint64_t now = report_clock_us();
        if (now - picture->shown_us < (uint64_t)picture_interval_ms(picture) * 1000)
                return;
        picture->shown_us = now;
        static char text[WIDTH_MAX * 8];
        FILE *out = fmemopen(text, sizeof(text), "w");
        if (!out)
                return;
        unsigned width = terminal_width();
        if (picture->terminal && width > 2 * FRAME_WIDTH) {
                if (picture->drawn)
                        fputs("\033[3A", out);
                double share = picture->total_bytes
                                       ? (double)done_bytes / (double)picture->total_bytes
                                       : 0;
                draw_progress(out, picture, width - FRAME_WIDTH, share > 1 ? 1 : share);
                draw_pool(out, picture, width - FRAME_WIDTH);
                picture->drawn = true;
        }
        print_figures(out, picture, done_bytes, held_bytes);
        long length = ftell(out);
        fclose(out);
        if (length > 0)
                write_all(text, (size_t)length);
}

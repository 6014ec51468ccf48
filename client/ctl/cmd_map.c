/* map: the address space as a picture, in the terminal or for a browser, or as JSON. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "complain.h"
#include "file_replace.h"
#include "map_svg.h"
#include "quantity.h"
#include "sample.h"

#define JSON_CELLS 1024u
#define SVG_ROWS   32u

struct map_wanted {
        bool by_client, as_json;
        unsigned width;  /* 0: as it fits */
        const char *svg; /* NULL: none */
};

static enum exit_status wanted_read(const struct invocation *invocation, struct map_wanted *out) {
        const char *by = invocation->values[OPTION_BY];
        const char *width = invocation->values[OPTION_WIDTH];
        *out = (struct map_wanted){
                .as_json = invocation_has(invocation, OPTION_JSON),
                .svg = invocation->values[OPTION_SVG],
                .by_client = by && strcmp(by, "client") == 0,
        };
        if (by && !out->by_client && strcmp(by, "share") != 0)
                return complain(EXIT_USAGE, "--by %s: give share or client", by);
        if (width && (quantity_parse_id(width, &out->width) != 0 || out->width < MAP_WIDTH_MIN ||
                             out->width > MAP_WIDTH_MAX))
                return complain(EXIT_USAGE, "--width %s: give columns from %u to %u", width,
                        MAP_WIDTH_MIN, MAP_WIDTH_MAX);
        if (out->as_json && (width || out->svg || invocation_has(invocation, OPTION_BYTES)))
                return complain(EXIT_USAGE, "map: --json goes without --width, --svg and --bytes; "
                                            "leave it or them out");
        return EXIT_DONE;
}

static struct map_layout wanted_layout(const struct map_wanted *wanted) {
        struct terminal_size size = terminal_size(stdout);
        unsigned width = wanted->width;
        if (width == 0)
                width = size.columns < MAP_WIDTH_MIN   ? MAP_WIDTH_MIN
                        : size.columns > MAP_WIDTH_MAX ? MAP_WIDTH_MAX
                                                       : size.columns;
        unsigned rows = size.rows > MAP_ROWS + 6 || size.rows < 10 ? MAP_ROWS : size.rows - 6;
        return map_layout_for(width, rows);
}

static unsigned svg_row_cells(const struct map_wanted *wanted) {
        return wanted->width > 0 ? wanted->width : MAP_SVG_ROW_CELLS;
}

static size_t wanted_cells(const struct map_wanted *wanted) {
        struct map_layout layout = wanted_layout(wanted);
        size_t cells = (size_t)layout.row_cells * layout.rows_max;
        if (wanted->as_json)
                cells = JSON_CELLS;
        if (wanted->svg)
                cells = (size_t)svg_row_cells(wanted) * SVG_ROWS;
        return cells < MAP_CELLS_MAX ? cells : MAP_CELLS_MAX;
}

static enum exit_status print_svg(
        const struct map_wanted *wanted, const struct map_picture *picture) {
        char when[64] = "";
        time_t now = time(NULL);
        struct tm local;
        if (localtime_r(&now, &local))
                strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S %z", &local);
        struct map_svg svg = {
                .picture = picture,
                .row_cells = svg_row_cells(wanted),
                .by_client = wanted->by_client,
                .when = when,
        };
        struct file_replace file;
        enum exit_status status = file_replace_begin(&file, wanted->svg);
        if (status != EXIT_DONE)
                return status;
        map_svg_write(file.out, &svg);
        return file_replace_end(&file, EXIT_DONE);
}

static enum exit_status print_map(const struct map_wanted *wanted, struct map_picture *picture) {
        struct legend legend;
        if (legend_init(&legend, picture->map) != 0)
                return complain(EXIT_REFUSED, "out of memory; free some and try again");
        enum exit_status status = EXIT_DONE;
        picture->legend = wanted->by_client || wanted->svg ? &legend : NULL;
        struct map_layout layout = wanted_layout(wanted);
        if (wanted->svg)
                status = print_svg(wanted, picture);
        else if (wanted->as_json)
                map_view_json(stdout, picture);
        else
                map_view_text(stdout, picture, &layout);
        picture->legend = NULL;
        legend_deinit(&legend);
        return status;
}

/* The cells last: so they and the statistics are of nearly the same instant. */
static enum exit_status map_show(
        struct observer *observer, const struct map_wanted *wanted, bool raw_bytes) {
        struct roster roster = {0};
        struct sample sample;
        struct map map;
        bool whose = wanted->by_client || wanted->svg;
        enum exit_status status = whose ? roster_load(observer, &roster) : EXIT_DONE;
        if (status != EXIT_DONE)
                return status;
        roster_sort(&roster, ROSTER_ID);
        status = sample_take(observer, &sample);
        if (status == EXIT_DONE)
                status = map_load(observer, sample.stats.size_bytes,
                        map_cell_bytes(sample.stats.size_bytes, sample.stats.page_bytes,
                                wanted_cells(wanted)),
                        whose, &map);
        if (status == EXIT_DONE) {
                struct map_picture picture = {.map = &map,
                        .roster = &roster,
                        .stats = &sample.stats,
                        .raw_bytes = raw_bytes};
                status = print_map(wanted, &picture);
                map_deinit(&map);
        }
        roster_deinit(&roster);
        return status;
}

enum exit_status cmd_map(const struct invocation *invocation) {
        struct map_wanted wanted;
        struct observer observer;
        enum exit_status status = wanted_read(invocation, &wanted);
        if (status == EXIT_DONE)
                status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        status = map_show(&observer, &wanted, invocation_has(invocation, OPTION_BYTES));
        observer_close(&observer);
        return status;
}

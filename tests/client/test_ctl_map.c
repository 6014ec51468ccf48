/* Maps: adding up what the daemon tells, and text, JSON and pictures of every width. */
#include <criterion/criterion.h>
#include <errno.h>
#include <locale.h>
#include <string.h>
#include <wchar.h>

#include "client/ctl/flow.h"
#include "client/ctl/map_svg.h"

#define PAGE 4096ull

TestSuite(ctl_map, .timeout = 60);

static struct map map;
static struct roster roster;
static struct legend legend;
static struct reply_stats stats = {
        .pool = "<pool> & \"co\"",
        .backing = "memfd",
        .page_bytes = PAGE,
        .held_bytes = 40 * PAGE,
        .cached_bytes = 8 * PAGE,
        .free_bytes = 52 * PAGE,
        .largest_free_bytes = 32 * PAGE,
};

/* 100 pages as 25 cells of 4: ten held by 3 and one page of them by 4, two cached, one half, the rest free. */
static void sample_map(void) {
        static uint64_t granted[25], cached[25];
        static uint32_t cells[32], sessions[32];
        static uint64_t bytes[32];
        size_t shares = 0;
        for (uint32_t i = 0; i < 13; i++) {
                cells[shares] = i;
                sessions[shares] = 3;
                bytes[shares++] = i == 12 ? 2 * PAGE : i == 5 ? 3 * PAGE : 4 * PAGE;
        }
        cells[shares] = 5;
        sessions[shares] = 4;
        bytes[shares++] = PAGE;
        cached[10] = cached[11] = 4 * PAGE;
        struct reply_map reply = {.granted = granted,
                .cached = cached,
                .cached_count = 25,
                .share_cells = cells,
                .share_sessions = sessions,
                .share_bytes = bytes,
                .share_count = shares};
        cr_assert_eq(map_begin(&map, 100 * PAGE, 4 * PAGE), 0);
        cr_assert_eq(map.count, 25);
        cr_assert_eq(map_add(&map, &reply), 0);
        map_end(&map);
        static const struct reply_client clients[] = {
                {.session = 3, .name = "<b>&\"\033"}, {.session = 4, .name = "s\xc3\xa4ge"}};
        cr_assert_eq(roster_add(&roster, &clients[0]), 0);
        cr_assert_eq(roster_add(&roster, &clients[1]), 0);
        cr_assert_eq(legend_init(&legend, &map), 0);
}

static void sample_end(void) {
        legend_deinit(&legend);
        roster_deinit(&roster);
        map_deinit(&map);
}

static char *captured(bool by_client, unsigned width) {
        struct map_picture picture = {.map = &map,
                .roster = &roster,
                .stats = &stats,
                .legend = by_client ? &legend : NULL};
        struct map_layout layout = map_layout_for(width, MAP_ROWS);
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        map_view_text(out, &picture, &layout);
        fclose(out);
        return text;
}

/* ---- Adding up ---- */

Test(ctl_map, parts_are_added_up_cell_by_cell) {
        const uint64_t first[] = {PAGE, 2 * PAGE}, then[] = {PAGE, 4 * PAGE},
                       cached[] = {PAGE, 0, 0};
        struct reply_map replies[] = {
                {.granted = first, .granted_count = 2, .cached = cached, .cached_count = 3},
                {.first = 1, .granted = then, .granted_count = 2}};
        cr_assert_eq(map_begin(&map, 10 * PAGE, 4 * PAGE), 0);
        cr_assert_eq(map_add(&map, &replies[0]), 0);
        cr_assert_eq(map_add(&map, &replies[1]), 0);
        map_end(&map);
        static const uint64_t held[] = {0, 3 * PAGE, 2 * PAGE}, free_bytes[] = {3 * PAGE, PAGE, 0};
        for (size_t i = 0; i < 3; i++) {
                cr_expect_eq(map.cells[i].held, held[i], "cell %zu", i);
                cr_expect_eq(map.cells[i].free, free_bytes[i], "cell %zu", i);
                cr_expect_eq(map.cells[i].cached, cached[i], "cell %zu", i);
        }
        cr_expect_eq(map.cells[2].length, 2 * PAGE, "the last one is cut off");
        map_deinit(&map);
}

Test(ctl_map, shares_are_merged_and_the_largest_comes_first) {
        sample_map();
        cr_assert_eq(map.cells[5].share_count, 2);
        cr_expect_eq(map.cells[5].shares[0].session, 3);
        cr_expect_eq(map.cells[5].shares[1].session, 4);
        cr_expect_eq(map.cells[13].share_count, 0);
        cr_assert_eq(legend.count, 2);
        cr_expect_eq(legend.entries[0].bytes, 49 * PAGE);
        cr_expect_eq(legend.entries[0].letter, 'a');
        cr_expect_eq(legend_find(&legend, 4)->letter, 'b');
        cr_expect_null(legend_find(&legend, 5));
        sample_end();
}

Test(ctl_map, many_parts_of_many_sessions_stay_few) {
        uint32_t cells[4096], sessions[4096];
        uint64_t bytes[4096];
        for (uint32_t i = 0; i < 4096; i++) {
                cells[i] = i % 2;
                sessions[i] = 2 + i / 2 % 100;
                bytes[i] = PAGE;
        }
        struct reply_map reply = {.share_cells = cells,
                .share_sessions = sessions,
                .share_bytes = bytes,
                .share_count = 4096};
        cr_assert_eq(map_begin(&map, 1 << 30, 1 << 29), 0);
        for (unsigned i = 0; i < 50; i++)
                cr_assert_eq(map_add(&map, &reply), 0);
        cr_expect_leq(map.share_room, 16384, "%zu", map.share_room);
        map_end(&map);
        cr_expect_eq(map.share_count, 200);
        cr_expect_eq(map.cells[0].held + map.cells[1].held, 50 * 4096 * PAGE);
        map_deinit(&map);
}

Test(ctl_map, a_reply_to_another_map_is_refused) {
        static uint64_t words[8];
        static uint32_t cells[1] = {2}, sessions[1];
        const struct reply_map bad[] = {
                {.granted = words, .granted_count = 3},
                {.first = 2, .granted = words, .granted_count = 1},
                {.first = UINT32_MAX, .granted = words, .granted_count = 1},
                {.cached = words, .cached_count = 3},
                {.share_cells = cells,
                        .share_sessions = sessions,
                        .share_bytes = words,
                        .share_count = 1},
        };
        cr_assert_eq(map_begin(&map, 2 * PAGE, PAGE), 0);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                cr_expect_eq(map_add(&map, &bad[i]), -EPROTO, "%zu", i);
        map_deinit(&map);
}

Test(ctl_map, nothing_becomes_more_than_there_is) {
        const uint64_t granted[] = {UINT64_C(9) * PAGE}, cached[] = {UINT64_C(7) * PAGE};
        struct reply_map reply = {
                .granted = granted, .granted_count = 1, .cached = cached, .cached_count = 1};
        cr_assert_eq(map_begin(&map, 4 * PAGE, 4 * PAGE), 0);
        cr_assert_eq(map_add(&map, &reply), 0);
        map_end(&map);
        cr_expect_eq(map.cells[0].cached, 4 * PAGE);
        cr_expect_eq(map.cells[0].held + map.cells[0].free, 0);
        map_deinit(&map);
}

Test(ctl_map, cells_are_powers_of_two_pages_or_as_near_as_can_be) {
        cr_expect_eq(map_cell_bytes(1 << 30, PAGE, 1024), 1 << 20);
        cr_expect_eq(map_cell_bytes((1 << 30) + PAGE, PAGE, 1024), 2 << 20);
        cr_expect_eq(map_cell_bytes(3 * PAGE, PAGE, 1024), PAGE);
        cr_expect_eq(map_cell_bytes_near(1000 * PAGE, PAGE, 78), 13 * PAGE);
        cr_expect_eq(map_cell_bytes_near(3 * PAGE, PAGE, 78), PAGE);
}

/* ---- Text ---- */

Test(ctl_map, text_by_share_in_plain_ascii) {
        setlocale(LC_CTYPE, "C");
        sample_map();
        char *text = captured(false, 60);
        cr_expect_str_eq(text,
                "pool <pool> & \"co\"  400 KiB  a cell is 16 KiB\n"
                "       0 B ##########cc+............\n"
                "-+*# held 160 KiB  c cached 32 KiB  . free 208 KiB\n"
                "largest free block 128 KiB\n",
                "%s", text);
        free(text);
        sample_end();
}

Test(ctl_map, text_by_client_names_them) {
        setlocale(LC_CTYPE, "C");
        sample_map();
        char *text = captured(true, 60);
        cr_expect_str_eq(text,
                "pool <pool> & \"co\"  400 KiB  a cell is 16 KiB\n"
                "       0 B aaaaaaaaaaaaa............\n"
                "a <b>&\"\\x1b#3 196 KiB  b s\\xc3\\xa4ge#4 4 KiB  . free 208 KiB\n",
                "%s", text);
        free(text);
        sample_end();
}

Test(ctl_map, text_in_utf8_shows_how_full_a_cell_is) {
        if (!setlocale(LC_CTYPE, "C.UTF-8"))
                cr_skip_test("needs C.UTF-8");
        sample_map();
        char *text = captured(false, 80);
        cr_expect_not_null(strstr(text, " ██████████▒▒▄············\n"), "%s", text);
        free(text);
        sample_end();
}

/* Columns of the widest line. */
static unsigned widest(const char *text) {
        char line[4096];
        unsigned most = 0;
        while (*text != '\0') {
                size_t length = strcspn(text, "\n");
                cr_assert_lt(length, sizeof line);
                memcpy(line, text, length);
                line[length] = '\0';
                unsigned columns = flow_columns(line);
                most = columns > most ? columns : most;
                text += length + (text[length] == '\n');
        }
        return most;
}

Test(ctl_map, no_line_is_wider_than_it_may_be) {
        static const char *const locales[] = {"C", "C.UTF-8"};
        sample_map();
        for (size_t i = 0; i < 2; i++) {
                if (!setlocale(LC_CTYPE, locales[i]))
                        continue;
                for (unsigned width = MAP_WIDTH_MIN; width <= 320; width++)
                        for (int by_client = 0; by_client < 2; by_client++) {
                                char *text = captured(by_client, width);
                                cr_assert_leq(widest(text), width, "%u: %s", width, text);
                                cr_assert_not_null(strstr(text, "KiB"));
                                free(text);
                        }
        }
        sample_end();
}

Test(ctl_map, rows_begin_at_round_offsets) {
        struct map_layout layout = map_layout_for(80, 16);
        cr_expect_eq(layout.row_cells, 64);
        cr_expect_eq(layout.gutter, 11);
        layout = map_layout_for(300, 16);
        cr_expect_eq(layout.row_cells, 288);
        cr_expect_eq(layout.rows_max, 14, "no more cells than the daemon tells at once");
        layout = map_layout_for(20, 16);
        cr_expect_eq(layout.row_cells, 16);
        cr_expect_eq(layout.gutter, 0);
}

Test(ctl_map, a_line_is_stretched_to_its_width) {
        setlocale(LC_CTYPE, "C");
        sample_map();
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        map_view_line(out, &map, 50);
        fclose(out);
        cr_expect_str_eq(text, "####################cccc++........................", "%s", text);
        free(text);
        sample_end();
}

Test(ctl_map, json_has_every_cell) {
        sample_map();
        struct map_picture picture = {
                .map = &map, .roster = &roster, .stats = &stats, .legend = &legend};
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        map_view_json(out, &picture);
        fclose(out);
        static const char begins[] =
                "{\"pool\":\"<pool> & \\\"co\\\"\",\"size_bytes\":409600,\"page_bytes\":4096,"
                "\"cell_bytes\":16384,\"cells\":[{\"offset\":0,\"length\":16384,\"held_bytes\":"
                "16384,"
                "\"cached_bytes\":0,\"free_bytes\":0,\"holders\":[{\"id\":3,\"name\":"
                "\"<b>&\\\"\\u001b\",\"bytes\":16384}]},";
        cr_expect_eq(strncmp(text, begins, sizeof begins - 1), 0, "%s", text);
        cr_expect_not_null(strstr(text, "\"offset\":393216,\"length\":16384,\"held_bytes\":0,"));
        free(text);
        sample_end();
}

/* ---- SVG ---- */

/* Every element that is opened is closed in turn, and no bare special character stands between. */
static void expect_well_formed(const char *text) {
        char open[16][32];
        unsigned depth = 0;
        for (const char *at = text; (at = strchr(at, '<')) != NULL; at++) {
                size_t length = strcspn(at + 1, " >/\n");
                const char *end = strchr(at, '>');
                cr_assert_not_null(end, "no end: %.40s", at);
                if (at[1] == '?')
                        continue;
                if (at[1] == '/') {
                        cr_assert_gt(depth, 0, "%.40s", at);
                        length = strcspn(at + 2, ">");
                        cr_assert_eq(strncmp(open[--depth], at + 2, length), 0, "%.40s", at);
                } else if (end[-1] != '/') {
                        cr_assert_lt(depth, 16);
                        snprintf(open[depth++], 32, "%.*s", (int)length, at + 1);
                }
        }
        cr_assert_eq(depth, 0);
        for (const char *at = text; (at = strchr(at, '&')) != NULL; at++)
                cr_assert_eq(at[1], '#', "%.40s", at);
        for (const char *at = text; *at != '\0'; at++)
                cr_assert(*at == '\n' || (unsigned char)*at >= 0x20);
}

static char *captured_svg(bool by_client, unsigned row_cells) {
        struct map_picture picture = {
                .map = &map, .roster = &roster, .stats = &stats, .legend = &legend};
        struct map_svg svg = {&picture, row_cells, by_client, "now"};
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        map_svg_write(out, &svg);
        fclose(out);
        return text;
}

Test(ctl_map, svg_is_well_formed_whatever_clients_are_called) {
        sample_map();
        for (unsigned row_cells = 1; row_cells <= 64; row_cells += 9)
                for (int by_client = 0; by_client < 2; by_client++) {
                        char *text = captured_svg(by_client, row_cells);
                        expect_well_formed(text);
                        cr_expect_null(strstr(text, "<b>"));
                        free(text);
                }
        sample_end();
}

Test(ctl_map, svg_tells_of_each_run_of_cells) {
        sample_map();
        char *text = captured_svg(false, 25);
        static const char *const told[] = {
                "<title>0 B to 160 KiB (bytes 0 to 163839)&#10;held 160 KiB, cached 0 B, free 0 "
                "B&#10;holder &#60;b&#62;&#38;&#34;\\x1b#3 156 KiB</title>",
                "<title>160 KiB to 192 KiB (bytes 163840 to 196607)&#10;held 0 B, cached 32 KiB, "
                "free 0 B",
                "<title>192 KiB to 208 KiB (bytes 196608 to 212991)&#10;held 8 KiB, cached 0 B, "
                "free 8 KiB",
                "<title>208 KiB to 400 KiB (bytes 212992 to 409599)&#10;held 0 B, cached 0 B, free "
                "192 "
                "KiB</title>",
                ">held 160 KiB</text>", ">cached 32 KiB</text>", ">free 208 KiB</text>",
                ">+48 KiB</text>", ">Pool &#60;pool&#62; &#38; &#34;co&#34;, 400 KiB</text>"};
        for (size_t i = 0; i < sizeof told / sizeof *told; i++)
                cr_expect_not_null(strstr(text, told[i]), "no %s in %s", told[i], text);
        free(text);
        sample_end();
}

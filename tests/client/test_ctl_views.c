/* What is shown: the statistics' screen and object, tables, the bar, and clients in order. */
#include <criterion/criterion.h>
#include <errno.h>
#include <locale.h>
#include <string.h>

#include "client/ctl/roster.h"
#include "client/ctl/stats_view.h"
#include "client/ctl/table.h"
#include "client/ctl/terminal.h"

static const struct reply_order orders[] = {
        {0, 4096, 2, 3, 0, -1},
        {1, 8192, 0, 1, 1, 0.5},
};
static const struct reply_stats stats = {
        .pool = "de\033fault",
        .backing = "posix-shm",
        .page_bytes = 4096,
        .size_bytes = 7 * 4096,
        .capacity_bytes = 14 * 4096,
        .held_bytes = 4 * 4096,
        .cached_bytes = 4096,
        .free_bytes = 2 * 4096,
        .largest_free_bytes = 4096,
        .resident_bytes = 7 * 4096,
        .clients = 3,
        .waiters = 9,
        .orphans = 2,
        .restarts = 1,
        .uptime_seconds = 61,
        .allocs_total = 1234567,
        .oldest_waiter_ms = 1500,
        .requested_bytes_total = 3000,
        .granted_bytes_total = 4000,
        .alloc = {0.5, 1, 2, 3.25},
        .orders = orders,
        .order_count = 2,
};

static const struct stats_screen screen = {
        .stats = &stats,
        .rates = {.seconds = 2.5, .allocs = 1234, .frees = 0.25, .granted_bytes = 8192},
};

static char *captured_screen(
        void (*view)(FILE *, const struct stats_screen *), const struct stats_screen *shown) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        view(out, shown);
        fclose(out);
        return text;
}

static char *captured(void (*view)(FILE *, const struct stats_screen *)) {
        return captured_screen(view, &screen);
}

Test(ctl_views, stats_json_is_one_line_with_the_promised_keys) {
        char *text = captured(stats_view_json);
        cr_expect_str_eq(text,
                "{\"pool\":\"de\\u001bfault\",\"backing\":\"posix-shm\",\"page_bytes\":4096,"
                "\"size_bytes\":28672,\"capacity_bytes\":57344,\"held_bytes\":16384,"
                "\"cached_bytes\":4096,\"free_bytes\":8192,\"largest_free_bytes\":4096,"
                "\"resident_bytes\":28672,\"clients\":3,\"waiters\":9,\"orphans\":2,"
                "\"restarts\":1,"
                "\"uptime_seconds\":61,\"allocs_total\":1234567,\"frees_total\":0,"
                "\"cache_hits_total\":0,\"requested_bytes_total\":3000,\"granted_bytes_total\":"
                "4000,"
                "\"no_space_total\":0,\"quota_refusals_total\":0,\"reclaimed_bytes_total\":0,"
                "\"trimmed_bytes_total\":0,\"draining\":false,"
                "\"orders\":[{\"order\":0,\"block_bytes\":4096,\"free_blocks\":2,\"held_blocks\":3,"
                "\"unusable_index\":0,\"fragmentation_index\":-1},"
                "{\"order\":1,\"block_bytes\":8192,\"free_blocks\":0,\"held_blocks\":1,"
                "\"unusable_index\":1,\"fragmentation_index\":0.5}],"
                "\"latency_us\":{\"alloc\":{\"p50\":0.5,\"p99\":1,\"p999\":2,\"max\":3.25},"
                "\"free\":{\"p50\":0,\"p99\":0,\"p999\":0,\"max\":0}},"
                "\"oldest_waiter_seconds\":1.5,\"rounding_waste_ratio\":0.25,"
                "\"rates\":{\"seconds\":2.5,\"since_start\":false,\"allocs_per_second\":1234,"
                "\"frees_per_second\":0.25,\"cache_hits_per_second\":0,"
                "\"granted_bytes_per_second\":8192}}\n",
                "%s", text);
        free(text);
}

static void expect_words(const char *text, const char *const *words) {
        for (; *words; words++)
                cr_expect_not_null(strstr(text, *words), "no %s in %s", *words, text);
}

static void expect_fits(const char *text) {
        size_t column = 0, lines = 0;
        for (const char *at = text; *at != '\0'; at++) {
                column = *at == '\n' ? 0 : column + 1;
                lines += *at == '\n';
                cr_expect(*at == '\n' || (*at >= 0x20 && *at < 0x7f), "byte %d", *at);
                cr_expect_lt(column, 80, "%s", text);
        }
        cr_expect_lt(lines, 24);
}

Test(ctl_views, stats_screen_is_narrow_and_tame) {
        setlocale(LC_CTYPE, "C");
        char *text = captured(stats_view_text);
        static const char *const words[] = {"de\\x1bfault", "posix-shm", "1 min 01 s", "57.1 %",
                "16 KiB", "1,234,567", "3.25", "oldest 1.5 s", "25.0 %", "restarts 1",
                "fragmentation below 8 KiB        100.0 %", "per s in 2.5 s", "1,234 ", "0.25",
                "8 KiB", "largest free block", "rounding waste", NULL};
        expect_words(text, words);
        expect_fits(text);
        free(text);
}

Test(ctl_views, stats_screen_fits_also_with_the_largest_figures) {
        struct reply_stats most;
        memset(&most, 0xff, sizeof most);
        most.pool = most.backing = "forty-eight-characters-are-the-longest-pool-name";
        most.backing = "posix-shm";
        most.orders = orders;
        most.order_count = 2;
        most.alloc = most.free = (struct reply_latency){1e9, 1e9, 1e9, 1e9};
        most.size_bytes = most.held_bytes = most.cached_bytes = most.free_bytes = UINT64_C(1) << 44;
        most.capacity_bytes = most.resident_bytes = most.largest_free_bytes = UINT64_C(1) << 44;
        most.requested_bytes_total = most.granted_bytes_total = UINT64_C(1) << 53;
        most.reclaimed_bytes_total = UINT64_C(1) << 50;
        most.allocs_total = most.frees_total = most.cache_hits_total = UINT64_C(1) << 43;
        most.no_space_total = most.quota_refusals_total = UINT64_C(1) << 40;
        most.clients = most.waiters = most.orphans = most.restarts = 32767;
        most.uptime_seconds = most.oldest_waiter_ms = UINT64_C(1) << 32;
        for (int raw = 0; raw < 2; raw++) {
                struct stats_screen large = {.stats = &most,
                        .rates = {.seconds = 86399.9, .allocs = 1e9, .granted_bytes = 1e14},
                        .raw_bytes = raw};
                setlocale(LC_CTYPE, "C");
                char *text = captured_screen(stats_view_text, &large);
                expect_fits(text);
                cr_expect_eq(strstr(text, "17592186044416") != NULL, raw, "%s", text);
                free(text);
        }
}

Test(ctl_views, rates_are_between_two_samples_or_since_the_start) {
        struct sample before = {.taken = 10, .stats = {.uptime_seconds = 10, .allocs_total = 100}};
        struct sample after = {.taken = 12.5,
                .stats = {.uptime_seconds = 12,
                        .allocs_total = 350,
                        .granted_bytes_total = 5000,
                        .cache_hits_total = 10}};
        struct rates rates = rates_between(&before, &after);
        cr_expect_not(rates.since_start);
        cr_expect_eq((int)rates.allocs, 100);
        cr_expect_eq((int)rates.frees, 0);
        cr_expect_eq((int)rates.cache_hits, 4);
        cr_expect_eq((int)rates.granted_bytes, 2000);
        rates = rates_between(NULL, &after);
        cr_expect(rates.since_start);
        cr_expect_eq((int)rates.allocs, 29);
        after.stats.restarts = 1;
        cr_expect(rates_between(&before, &after).since_start, "of another daemon");
        after = (struct sample){.taken = 1, .stats = {.allocs_total = 7}};
        cr_expect_eq((int)rates_between(NULL, &after).allocs, 7, "within its first second");
}

static char *captured_row(const char *list, bool raw, bool heading) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        struct stats_screen shown = screen;
        struct columns columns;
        struct invocation invocation = {.command = command_find("stats")};
        invocation.values[OPTION_COLUMNS] = list;
        cr_assert_eq(columns_choose(&invocation, stats_columns, stats_column_count, &columns), 0);
        shown.raw_bytes = raw;
        stats_view_row(out, &shown, &columns, heading);
        fclose(out);
        return text;
}

Test(ctl_views, a_row_has_the_columns_in_the_order_asked_for) {
        setlocale(LC_CTYPE, "C");
        char *text = captured_row("held,POOL,allocs/s,waste", false, true);
        cr_expect_str_eq(text,
                "      HELD  POOL          ALLOCS/S       WASTE\n"
                "    16 KiB  de\\x1bfault       1,234       25.0%\n",
                "%s", text);
        free(text);
        text = captured_row("held,oldest", true, false);
        cr_expect_str_eq(text, "     16384       1.5 s\n", "%s", text);
        free(text);
}

Test(ctl_views, every_figure_has_a_column) {
        for (unsigned i = 0; i < stats_column_count; i++) {
                char *text = captured_row(stats_columns[i].heading, false, false);
                cr_expect_gt(strlen(text), 1, "%s", stats_columns[i].heading);
                free(text);
        }
}

Test(ctl_views, bar_shows_the_least_bit_and_is_full_only_when_full) {
        cr_expect_eq(terminal_cells(0, 1000, 64), 0);
        cr_expect_eq(terminal_cells(1, 1000000, 64), 1);
        cr_expect_eq(terminal_cells(500, 1000, 64), 32);
        cr_expect_eq(terminal_cells(999999, 1000000, 64), 63);
        cr_expect_eq(terminal_cells(1000, 1000, 64), 64);
        cr_expect_eq(terminal_cells(1, 0, 64), 0);
}

Test(ctl_views, table_aligns_and_escapes) {
        static const struct table_column columns[] = {
                {"ID", false}, {"NAME", true}, {"HELD", false}};
        struct table table;
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        struct columns all = {.count = 3, .chosen = {0, 1, 2}};
        table_init(&table, columns, &all);
        table_row(&table);
        table_id(&table, 1000);
        table_text(&table, "a\\x\033");
        table_bytes(&table, 4096);
        table_row(&table);
        table_id(&table, 2);
        table_text(&table, "");
        table_count(&table, 123456);
        cr_assert_eq(table_print(&table, out), 0);
        table_deinit(&table);
        fclose(out);
        cr_expect_str_eq(text,
                "  ID NAME       HELD\n"
                "1000 a\\x\\x1b   4 KiB\n"
                "   2         123,456\n",
                "%s", text);
        free(text);
}

Test(ctl_views, table_shows_the_columns_that_are_chosen) {
        static const struct table_column columns[] = {
                {"ID", false}, {"NAME", true}, {"HELD", false}};
        struct columns chosen = {.count = 3, .chosen = {2, 0, 2}, .raw_bytes = true};
        struct table table;
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        table_init(&table, columns, &chosen);
        table_row(&table);
        table_id(&table, 7);
        table_text(&table, "hidden");
        table_bytes(&table, 4096);
        cr_assert_eq(table_print(&table, out), 0);
        table_deinit(&table);
        fclose(out);
        cr_expect_str_eq(text, "HELD ID HELD\n4096  7 4096\n", "%s", text);
        free(text);
}

static struct roster sample_roster(void) {
        static const struct reply_client clients[] = {
                {.session = 5, .name = "b", .pid = 10, .uid = 3, .held_bytes = 100, .waiting = 1},
                {.session = 9,
                        .name = "a",
                        .pid = 30,
                        .uid = 1,
                        .held_bytes = 300,
                        .cached_bytes = 2},
                {.session = 7,
                        .name = "c",
                        .pid = 20,
                        .uid = 2,
                        .held_bytes = 300,
                        .cached_bytes = 1},
        };
        struct roster roster = {0};
        for (size_t i = 0; i < 3; i++)
                cr_assert_eq(roster_add(&roster, &clients[i]), 0);
        return roster;
}

Test(ctl_views, roster_sorts_by_every_key) {
        static const struct {
                const char *key;
                uint32_t ids[3];
        } sorted[] = {
                {"id", {5, 7, 9}},
                {"name", {9, 5, 7}},
                {"pid", {5, 7, 9}},
                {"uid", {9, 7, 5}},
                {"held", {7, 9, 5}},
                {"cached", {9, 7, 5}},
                {"waiting", {5, 7, 9}},
        };
        struct roster roster = sample_roster();
        for (size_t i = 0; i < sizeof(sorted) / sizeof(sorted[0]); i++) {
                enum roster_key key;
                cr_assert_eq(roster_key_parse(sorted[i].key, &key), 0);
                roster_sort(&roster, key);
                for (size_t k = 0; k < 3; k++)
                        cr_expect_eq(roster.entries[k].session, sorted[i].ids[k],
                                "by %s, place %zu", sorted[i].key, k);
        }
        enum roster_key key = ROSTER_PID;
        cr_expect_eq(roster_key_parse("colour", &key), -EINVAL);
        cr_expect_eq(key, ROSTER_PID);
        roster_deinit(&roster);
}

Test(ctl_views, roster_finds_names) {
        struct roster roster = sample_roster();
        roster_sort(&roster, ROSTER_ID);
        cr_expect_str_eq(roster_name(&roster, 5), "b");
        cr_expect_str_eq(roster_name(&roster, 7), "c");
        cr_expect_str_eq(roster_name(&roster, 9), "a");
        cr_expect_null(roster_name(&roster, 6));
        cr_expect_null(roster_name(&roster, 10));
        roster_deinit(&roster);
        cr_expect_null(roster_name(&roster, 5));
}

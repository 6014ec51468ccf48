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
        .alloc = {0.5, 1, 2, 3.25},
        .orders = orders,
        .order_count = 2,
};

static char *captured(void (*view)(FILE *, const struct reply_stats *)) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        view(out, &stats);
        fclose(out);
        return text;
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
                "\"cache_hits_total\":0,\"requested_bytes_total\":0,\"granted_bytes_total\":0,"
                "\"no_space_total\":0,\"quota_refusals_total\":0,\"reclaimed_bytes_total\":0,"
                "\"orders\":[{\"order\":0,\"block_bytes\":4096,\"free_blocks\":2,\"held_blocks\":3,"
                "\"unusable_index\":0,\"fragmentation_index\":-1},"
                "{\"order\":1,\"block_bytes\":8192,\"free_blocks\":0,\"held_blocks\":1,"
                "\"unusable_index\":1,\"fragmentation_index\":0.5}],"
                "\"latency_us\":{\"alloc\":{\"p50\":0.5,\"p99\":1,\"p999\":2,\"max\":3.25},"
                "\"free\":{\"p50\":0,\"p99\":0,\"p999\":0,\"max\":0}}}\n");
        free(text);
}

Test(ctl_views, stats_screen_is_narrow_and_tame) {
        setlocale(LC_CTYPE, "C");
        char *text = captured(stats_view_text);
        static const char *const words[] = {
                "de\\x1bfault", "posix-shm", "1 min 01 s", "57.1 %", "16 KiB", "1,234,567", "3.25"};
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
                cr_expect_not_null(strstr(text, words[i]), "no %s in %s", words[i], text);
        size_t column = 0, lines = 0;
        for (const char *at = text; *at != '\0'; at++) {
                column = *at == '\n' ? 0 : column + 1;
                lines += *at == '\n';
                cr_expect(*at == '\n' || (*at >= 0x20 && *at < 0x7f), "byte %d", *at);
                cr_expect_lt(column, 80, "%s", text);
        }
        cr_expect_lt(lines, 24);
        free(text);
}

Test(ctl_views, bar_shows_the_least_bit_and_is_full_only_when_full) {
        cr_expect_eq(terminal_cells(0, 1000, 64), 0);
        cr_expect_eq(terminal_cells(1, 1000000, 64), 1);
        cr_expect_eq(terminal_cells(500, 1000, 64), 32);
        cr_expect_eq(terminal_cells(999999, 1000000, 64), 63);
        cr_expect_eq(terminal_cells(1000, 1000, 64), 64);
        cr_expect_eq(terminal_cells(1, 0, 64), 0);
        setlocale(LC_CTYPE, "C");
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        terminal_bar(out, 16, 16, 64);
        fclose(out);
        cr_expect_str_eq(
                text, "[################================................................]");
        free(text);
}

Test(ctl_views, table_aligns_and_escapes) {
        static const struct table_column columns[] = {
                {"ID", false}, {"NAME", true}, {"HELD", false}};
        struct table table;
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        table_init(&table, columns, 3);
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

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "captured.h"
#include "daemon/settings_source.h"
#include "scratch.h"

static void make(void) {
        scratch_make();
}

TestSuite(config, .init = make, .fini = scratch_remove);

/* The file is refused with one line that begins with FILE:LINE: and has part in it. */
static void refused(const char *text, unsigned line, const char *part) {
        const char *path = scratch_write("buddyd.conf", text);
        struct settings_source source = {.workers = 77};
        captured_begin(2);
        int error = config_read(path, &source);
        const char *output = captured_end();
        char start[300];
        snprintf(start, sizeof(start), "buddyd: error: %s:%u: ", path, line);
        cr_expect_eq(error, -EINVAL, "%s", text);
        cr_expect(is_one_line(output), "%s: %s", text, output);
        cr_expect_eq(strncmp(output, start, strlen(start)), 0, "%s: %s", text, output);
        cr_expect(strstr(output, part), "%s: %s", text, output);
        cr_expect(strchr(output, ';'), "no mend: %s", output);
        cr_expect_eq(source.workers, 77, "%s wrote its output", text);
}

static struct settings_source accepted(const char *text) {
        const char *path = scratch_write("buddyd.conf", text);
        struct settings_source source;
        captured_begin(2);
        int error = config_read(path, &source);
        const char *output = captured_end();
        cr_assert_eq(error, 0, "%s: %s", text, output);
        cr_assert_str_eq(output, "");
        return source;
}

Test(config, refuses_with_the_line) {
        refused("[buddyd]\nbogus = 1\n", 2,
                "there is no key 'bogus' in [buddyd]; there are socket, ");
        refused("[buddyd]\nsize = 1\n", 2, "there is no key 'size' in [buddyd]");
        refused("[pool a]\n\nworkers = 1\n", 3, "in a pool's section; there are size, max-size, ");
        refused("# c\n[other]\n", 2, "no section [other]");
        refused("[pool]\n", 1, "no section [pool]");
        refused("[pool a]\n[pool b]\n[pool a]\n", 3, "already in line 1");
        refused("[buddyd]\n[buddyd]\n", 2, "twice");
        refused("[pool a b]\n", 1, "'a b'");
        refused("[pool ]\n", 1, "name is empty");
        refused("[pool a\nsize = 1M\n", 1, "in brackets");
        refused("[pool a] size = 1M\n", 1, "in brackets");
        refused("size = 1M\n", 1, "before the first section");
        refused("[pool a]\nsize\n", 2, "key = value");
        refused("[pool a]\nsize =\n", 2, "size: ''");
        refused("[pool a]\nsize = 1Q\n", 2, "size: '1Q'");
        refused("[pool a]\nbacking = disk\n", 2, "posix-shm or memfd");
        refused("[pool a]\nkeep = perhaps\n", 2, "yes nor no");
        refused("[buddyd]\nworkers = 1000\n", 2, "1 to 64");
        refused("[buddyd]\nsocket-group = no-such-group-here\n", 2, "there is no group");
        refused("[buddyd]\nsocket = /tmp/x # here\n", 2, "comment");
        refused("[pool a]\ngrace = soon\n", 2, "0 to 86400");
        refused("[buddyd]\ngrace = 1\n", 2, "no key 'grace'");
}

Test(config, a_key_that_comes_twice_is_refused) {
        refused("[pool a]\nsize = 1M\n\nsize = 1M\n", 4, "'size' is already in line 2");
        refused("[buddyd]\nworkers = 1\nkeep = no\nworkers = 2\n", 4, "already in line 2");
        struct settings_source source = accepted(
                "[buddyd]\nkeep = yes\n[pool a]\nkeep = no\ngrace = 0\n[pool b]\nkeep = no\n");
        cr_assert_eq(source.pool_count, 2);
        cr_assert_eq(source.pools[0].pool.grace_seconds, 0);
        settings_source_deinit(&source);
}

Test(config, the_first_fault_is_the_one_that_is_told) {
        refused("[pool a]\nsize\nbacking = disk\n", 2, "key = value");
        refused("[pool a]\nbacking = disk\nsize\n", 2, "backing");
}

Test(config, a_long_line_is_refused_and_not_cut) {
        char text[600] = "[buddyd]\nsocket = /";
        memset(text + strlen(text), 'x', 300);
        strcat(text, "\n");
        refused(text, 2, "longer than");
}

Test(config, a_long_comment_is_fine) {
        char text[2000] = "[buddyd]\n# ";
        memset(text + strlen(text), 'x', 1000);
        strcat(text, "\nworkers = 2\n");
        struct settings_source source = accepted(text);
        cr_assert_eq(source.workers, 2);
        settings_source_deinit(&source);
}

Test(config, a_zero_byte_is_refused) {
        const char *path = scratch_path("zero");
        FILE *file = fopen(path, "w");
        fwrite("[buddyd]\nwork\0ers = 2\n", 1, 22, file);
        fclose(file);
        struct settings_source source;
        captured_begin(2);
        int error = config_read(path, &source);
        const char *output = captured_end();
        cr_assert_eq(error, -EINVAL);
        cr_assert(is_one_line(output) && strstr(output, ":2: a zero byte"), "%s", output);
}

Test(config, a_folder_is_refused) {
        struct settings_source source;
        captured_begin(2);
        int error = config_read(scratch_path(""), &source);
        const char *output = captured_end();
        cr_assert_eq(error, -EINVAL);
        cr_assert(is_one_line(output), "%s", output);
        cr_assert(strstr(output, ": Is a directory; give"), "%s", output);
}

Test(config, an_indented_key_is_a_key_and_no_continuation) {
        struct settings_source source = accepted("[pool a]\n  size = 1M\n  page-size = 8K\n");
        cr_assert_eq(source.pools[0].pool.size_bytes, UINT64_C(1) << 20);
        cr_assert_eq(source.pools[0].pool.page_bytes, 8192);
        settings_source_deinit(&source);
}

Test(config, mark_carriage_returns_comments_and_a_missing_last_newline) {
        struct settings_source source =
                accepted("\xEF\xBB\xBF[pool a]\r\nsize = 1M ; a comment\r\n; another\r\n"
                         "[buddyd] # and one\r\nworkers=3");
        cr_assert_eq(source.pools[0].pool.size_bytes, UINT64_C(1) << 20);
        cr_assert_eq(source.workers, 3);
        settings_source_deinit(&source);
}

Test(config, long_pool_names_are_not_cut) {
        struct settings_source source =
                accepted("[pool 123456789012345678901234567890123456789012345678]\nsize=1M\n"
                         "[pool 123456789012345678901234567890123456789012345679]\nsize=2M\n");
        cr_assert_eq(source.pool_count, 2);
        cr_assert_eq(source.pools[0].pool.size_bytes, UINT64_C(1) << 20);
        cr_assert_eq(source.pools[1].pool.size_bytes, UINT64_C(2) << 20);
        settings_source_deinit(&source);
}

Test(config, an_empty_file_asks_for_nothing) {
        struct settings_source source = accepted("");
        cr_assert_eq(source.pool_count, 0);
        cr_assert_eq(source.set, 0);
        settings_source_deinit(&source);
}

Test(config, a_missing_file_is_refused) {
        struct settings_source source;
        captured_begin(2);
        int error = config_read("/nonexistent/x", &source);
        const char *output = captured_end();
        cr_assert_eq(error, -EINVAL);
        cr_assert(is_one_line(output) && strstr(output, "No such file"), "%s", output);
}

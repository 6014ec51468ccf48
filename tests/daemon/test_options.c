#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "captured.h"
#include "daemon/settings.h"

#define ARGUMENTS_MAX 16

static char output[65536];

/* Runs the arguments (separated by single spaces) and keeps what went to the stream. */
static enum settings_outcome load(const char *line, int stream, struct settings *out) {
        char copy[1024];
        strncpy(copy, line, sizeof(copy) - 1);
        copy[sizeof(copy) - 1] = '\0';
        char *argv[ARGUMENTS_MAX + 1] = {"buddyd"};
        int argc = 1;
        for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
                argv[argc++] = word;
        captured_begin(stream);
        enum settings_outcome outcome = settings_load(argc, argv, out);
        strcpy(output, captured_end());
        return outcome;
}

static void refused(const char *line, const char *part) {
        struct settings settings = {.workers = 77};
        cr_expect_eq(load(line, 2, &settings), SETTINGS_EXIT_USAGE, "%s", line);
        cr_expect(is_one_line(output), "%s: %s", line, output);
        cr_expect(strstr(output, part), "%s: %s", line, output);
        cr_expect(strchr(output, ';'), "%s names no mend: %s", line, output);
        cr_expect_eq(settings.workers, 77, "%s wrote its output", line);
}

Test(options, refuses_wrong_usage_in_one_line) {
        refused("--bogus", "--bogus: no such option");
        refused("-x", "-x: no such option");
        refused("--size", "--size: needs a value");
        refused("--keep=yes", "--keep=yes");
        refused("extra", "extra: buddyd takes options only");
        refused("--s 1", "--s");
}

Test(options, refuses_wrong_values_in_one_line) {
        refused("--size 12x", "--size: '12x'");
        refused("--size -1", "--size: '-1'");
        refused("--size 99999999999T", "64 bits");
        refused("--size 0", "size is 0");
        refused("--size 4097", "not a multiple");
        refused("--size 2K", "less than one page");
        refused("--page-size 3K", "power of two");
        refused("--page-size 2K", "power of two");
        refused("--page-size 2G", "power of two");
        refused("--page-size 0", "power of two");
        refused("--size 2M --max-size 1M", "over max-size");
        refused("--size 2M --max-size 2097153", "max-size 2097153 is not a multiple");
        refused("--size 17T", "2^32");
        refused("--size 8388608T --page-size 1G", "2^32");
        refused("--backing disk", "posix-shm or memfd");
        refused("--commit later", "eager or lazy");
        refused("--workers 0", "--workers: '0'");
        refused("--workers 65", "1 to 64");
        refused("--workers 2x", "1 to 64");
        refused("--socket-mode 0888", "--socket-mode: '0888'");
        refused("--socket-mode 1777", "--socket-mode: '1777'");
        refused("--socket-group no-such-group-here", "there is no group");
        refused("--pool a/b", "'a/b'");
        refused("--pool 1234567890123456789012345678901234567890123456789", "longer than 48");
        refused("--config /nonexistent/buddyd.conf", "/nonexistent/buddyd.conf: No such file");
}

Test(options, refuses_a_socket_path_that_no_address_holds) {
        char line[256] = "--socket /";
        memset(line + strlen(line), 'x', 107);
        refused(line, "107 is the limit");
        line[strlen(line) - 1] = '\0';
        struct settings settings;
        cr_assert_eq(load(line, 2, &settings), SETTINGS_RUN);
        settings_deinit(&settings);
}

Test(options, an_empty_value_is_refused) {
        char *argv[] = {"buddyd", "--socket", "", NULL};
        struct settings settings;
        captured_begin(2);
        enum settings_outcome outcome = settings_load(3, argv, &settings);
        const char *text = captured_end();
        cr_assert_eq(outcome, SETTINGS_EXIT_USAGE);
        cr_assert(is_one_line(text));
}

Test(options, an_empty_config_is_refused_by_name) {
        char *argv[] = {"buddyd", "--config", "", NULL};
        struct settings settings;
        captured_begin(2);
        enum settings_outcome outcome = settings_load(3, argv, &settings);
        const char *text = captured_end();
        cr_assert_eq(outcome, SETTINGS_EXIT_USAGE);
        cr_assert(is_one_line(text) && strstr(text, "--config: the file's name is empty;"), "%s",
                text);
}

Test(options, help_fits_a_screen_and_names_every_option) {
        struct settings settings;
        cr_assert_eq(load("--help", 1, &settings), SETTINGS_EXIT_DONE);
        static const char *const names[] = {"--config", "--socket ", "--pool", "--size",
                "--max-size", "--page-size", "--backing", "--commit", "--workers", "--socket-mode",
                "--socket-group", "--keep", "--reset", "--version", "--help"};
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                cr_expect(strstr(output, names[i]), "%s", names[i]);
        unsigned lines = 0, column = 0;
        for (const char *at = output; *at; at++) {
                lines += *at == '\n';
                column = *at == '\n' ? 0 : column + 1;
                cr_assert_leq(column, 80);
        }
        cr_assert_leq(lines, 24);
}

Test(options, version_goes_to_standard_output) {
        struct settings settings;
        cr_assert_eq(load("--version", 1, &settings), SETTINGS_EXIT_DONE);
        cr_assert_str_eq(output, "buddyd " BUDDYD_VERSION "\n");
}

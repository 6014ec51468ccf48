/* The command line: what is understood, and what is refused. */
#include <criterion/criterion.h>

#include "client/ctl/arguments.h"

#define WORDS(...) ((char *[]){"buddyctl", __VA_ARGS__, NULL})

static enum exit_status parse(char **words, struct invocation *out) {
        int count = 0;
        while (words[count])
                count++;
        return arguments_parse(count, words, out);
}

Test(ctl_arguments, takes_options_before_and_after_the_command) {
        struct invocation got;
        char **words = WORDS("--socket", "/a", "stats", "--pool=b", "--json", "--watch", "0.5");
        cr_assert_eq(parse(words, &got), EXIT_DONE);
        cr_assert_str_eq(got.command->name, "stats");
        cr_assert_str_eq(got.values[OPTION_SOCKET], "/a");
        cr_assert_str_eq(got.values[OPTION_POOL], "b");
        cr_assert_str_eq(got.values[OPTION_WATCH], "0.5");
        cr_assert(invocation_has(&got, OPTION_JSON));
        cr_assert_not(invocation_has(&got, OPTION_SORT));
        cr_assert_null(got.operand);
}

Test(ctl_arguments, takes_the_last_of_two) {
        struct invocation got;
        cr_assert_eq(parse(WORDS("--pool", "a", "ping", "--pool", "b"), &got), EXIT_DONE);
        cr_assert_str_eq(got.values[OPTION_POOL], "b");
}

Test(ctl_arguments, takes_an_operand) {
        struct invocation got;
        cr_assert_eq(parse(WORDS("alloc", "--json", "64K"), &got), EXIT_DONE);
        cr_assert_str_eq(got.operand, "64K");
        cr_assert_eq(parse(WORDS("alloc", "--", "-1"), &got), EXIT_DONE);
        cr_assert_str_eq(got.operand, "-1");
}

Test(ctl_arguments, help_and_version_need_nothing_else) {
        struct invocation got;
        cr_assert_eq(parse(WORDS("--help"), &got), EXIT_DONE);
        cr_assert_null(got.command);
        cr_assert_eq(parse(WORDS("alloc", "--help"), &got), EXIT_DONE);
        cr_assert_str_eq(got.command->name, "alloc");
        cr_assert_eq(parse(WORDS("-h"), &got), EXIT_DONE);
        cr_assert(invocation_has(&got, OPTION_HELP));
        cr_assert_eq(parse(WORDS("ping", "--version"), &got), EXIT_DONE);
        cr_assert(invocation_has(&got, OPTION_VERSION));
}

Test(ctl_arguments, refuses_and_leaves_the_output_alone) {
        static char *const wrong[][5] = {
                {"buddyctl"},
                {"buddyctl", "nonsense"},
                {"buddyctl", ""},
                {"buddyctl", "-"},
                {"buddyctl", "--nonsense", "ping"},
                {"buddyctl", "--jso", "ping"},
                {"buddyctl", "-j", "ping"},
                {"buddyctl", "--", "--help"},
                {"buddyctl", "ping", "extra"},
                {"buddyctl", "ping", "--watch", "1"},
                {"buddyctl", "ping", "--json=1"},
                {"buddyctl", "ping", "--socket"},
                {"buddyctl", "ping", "--socket="},
                {"buddyctl", "clients", "--sort"},
                {"buddyctl", "alloc"},
                {"buddyctl", "alloc", "-1"},
                {"buddyctl", "alloc", "1", "2"},
                {"buddyctl", "drain", "--wait", "5"},
                {"buddyctl", "drain", "--off=1"},
                {"buddyctl", "kick"},
                {"buddyctl", "grow", "--wait"},
        };
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
                struct invocation got = {.operand = "untouched"};
                int count = 0;
                while (count < 5 && wrong[i][count])
                        count++;
                cr_expect_eq(arguments_parse(count, wrong[i], &got), EXIT_USAGE, "case %zu", i);
                cr_expect_str_eq(got.operand, "untouched", "case %zu", i);
        }
}

Test(ctl_arguments, an_argument_that_may_be_left_out_follows_an_equals_sign) {
        static char *const with[] = {"buddyctl", "drain", "--wait=2.5"};
        static char *const without[] = {"buddyctl", "--wait", "drain"};
        static char *const empty[] = {"buddyctl", "drain", "--wait="};
        struct invocation got;
        cr_assert_eq(arguments_parse(3, with, &got), EXIT_DONE);
        cr_expect_str_eq(got.values[OPTION_WAIT], "2.5");
        cr_assert_eq(arguments_parse(3, without, &got), EXIT_DONE);
        cr_expect_str_eq(got.values[OPTION_WAIT], "");
        cr_expect_eq(arguments_parse(3, empty, &got), EXIT_USAGE);
}

Test(ctl_arguments, a_limit_is_set_one_at_a_time) {
        static char *const twice[] = {
                "buddyctl", "quota", "--set", "user-keys=1", "--set=user-holds=2"};
        struct invocation got;
        cr_expect_eq(arguments_parse(4, twice, &got), EXIT_DONE);
        cr_expect_eq(arguments_parse(5, twice, &got), EXIT_USAGE, "the first is not lost silently");
}

static unsigned help_lines(const struct command *command) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        command_help(out, command);
        fclose(out);
        unsigned lines = 0;
        size_t column = 0;
        for (size_t i = 0; i < size; i++) {
                column = text[i] == '\n' ? 0 : column + 1;
                lines += text[i] == '\n';
                cr_expect_leq(column, 100, "%s", text);
                cr_expect_lt((unsigned char)text[i], 0x80, "readable in every locale: %s", text);
        }
        cr_expect_gt(lines, 5);
        free(text);
        return lines;
}

Test(ctl_arguments, every_help_fits_a_screen) {
        static const char *const names[] = {"ping", "stats", "orders", "clients", "ranges", "alloc",
                "free", "kick", "drain", "trim", "grow", "quota", "check", "bench"};
        cr_expect_leq(help_lines(NULL), 25);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                const struct command *command = command_find(names[i]);
                cr_assert_not_null(command, "%s", names[i]);
                cr_expect_leq(help_lines(command), 25);
                cr_expect_not_null(command->run);
                cr_expect(command_takes(command, OPTION_SOCKET));
                cr_expect(command_takes(command, OPTION_JSON), "%s", names[i]);
        }
        cr_expect_null(command_find("pin"));
}

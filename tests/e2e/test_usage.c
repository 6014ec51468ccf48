/* How buddyctl refuses: wrong usage is 2, an unreachable daemon 3, a refusal of the daemon 1; each is one line. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"

TestSuite(usage, .timeout = 60);

Test(usage, usage_errors_are_one_line_and_status_2) {
        static const char *const wrong[][3] = {{NULL}, {"nonsense"}, {"--nonsense", "ping"},
                {"ping", "--nonsense"}, {"ping", "extra"}, {"stats", "extra"}, {"alloc"}, {"free"},
                {"alloc", "much"}, {"alloc", "-1"}, {"alloc", "4K", "4K"}, {"alloc", "12Q"},
                {"alloc", "99999999999999999999"}, {"free", "there"}, {"free", "0", "0"},
                {"free", "-4096"}, {"clients", "--sort"}, {"ranges", "--client"}, {"--socket"},
                {"--pool"}, {""}};
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        for (size_t each = 0; each < sizeof wrong / sizeof *wrong; each++) {
                const char *const *words = wrong[each];
                cr_log_info("buddyctl %s %s", words[0], words[1]);
                ctl_refused(&scene, 2, words[0], words[1], words[2], NULL);
        }
        const struct run *run = ctl(&scene, "alloc", "0", NULL);
        cr_assert(run->status == 1 || run->status == 2, "alloc 0: %d", run->status);
        scene_close(&scene);
}

Test(usage, usage_errors_need_no_daemon) {
        struct scene scene;
        scene_open(&scene);
        ctl_refused(&scene, 2, "nonsense", NULL);
        ctl_refused(&scene, 2, "alloc", "much", NULL);
        cr_assert_eq(ctl(&scene, "--help", NULL)->status, 0);
        const struct run *run = ctl(&scene, "--version", NULL);
        cr_assert_eq(run->status, 0);
        cr_assert_not_null(strstr(run->out, BUDDYD_VERSION));
}

Test(usage, no_daemon_is_status_3) {
        static const char *const commands[] = {
                "ping", "stats", "orders", "clients", "ranges", "check"};
        struct scene scene;
        scene_open(&scene);
        for (size_t each = 0; each < sizeof commands / sizeof *commands; each++) {
                const char *line = ctl_refused(&scene, 3, commands[each], NULL);
                cr_assert_not_null(strstr(line, scene.socket), "does not say where: %s", line);
                ctl_refused(&scene, 3, commands[each], "--json", NULL);
        }
        ctl_refused(&scene, 3, "alloc", "4K", NULL);
        ctl_refused(&scene, 3, "free", "0", NULL);
        ctl_refused(&scene, 3, "bench", NULL);
}

Test(usage, a_dead_daemons_socket_is_status_3) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        scene_kill(&scene);
        ctl_refused(&scene, 3, "ping", NULL);
        scene_start(&scene, "--size", "1M", NULL);
        scene_close(&scene);
}

Test(usage, an_unknown_pool_is_refused_by_name) {
        struct scene scene, other;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        other = scene;
        snprintf(other.pool, sizeof other.pool, "atlantis");
        const char *line = ctl_refused(&other, 1, "stats", NULL);
        cr_assert_not_null(strstr(line, "atlantis"), "%s", line);
        ctl_refused(&other, 1, "alloc", "4K", NULL);
        ctl_refused(&other, 1, "check", NULL);
        scene_close(&scene);
}

/* A daemon that hangs is unreachable, too, and no reason to hang with it. */
Test(usage, a_hanging_daemon_is_status_3) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        scene_freeze(&scene);
        uint64_t begin = now_ms();
        ctl_refused(&scene, 3, "ping", NULL);
        cr_assert_lt(now_ms() - begin, 15000);
        scene_thaw(&scene);
        scene_close(&scene);
}

Test(usage, refusals_name_a_mend) {
        static const char *const wrong[][3] = {{"--json=yes", "ping"}, {"stats", "--watch"},
                {"stats", "--watch", "never"}, {"check", "--uid", "0"},
                {"clients", "--sort", "size"}, {NULL}, {"ranges", "--client", "x"}};
        struct scene scene;
        scene_open(&scene);
        for (size_t each = 0; each < sizeof wrong / sizeof *wrong; each++) {
                const char *const *words = wrong[each];
                const char *line = ctl_refused(&scene, 2, words[0], words[1], words[2], NULL);
                cr_expect(strchr(line, ';') || strstr(line, ": give"), "no mend: %s", line);
        }
}

Test(usage, a_pool_name_over_the_limit_is_refused_with_the_figures) {
        struct scene scene;
        char name[301];
        memset(name, 'p', 300);
        name[300] = '\0';
        scene_open(&scene);
        scene.bare = true;
        static const char *const commands[][2] = {{"stats"}, {"bench"}, {"check", "--offline"}};
        for (size_t each = 0; each < sizeof commands / sizeof *commands; each++) {
                const char *line = ctl_refused(
                        &scene, 2, "--pool", name, commands[each][0], commands[each][1], NULL);
                cr_assert_not_null(
                        strstr(line, "--pool: the name has 300 characters and 48 is the limit;"),
                        "%s", line);
        }
}

/* Both programs: what was asked for is right, but could not be done. */
Test(usage, output_that_cannot_be_written_is_status_1) {
        struct scene scene;
        scene_open(&scene);
        const char *const programs[] = {program_buddyd(), program_buddyctl()};
        static const char *const asked[] = {"--help", "--version"};
        for (unsigned each = 0; each < 4; each++) {
                const char *arguments[] = {"/bin/sh", "-c", "exec \"$@\" >/dev/full", "sh",
                        programs[each / 2], asked[each % 2], NULL};
                const struct run *run = program_run(&scene, arguments);
                cr_assert_eq(run->status, 1, "%s %s: %d", arguments[4], arguments[5], run->status);
                expect_one_line(run->err, "output that cannot be written");
                cr_assert_not_null(strstr(run->err, "; give it somewhere to go"), "%s", run->err);
        }
}

/* What a full /dev/shm is told to do must be able to help. */
Test(usage, a_pool_that_does_not_fit_is_refused_with_its_parts) {
        struct scene scene;
        scene_open(&scene);
        if (!stage_private(20 * MIB))
                cr_skip_test("needs mount namespaces");
        const char *line = scene_refused(&scene, 1, "--size", "14M", NULL);
        cr_assert_not_null(strstr(line, "14 MiB of pages and 8.5 MiB of ledger"), "%s", line);
        cr_assert_not_null(strstr(line, "smaller --size"), "%s", line);
        cr_assert_not_null(strstr(line, "--commit lazy"), "%s", line);
        scene_start(&scene, "--size", "14M", "--commit", "lazy", NULL);
        scene_close(&scene);
}

Test(usage, a_shm_without_room_for_a_ledger_is_told_so) {
        struct scene scene;
        scene_open(&scene);
        if (!stage_private(4 * MIB))
                cr_skip_test("needs mount namespaces");
        const char *line = scene_refused(&scene, 1, "--size", "1M", "--commit", "lazy", NULL);
        cr_assert_not_null(strstr(line, "make /dev/shm larger"), "%s", line);
        cr_assert_null(strstr(line, "smaller --size"), "%s", line);
        cr_assert_null(strstr(line, "or use --commit lazy"), "%s", line);
        cr_assert_eq(scene_shm_count(&scene), 0);
}

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

#include "daemon/settings.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "captured.h"
#include "scratch.h"

static void load(struct settings *out, int argc, const char *const *arguments) {
        char *argv[32] = {"buddyd"};
        for (int i = 0; i < argc; i++)
                argv[i + 1] = (char *)arguments[i];
        captured_begin(2);
        enum settings_outcome outcome = settings_load(argc + 1, argv, out);
        const char *text = captured_end();
        cr_assert_eq(outcome, SETTINGS_RUN, "%s", text);
        cr_assert_str_eq(text, "");
}

#define LOAD(out, ...)                                                                             \
        load(out, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)),              \
                (const char *const[]){__VA_ARGS__})

Test(settings, defaults) {
        unsetenv("BUDDYD_SOCKET");
        setenv("XDG_RUNTIME_DIR", "/run/user/4711", 1);
        struct settings settings;
        load(&settings, 0, NULL);
        cr_expect_eq(settings.pool_count, 1);
        const struct pool_settings *pool = &settings.pools[0];
        cr_expect_str_eq(pool->name, "default");
        cr_expect_eq(pool->size_bytes, UINT64_C(1) << 30);
        cr_expect_eq(pool->max_size_bytes, UINT64_C(1) << 30);
        cr_expect_eq(pool->page_bytes, 4096);
        cr_expect_eq(pool->backing, BACKING_POSIX_SHM);
        cr_expect_eq(pool->commit, COMMIT_EAGER);
        cr_expect_not(pool->keep);
        cr_expect_not(settings.reset);
        cr_expect_eq(settings.socket_mode, 0600);
        cr_expect_not(settings.socket_group_set);
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        cr_expect_eq(settings.workers, (unsigned)(cpus < 4 ? cpus : 4));
        cr_expect(settings.socket_path_default);
        cr_expect_str_eq(settings.socket_path,
                geteuid() == 0 ? "/run/buddyd/buddyd.sock" : "/run/user/4711/buddyd/buddyd.sock");
        settings_deinit(&settings);
}

Test(settings, socket_option_wins_over_environment_over_default) {
        setenv("BUDDYD_SOCKET", "/tmp/from-environment", 1);
        struct settings settings;
        load(&settings, 0, NULL);
        cr_expect_str_eq(settings.socket_path, "/tmp/from-environment");
        cr_expect_not(settings.socket_path_default);
        settings_deinit(&settings);
        LOAD(&settings, "--socket", "/tmp/from-option");
        cr_expect_str_eq(settings.socket_path, "/tmp/from-option");
        cr_expect_not(settings.socket_path_default);
        settings_deinit(&settings);
}

Test(settings, options_fill_the_named_pool) {
        struct settings settings;
        LOAD(&settings, "--socket", "/tmp/s", "--size", "8M", "--pool", "p.1_-", "--max-size=16M",
                "--page-size", "64K", "--backing", "memfd", "--commit", "lazy", "--workers", "3",
                "--socket-mode", "660", "--socket-group", "7", "--keep");
        cr_expect_eq(settings.pool_count, 1);
        const struct pool_settings *pool = &settings.pools[0];
        cr_expect_str_eq(pool->name, "p.1_-");
        cr_expect_eq(pool->size_bytes, UINT64_C(8) << 20);
        cr_expect_eq(pool->max_size_bytes, UINT64_C(16) << 20);
        cr_expect_eq(pool->page_bytes, 65536);
        cr_expect_eq(pool->backing, BACKING_MEMFD);
        cr_expect_eq(pool->commit, COMMIT_LAZY);
        cr_expect(pool->keep);
        cr_expect_eq(settings.workers, 3);
        cr_expect_eq(settings.socket_mode, 0660);
        cr_expect(settings.socket_group_set);
        cr_expect_eq(settings.socket_group, 7);
        settings_deinit(&settings);
}

Test(settings, largest_pools_pass) {
        struct settings settings;
        LOAD(&settings, "--socket", "/tmp/s", "--size", "17592186036224"); /* 2^32 - 2 pages */
        settings_deinit(&settings);
        LOAD(&settings, "--socket", "/tmp/s", "--size", "1G", "--page-size", "1G");
        settings_deinit(&settings);
        LOAD(&settings, "--socket", "/tmp/s", "--size", "4K");
        settings_deinit(&settings);
}

static const char two_pools[] = "[buddyd]\n"
                                "socket = /tmp/from-file\n"
                                "workers = 2\n"
                                "socket-mode = 0640\n"
                                "keep = yes\n"
                                "[pool a]\n"
                                "size = 2M\n"
                                "keep = no\n"
                                "[pool b]\n";

Test(settings, file_fills_in_and_its_pools_are_the_only_ones, .init = (void (*)(void))scratch_make,
        .fini = scratch_remove) {
        const char *path = scratch_write("c", two_pools);
        setenv("BUDDYD_SOCKET", "/tmp/from-environment", 1);
        struct settings settings;
        LOAD(&settings, "--config", path);
        cr_expect_str_eq(settings.socket_path, "/tmp/from-file");
        cr_expect_eq(settings.workers, 2);
        cr_expect_eq(settings.socket_mode, 0640);
        cr_expect_eq(settings.pool_count, 2);
        cr_expect_str_eq(settings.pools[0].name, "a");
        cr_expect_eq(settings.pools[0].size_bytes, UINT64_C(2) << 20);
        cr_expect_not(settings.pools[0].keep);
        cr_expect_str_eq(settings.pools[1].name, "b");
        cr_expect_eq(settings.pools[1].size_bytes, UINT64_C(1) << 30);
        cr_expect(settings.pools[1].keep);
        settings_deinit(&settings);
}

Test(settings, command_line_wins_over_file, .init = (void (*)(void))scratch_make,
        .fini = scratch_remove) {
        const char *path = scratch_write("c", two_pools);
        struct settings settings;
        LOAD(&settings, "--config", path, "--socket", "/tmp/o", "--workers", "1", "--socket-mode",
                "0600", "--pool", "b", "--size", "8M", "--keep");
        cr_expect_str_eq(settings.socket_path, "/tmp/o");
        cr_expect_eq(settings.workers, 1);
        cr_expect_eq(settings.socket_mode, 0600);
        cr_expect_eq(settings.pool_count, 2);
        cr_expect_eq(settings.pools[1].size_bytes, UINT64_C(8) << 20);
        cr_expect(settings.pools[0].keep, "--keep is about all of them");
        settings_deinit(&settings);
}

Test(settings, a_pool_that_only_the_command_line_names_is_added,
        .init = (void (*)(void))scratch_make, .fini = scratch_remove) {
        const char *path = scratch_write("c", two_pools);
        struct settings settings;
        LOAD(&settings, "--config", path, "--size", "8M");
        cr_expect_eq(settings.pool_count, 3);
        cr_expect_str_eq(settings.pools[2].name, "default");
        cr_expect_eq(settings.pools[2].size_bytes, UINT64_C(8) << 20);
        settings_deinit(&settings);
}

Test(settings, a_file_without_pools_leaves_the_default_one, .init = (void (*)(void))scratch_make,
        .fini = scratch_remove) {
        const char *path = scratch_write("c", "[buddyd]\nsocket=/tmp/x\n");
        struct settings settings;
        LOAD(&settings, "--config", path);
        cr_expect_eq(settings.pool_count, 1);
        cr_expect_str_eq(settings.pools[0].name, "default");
        settings_deinit(&settings);
}

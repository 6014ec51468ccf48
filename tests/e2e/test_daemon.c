/* buddyd from outside: its options, its socket, what it refuses and how it ends. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"

TestSuite(daemon, .timeout = 60);

static int64_t stat_integer(const struct scene *scene, const char *key) {
        const struct json *value = json_member(ctl_json(scene, "stats", "--json", NULL), key);
        cr_assert(value && value->kind == JSON_INTEGER, "stats: no integer %s", key);
        return value->integer;
}

static const char *stat_text(const struct scene *scene, const char *key) {
        const struct json *value = json_member(ctl_json(scene, "stats", "--json", NULL), key);
        cr_assert(value && value->kind == JSON_STRING, "stats: no text %s", key);
        return value->text;
}

Test(daemon, prints_its_version) {
        const struct run *run =
                program_run(NULL, (const char *[]){program_buddyd(), "--version", NULL});
        cr_assert_eq(run->status, 0);
        expect_one_line(run->out, "--version");
        cr_assert_not_null(strstr(run->out, BUDDYD_VERSION), "%s", run->out);
        cr_assert_str_empty(run->err);
}

Test(daemon, help_names_every_option) {
        static const char *const options[] = {"--config", "--socket", "--pool", "--size",
                "--max-size", "--page-size", "--backing", "--commit", "--workers", "--socket-mode",
                "--socket-group", "--keep", "--reset", "--version", "--help"};
        const struct run *run =
                program_run(NULL, (const char *[]){program_buddyd(), "--help", NULL});
        cr_assert_eq(run->status, 0);
        cr_assert_str_empty(run->err);
        for (size_t each = 0; each < sizeof options / sizeof *options; each++)
                cr_expect_not_null(
                        strstr(run->out, options[each]), "--help hides %s", options[each]);
}

Test(daemon, usage_errors_are_one_line_and_status_2) {
        static const char *const wrong[][3] = {{"--nonsense"}, {"-Z"}, {"stray"}, {"--size"},
                {"--size", "0"}, {"--size", ""}, {"--size", "lots"}, {"--size", "64X"},
                {"--size", "64MM"}, {"--size", "-64M"}, {"--size", "99999999999T"},
                {"--size", "18446744073709551617"}, {"--size", "1.5.5G"}, {"--page-size", "3000"},
                {"--page-size", "12K"}, {"--page-size", "0"}, {"--page-size", "512"},
                {"--page-size", "page"}, {"--backing", "paper"}, {"--backing", ""},
                {"--commit", "never"}, {"--workers", "many"}, {"--workers", "-1"},
                {"--workers", "1000000000"}, {"--socket-mode", "0999"}, {"--socket-mode", "rw"},
                {"--socket-mode", "7777777"}, {"--socket-group", "no-such-group-here"},
                {"--max-size", "1M"}, {"--max-size", "huge"}};
        struct scene scene;
        scene_open(&scene);
        for (size_t each = 0; each < sizeof wrong / sizeof *wrong; each++) {
                cr_log_info("%s %s", wrong[each][0], wrong[each][1] ? wrong[each][1] : "");
                const char *line = scene_refused(&scene, 2, wrong[each][0], wrong[each][1], NULL);
                cr_expect_null(strstr(line, "(null)"), "%s", line);
        }
        cr_assert_eq(scene_shm_count(&scene), 0);
}

Test(daemon, refuses_names_no_pool_can_have) {
        static const char *const names[] = {"", "a/b", "../x", "two words", "new\nline",
                "1234567890123456789012345678901234567890123456789"};
        struct scene scene;
        scene_open(&scene);
        for (size_t each = 0; each < sizeof names / sizeof *names; each++) {
                cr_log_info("pool \"%s\"", names[each]);
                scene_refused(&scene, 2, "--pool", names[each], "--size", "1M", NULL);
        }
}

Test(daemon, refuses_a_socket_path_that_no_address_holds) {
        char path[200];
        memset(path, 'x', sizeof path - 1);
        path[0] = '/';
        path[sizeof path - 1] = 0;
        struct scene scene;
        scene_open(&scene);
        scene.bare = true;
        scene_refused(&scene, 2, "--socket", path, "--pool", scene.pool, "--size", "1M", NULL);
}

Test(daemon, sizes_take_powers_of_two) {
        static const struct {
                const char *size, *page;
                int64_t size_bytes, page_bytes;
        } cases[] = {{"67108864", "4096", 64 << 20, 4096}, {"65536K", "4K", 64 << 20, 4096},
                {"64M", "16K", 64 << 20, 16384}, {"1G", "2M", 1 << 30, 2 << 20}};
        for (size_t each = 0; each < sizeof cases / sizeof *cases; each++) {
                struct scene scene;
                scene_open(&scene);
                scene_start(&scene, "--size", cases[each].size, "--page-size", cases[each].page,
                        "--commit", "lazy", NULL);
                cr_assert_eq(stat_integer(&scene, "size_bytes"), cases[each].size_bytes);
                cr_assert_eq(stat_integer(&scene, "page_bytes"), cases[each].page_bytes);
                scene_close(&scene);
        }
}

Test(daemon, a_tebibyte_that_is_not_committed_starts_at_once) {
        struct scene scene;
        scene_open(&scene);
        uint64_t begin = now_ms();
        scene_start(&scene, "--size", "1T", "--commit", "lazy", NULL);
        cr_assert_lt(now_ms() - begin, 2000);
        cr_assert_eq(stat_integer(&scene, "size_bytes"), 1ll << 40);
        cr_assert_lt(scene_daemon_resident(&scene), 64 * MIB);
        scene_close(&scene);
}

/* A mount namespace with a /dev/shm of its own keeps the default pool apart from everybody's. */
Test(daemon, defaults_are_the_documented_ones) {
        struct scene scene;
        scene_open(&scene);
        if (!stage_private(1200 * MIB))
                cr_skip_test("needs mount namespaces");
        scene.bare = true;
        scene_start(&scene, NULL);
        cr_assert(access("/run/buddyd/buddyd.sock", F_OK) == 0, "%s", scene_errors(&scene));
        const struct run *run = ctl(&scene, "stats", "--json", NULL);
        cr_assert_eq(run->status, 0, "%s", run->err);
        cr_assert_str_eq(stat_text(&scene, "pool"), "default");
        cr_assert_str_eq(stat_text(&scene, "backing"), "posix-shm");
        cr_assert_eq(stat_integer(&scene, "size_bytes"), 1ll << 30);
        cr_assert_eq(stat_integer(&scene, "page_bytes"), 4096);
        cr_assert_eq(stat_integer(&scene, "resident_bytes"), 1ll << 30, "eager by default");

        struct buddyclient *client = NULL;
        cr_assert_eq(buddyclient_new(&client), 0);
        unsetenv("BUDDYD_SOCKET");
        cr_assert_eq(buddyclient_connect(client), 0, "the library looks elsewhere");
        cr_assert_eq(buddyclient_size(client), 1ull << 30);
        buddyclient_destroy(client);
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        memcpy(scene.pool, "", 1);
        cr_assert_eq(scene_shm_count(&scene), 2, "more than . and .. left in /dev/shm");
}

Test(daemon, socket_option_comes_before_the_environment) {
        struct scene scene;
        char other[128];
        scene_open(&scene);
        snprintf(other, sizeof other, "BUDDYD_SOCKET=%s/other", scene.folder);
        scene.environment[0] = other;
        scene_start(&scene, "--size", "1M", NULL);
        cr_assert(access(scene.socket, F_OK) == 0);
        cr_assert(access(other + strlen("BUDDYD_SOCKET="), F_OK) != 0);
        cr_assert_eq(ctl(&scene, "ping", NULL)->status, 0);
        scene_close(&scene);
}

Test(daemon, socket_comes_from_the_environment) {
        struct scene scene;
        char variable[128];
        scene_open(&scene);
        snprintf(variable, sizeof variable, "BUDDYD_SOCKET=%s", scene.socket);
        scene.environment[0] = variable;
        scene.bare = true;
        scene_start(&scene, "--pool", scene.pool, "--size", "1M", NULL);
        cr_assert(access(scene.socket, F_OK) == 0);
        cr_assert_eq(ctl(&scene, "--pool", scene.pool, "ping", NULL)->status, 0);

        setenv("BUDDYD_SOCKET", scene.socket, 1);
        struct buddyclient *client = NULL;
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_pool(client, scene.pool), 0);
        cr_assert_eq(buddyclient_connect(client), 0);
        buddyclient_destroy(client);
        scene.bare = false;
        scene_close(&scene);
}

Test(daemon, an_ordinary_user_has_it_in_the_runtime_folder) {
        struct scene scene;
        char variable[128], folder[100];
        scene_open(&scene);
        snprintf(folder, sizeof folder, "%s/runtime", scene.folder);
        snprintf(variable, sizeof variable, "XDG_RUNTIME_DIR=%s", folder);
        cr_assert(mkdir(folder, 0700) == 0);
        if (geteuid() == 0) {
                scene.uid = 12345;
                cr_assert(chown(folder, scene.uid, scene.uid) == 0);
                const struct run *run =
                        program_run(&scene, (const char *[]){program_buddyd(), "--version", NULL});
                if (run->status == 127)
                        cr_skip_test("another user may not run the build");
        }
        scene.environment[0] = variable;
        scene.bare = true;
        scene_start(&scene, "--pool", scene.pool, "--size", "1M", NULL);
        int length =
                snprintf(scene.socket, sizeof scene.socket, "%.80s/buddyd/buddyd.sock", folder);
        cr_assert(length > 0 && (size_t)length < sizeof scene.socket);
        cr_assert(access(scene.socket, F_OK) == 0);
        const struct run *run = ctl(&scene, "--pool", scene.pool, "ping", NULL);
        cr_assert_eq(run->status, 0, "%s", run->err);
        scene.bare = false;
        scene_close(&scene);
}

Test(daemon, without_any_place_for_a_socket_it_says_so) {
        struct scene scene;
        scene_open(&scene);
        if (geteuid() != 0)
                cr_skip_test("needs a user without a runtime folder");
        scene.uid = 12345;
        scene.bare = true;
        if (program_run(&scene, (const char *[]){program_buddyd(), "--version", NULL})->status ==
                127)
                cr_skip_test("another user may not run the build");
        const struct run *run = program_run(&scene,
                (const char *[]){program_buddyd(), "--pool", scene.pool, "--size", "1M", NULL});
        cr_assert(run->status == 1 || run->status == 2, "%d", run->status);
        expect_one_line(run->err, "a daemon without a socket");
        cr_assert_not_null(strstr(run->err, "--socket"), "names no mend: %s", run->err);
}

Test(daemon, socket_mode_and_group_are_set) {
        struct scene scene;
        struct stat info;
        scene_open(&scene);
        bool root = geteuid() == 0;
        scene_start(&scene, "--size", "1M", "--socket-mode", "0624", root ? "--socket-group" : NULL,
                "daemon", NULL);
        cr_assert(stat(scene.socket, &info) == 0);
        cr_assert_eq(info.st_mode & 07777, 0624, "mode is %o", info.st_mode & 07777);
        if (root)
                cr_assert_eq(info.st_gid, 1, "group is %u", info.st_gid);
        scene_close(&scene);
}

Test(daemon, socket_is_not_everybodys_by_default) {
        struct scene scene;
        struct stat info;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        cr_assert(stat(scene.socket, &info) == 0);
        cr_assert_eq(info.st_mode & 0006, 0, "mode is %o", info.st_mode & 07777);
        scene_close(&scene);
}

Test(daemon, segments_and_ledger_are_the_owners_alone) {
        struct scene scene;
        char path[300];
        struct stat info;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        cr_assert(scene_shm_find(&scene, MIB, path, sizeof path), "no segment in /dev/shm");
        cr_assert(stat(path, &info) == 0);
        cr_assert_eq(info.st_mode & 0777, 0600);
        cr_assert_geq((uint64_t)info.st_blocks * 512, MIB, "ready before it was committed");
        cr_assert_eq(scene_shm_count(&scene), 2, "a segment and a ledger");
        scene_close(&scene);
}

Test(daemon, lazy_commits_nothing_ahead) {
        struct scene scene;
        char path[300];
        struct stat info;
        scene_open(&scene);
        scene_start(&scene, "--size", "64M", "--commit", "lazy", NULL);
        cr_assert(scene_shm_find(&scene, 64 * MIB, path, sizeof path));
        cr_assert(stat(path, &info) == 0);
        cr_assert_lt((uint64_t)info.st_blocks * 512, 4 * MIB);
        cr_assert_lt(stat_integer(&scene, "resident_bytes"), 4ll << 20);

        struct buddyclient *client = client_new(&scene);
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, 8 * MIB, &range), 0);
        memset(buddyclient_pointer(client, &range), 1, range.length);
        int64_t resident = stat_integer(&scene, "resident_bytes");
        cr_assert(resident >= 8ll << 20 && resident < 12ll << 20, "%ld", (long)resident);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(daemon, memfd_leaves_no_segment_name) {
        struct scene scene;
        char path[300];
        scene_open(&scene);
        scene_start(&scene, "--size", "16M", "--backing", "memfd", NULL);
        cr_assert_not(scene_shm_find(&scene, 16 * MIB, path, sizeof path));
        cr_assert_str_eq(stat_text(&scene, "backing"), "memfd");
        cr_assert_eq(stat_integer(&scene, "resident_bytes"), 16ll << 20);
        struct buddyclient *client = client_new(&scene);
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, MIB, &range), 0);
        memset(buddyclient_pointer(client, &range), 7, range.length);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(daemon, any_number_of_workers_serves) {
        static const char *const counts[] = {"1", "2", "7"};
        for (size_t each = 0; each < 3; each++) {
                struct scene scene;
                struct buddyclient *clients[8];
                scene_open(&scene);
                scene_start(&scene, "--size", "1M", "--workers", counts[each], NULL);
                for (size_t which = 0; which < 8; which++)
                        clients[which] = client_new(&scene);
                expect_held(clients[7], 0);
                for (size_t which = 0; which < 8; which++) {
                        struct buddyclient_range range;
                        cr_assert_eq(buddyclient_alloc(clients[which], 1, &range), 0);
                }
                expect_held(clients[0], 8 * SCENE_PAGE);
                for (size_t which = 0; which < 8; which++)
                        buddyclient_destroy(clients[which]);
                scene_close(&scene);
        }
}

Test(daemon, sigint_ends_it_cleanly_too) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(scene_stop(&scene, SIGINT), 0);
        cr_assert_eq(scene_shm_count(&scene), 0);
        buddyclient_destroy(client);
}

Test(daemon, logs_nothing_but_lines) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        buddyclient_destroy(client);
        scene_close(&scene);
        const char *errors = scene_errors(&scene);
        for (const char *at = errors; *at; at++)
                cr_assert(isprint((unsigned char)*at) || *at == '\n' || (*at & 0x80), "%s", errors);
        cr_assert(!*errors || errors[strlen(errors) - 1] == '\n');
}

/* ---- What does not fit ---- */

/* Whether a text says "NUMBER MiB" with a number from least to twice that. */
static bool names_mib_from(const char *text, double least) {
        for (const char *unit = text; (unit = strstr(unit, " MiB")); unit++) {
                const char *number = unit;
                while (number > text && strchr("0123456789.", number[-1]))
                        number--;
                double value = strtod(number, NULL);
                if (value >= least && value < 2 * least)
                        return true;
        }
        return false;
}

Test(daemon, pool_that_does_not_fit_is_refused_with_figures) {
        struct scene scene;
        scene_open(&scene);
        if (!stage_private(16 * MIB))
                cr_skip_test("needs mount namespaces");
        const char *line = scene_refused(&scene, 1, "--size", "64M", NULL);
        cr_assert_not_null(strstr(line, "16 MiB"), "does not say how much there is: %s", line);
        cr_assert(names_mib_from(line, 64), "does not say how much it takes: %s", line);
        cr_assert_eq(scene_shm_count(&scene), 0, "a refused pool left something in /dev/shm");

        scene_start(&scene, "--size", "4M", NULL);
        struct buddyclient *client = client_new(&scene);
        memset(buddyclient_base(client), 1, 4 * MIB);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(daemon, a_full_shm_is_refused_and_the_running_pool_lives) {
        struct scene scene, second;
        scene_open(&scene);
        scene_open(&second);
        if (!stage_private(100 * MIB))
                cr_skip_test("needs mount namespaces");
        scene_start(&scene, "--size", "64M", NULL);
        scene_refused(&second, 1, "--size", "64M", NULL);
        cr_assert_eq(scene_shm_count(&second), 0);
        struct buddyclient *client = client_new(&scene);
        memset(buddyclient_base(client), 1, 64 * MIB);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* ---- Who is there already ---- */

Test(daemon, second_on_the_same_socket_is_refused) {
        struct scene scene, second;
        scene_open(&scene);
        scene_open(&second);
        scene_start(&scene, "--size", "1M", NULL);
        memcpy(second.socket, scene.socket, sizeof second.socket);
        scene_refused(&second, 1, "--size", "1M", NULL);
        cr_assert_eq(scene_shm_count(&second), 0);
        scene_close(&scene);
}

Test(daemon, second_on_the_same_pool_is_refused) {
        struct scene scene, second;
        scene_open(&scene);
        scene_open(&second);
        scene_start(&scene, "--size", "1M", NULL);
        memcpy(second.pool, scene.pool, sizeof second.pool);
        struct buddyclient *client = client_new(&scene);
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        scene_refused(&second, 1, "--size", "1M", NULL);
        scene_refused(&second, 1, "--size", "1M", "--reset", NULL);
        cr_assert(access(second.socket, F_OK) != 0, "a refused daemon left its socket");
        expect_held(client, SCENE_PAGE);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(daemon, stale_socket_file_is_replaced) {
        struct scene scene;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        scene_open(&scene);
        memcpy(address.sun_path, scene.socket, sizeof scene.socket);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
        close(fd);
        scene_start(&scene, "--size", "1M", NULL);
        cr_assert_eq(ctl(&scene, "ping", NULL)->status, 0);
        scene_close(&scene);
}

Test(daemon, a_file_that_is_no_socket_is_not_replaced) {
        struct scene scene;
        scene_open(&scene);
        FILE *file = fopen(scene.socket, "w");
        fputs("somebody's letters", file);
        fclose(file);
        scene_refused(&scene, 1, "--size", "1M", NULL);
        struct stat info;
        cr_assert(stat(scene.socket, &info) == 0 && info.st_size == 18, "the file was replaced");
        cr_assert_eq(scene_shm_count(&scene), 0);
}

Test(daemon, a_folder_that_is_not_there_is_named) {
        struct scene scene;
        scene_open(&scene);
        snprintf(scene.socket, sizeof scene.socket, "%s/no/such/folder/sock", scene.folder);
        const char *line = scene_refused(&scene, 1, "--size", "1M", NULL);
        cr_assert_not_null(strstr(line, "/no/such/folder"), "%s", line);
        cr_assert_eq(scene_shm_count(&scene), 0);
}

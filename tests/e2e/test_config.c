/* The configuration file: several pools on one socket, and lines that are wrong. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

TestSuite(config, .timeout = 60);

static const char *config_write(const struct scene *scene, const char *text) {
        static char path[128];
        snprintf(path, sizeof path, "%s/buddyd.conf", scene->folder);
        FILE *file = fopen(path, "w");
        cr_assert_not_null(file);
        fputs(text, file);
        fclose(file);
        return path;
}

Test(config, one_daemon_serves_many_pools) {
        struct scene scene, second;
        char text[1024];
        scene_open(&scene);
        second = scene;
        memcpy(second.pool + strlen(second.pool), "-b", 3);
        snprintf(text, sizeof text,
                "# two pools\n[pool %s]\nsize = 4M\n\n; and\n[pool %s]\nsize = 8M\npage-size = "
                "16K\n"
                "commit = lazy\n",
                scene.pool, second.pool);
        scene.bare = true;
        scene_start(&scene, "--socket", scene.socket, "--config", config_write(&scene, text), NULL);
        scene.bare = false;
        struct buddyclient *one = client_new(&scene), *other = client_new(&second);
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_size(one), 4 * MIB);
        cr_assert_eq(buddyclient_page_size(one), 4096);
        cr_assert_eq(buddyclient_size(other), 8 * MIB);
        cr_assert_eq(buddyclient_page_size(other), 16384);
        cr_assert_eq(buddyclient_alloc(one, 4 * MIB, &range), 0);
        expect_held(other, 0);
        cr_assert_lt(buddyclient_release(other, &range), 0, "another pool's range was taken back");
        expect_held(one, 4 * MIB);
        expect_sound(&scene);
        expect_sound(&second);
        buddyclient_destroy(one);
        buddyclient_destroy(other);
        scene_close(&scene);
        cr_assert_eq(scene_shm_count(&second), 0);
}

Test(config, the_daemons_own_section_and_the_command_line) {
        struct scene scene;
        char text[512];
        struct stat info;
        scene_open(&scene);
        snprintf(text, sizeof text,
                "[buddyd]\nsocket = %s\nworkers = 2\nsocket-mode = 0640\n[pool %s]\nsize = 2M\n",
                scene.socket, scene.pool);
        scene.bare = true;
        scene_start(&scene, "--config", config_write(&scene, text), NULL);
        cr_assert(stat(scene.socket, &info) == 0, "%s", scene_errors(&scene));
        cr_assert_eq(info.st_mode & 07777, 0640);
        scene.bare = false;
        scene_close(&scene);

        scene_open(&scene);
        scene.bare = true;
        scene_start(&scene, "--config", config_write(&scene, text), "--socket", scene.socket,
                "--socket-mode", "0600", NULL);
        cr_assert(stat(scene.socket, &info) == 0, "the command line does not win");
        cr_assert_eq(info.st_mode & 07777, 0600);
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
}

Test(config, wrong_lines_are_named_and_nothing_starts) {
        static const struct {
                const char *text;
                unsigned line;
        } cases[] = {{"workers = 2\n[pool a]\nsize = 1M\n", 1}, {"[strange]\nsize = 1M\n", 1},
                {"[pool a]\nsize = 1M\ncolour = blue\n", 3}, {"\n\n[pool]\nsize = 1M\n", 3},
                {"[pool a/b]\nsize = 1M\n", 1}, {"[pool a\nsize = 1M\n", 1},
                {"[pool a]\nsize\n", 2}, {"[pool a]\nsize =\n", 2}, {"[pool a]\nsize = 12Q\n", 2},
                {"[pool a]\nsize = 0\n", 0}, {"[pool a]\nsize = 1M\npage-size = 3000\n", 0},
                {"[pool a]\nbacking = paper\n", 2}, {"[pool a]\ncommit = never\n", 2},
                {"[pool a]\nsize = 1M\n[pool a]\nsize = 1M\n", 3},
                {"[pool a]\nsize = 1M\ncommit = lazy\nsize = 2M\n", 4},
                {"[buddyd]\nworkers = 1\nworkers = 1\n", 3}, {"[buddyd]\nworkers = many\n", 2},
                {"[buddyd]\nsocket-mode = 0999\n", 2}, {"[pool a]\nsize = 8M\nmax-size = 1M\n", 0},
                {"nonsense\n", 1}, {"\x01\x02\xff\n", 1}};
        struct scene scene;
        scene_open(&scene);
        scene.bare = true;
        for (size_t each = 0; each < sizeof cases / sizeof *cases; each++) {
                char place[160];
                const char *path = config_write(&scene, cases[each].text);
                cr_log_info("%s", cases[each].text);
                const char *line =
                        scene_refused(&scene, 2, "--socket", scene.socket, "--config", path, NULL);
                snprintf(place, sizeof place, "%s:%u:", path, cases[each].line);
                if (cases[each].line)
                        cr_expect_not_null(
                                strstr(line, place), "not line %u: %s", cases[each].line, line);
                cr_expect_not_null(strstr(line, path), "%s", line);
        }
        cr_assert(access(scene.socket, F_OK) != 0);
}

Test(config, a_file_that_cannot_be_read_is_refused) {
        struct scene scene;
        char missing[128];
        scene_open(&scene);
        snprintf(missing, sizeof missing, "%s/missing.conf", scene.folder);
        const char *line = scene_refused(&scene, 2, "--config", missing, NULL);
        cr_assert_not_null(strstr(line, missing), "%s", line);
        line = scene_refused(&scene, 2, "--config", scene.folder, NULL);
        char folder[160];
        snprintf(folder, sizeof folder, "%s: Is a directory;", scene.folder);
        cr_assert_not_null(strstr(line, folder), "%s", line);
        line = scene_refused(&scene, 2, "--config", "", NULL);
        cr_assert_not_null(strstr(line, "--config: "), "%s", line);
        cr_assert_eq(scene_shm_count(&scene), 0);
}

/* One pool of several cannot be had: none is started, none is left behind. */
Test(config, one_bad_pool_refuses_all) {
        struct scene scene, running;
        char text[512];
        scene_open(&scene);
        scene_open(&running);
        scene_start(&running, "--size", "1M", NULL);
        snprintf(text, sizeof text, "[pool %s]\nsize = 1M\n[pool %s]\nsize = 1M\n", scene.pool,
                running.pool);
        scene.bare = true;
        scene_refused(
                &scene, 1, "--socket", scene.socket, "--config", config_write(&scene, text), NULL);
        cr_assert_eq(scene_shm_count(&scene), 0, "the good pool of a refused start is left behind");
        cr_assert(access(scene.socket, F_OK) != 0);
        scene_close(&running);
}

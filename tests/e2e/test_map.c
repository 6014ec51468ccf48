/* buddyctl map on real pools: cells agree with the statistics, whose they are, every option and every misuse, and pictures that are
 * there whole or not at all. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

TestSuite(map, .timeout = 60);

struct stage {
        struct scene scene;
        struct buddyclient *one, *two;
        struct buddyclient_range large, small;
};

/* 16 MiB of which one client holds the first 4 MiB, and another a page behind them. */
static void stage_open(struct stage *stage) {
        scene_open(&stage->scene);
        scene_start(&stage->scene, "--size", "16M", NULL);
        stage->one = client_new(&stage->scene);
        stage->two = client_new(&stage->scene);
        cr_assert_eq(buddyclient_alloc(stage->one, 4 * MIB, &stage->large), 0);
        cr_assert_eq(buddyclient_alloc(stage->two, SCENE_PAGE, &stage->small), 0);
        cr_assert_eq(stage->large.offset, 0);
        cr_assert_eq(stage->small.offset, 4 * MIB);
}

static void stage_close(struct stage *stage) {
        buddyclient_destroy(stage->one);
        buddyclient_destroy(stage->two);
        scene_close(&stage->scene);
}

static int64_t member(const struct json *object, const char *name) {
        const struct json *found = json_member(object, name);
        cr_assert_not_null(found, "no %s", name);
        cr_assert_eq(found->kind, JSON_INTEGER, "%s", name);
        return found->integer;
}

struct sums {
        int64_t held, cached, free, length, cells;
};

static struct sums sums_of(const struct json *map) {
        struct sums sums = {0};
        const struct json *cells = json_member(map, "cells");
        for (const struct json *cell = cells->first; cell; cell = cell->next) {
                cr_assert_eq(member(cell, "offset"), sums.length, "cells lie one behind the other");
                cr_assert_eq(member(cell, "held_bytes") + member(cell, "cached_bytes") +
                                     member(cell, "free_bytes"),
                        member(cell, "length"));
                sums.held += member(cell, "held_bytes");
                sums.cached += member(cell, "cached_bytes");
                sums.free += member(cell, "free_bytes");
                sums.length += member(cell, "length");
                sums.cells++;
        }
        return sums;
}

static void expect_as_statistics(const struct scene *scene) {
        const struct json *stats = ctl_json(scene, "stats", "--json", NULL);
        int64_t held = member(stats, "held_bytes"), cached = member(stats, "cached_bytes");
        int64_t free_bytes = member(stats, "free_bytes"), size = member(stats, "size_bytes");
        for (int by_client = 0; by_client < 2; by_client++) {
                struct sums sums = sums_of(ctl_json(
                        scene, "map", "--json", "--by", by_client ? "client" : "share", NULL));
                cr_expect_eq(sums.held, held, "held %ld of %ld", sums.held, held);
                cr_expect_eq(sums.cached, cached, "cached %ld of %ld", sums.cached, cached);
                cr_expect_eq(sums.free, free_bytes);
                cr_expect_eq(sums.length, size);
        }
}

Test(map, cells_add_up_to_the_statistics) {
        struct stage stage;
        stage_open(&stage);
        expect_as_statistics(&stage.scene);
        const struct json *map = ctl_json(&stage.scene, "map", "--json", NULL);
        cr_expect_str_eq(json_member(map, "pool")->text, stage.scene.pool);
        cr_expect_eq(member(map, "cell_bytes"), 16384);
        cr_expect_eq(sums_of(map).cells, 1024);
        stage_close(&stage);
}

/* Of every order, in a pool of odd size, shared, published and held by hand. */
Test(map, cells_add_up_whatever_is_held) {
        struct scene scene;
        struct buddyclient_range ranges[64];
        scene_open(&scene);
        scene_start(&scene, "--size", "13284K", NULL);
        struct buddyclient *client = client_new(&scene), *peer = client_new(&scene);
        for (unsigned i = 0; i < 64; i++)
                cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE << i % 6, &ranges[i]), 0);
        for (unsigned i = 0; i < 64; i += 3)
                cr_assert_eq(buddyclient_release(client, &ranges[i]), 0);
        cr_assert_eq(buddyclient_attach(peer, &ranges[1]), 0);
        cr_assert_eq(buddyclient_publish(client, "key", &ranges[2]), 0);
        cr_assert_eq(buddyclient_release(client, &ranges[2]), 0);
        cr_assert_eq(buddyclient_release(client, &ranges[1]), 0);
        cr_assert_eq(ctl(&scene, "alloc", "100K", NULL)->status, 0);
        expect_as_statistics(&scene);
        const char *text = ctl(&scene, "map", "--by", "client", NULL)->out;
        cr_expect_not_null(strstr(text, "@ operator 128 KiB"), "%s", text);
        cr_expect_not_null(strstr(text, "= keys 16 KiB"), "%s", text);
        buddyclient_destroy(client);
        buddyclient_destroy(peer);
        scene_close(&scene);
}

Test(map, what_is_cached_is_told_apart) {
        struct scene scene;
        struct buddyclient_range ranges[32];
        scene_open(&scene);
        scene_start(&scene, "--size", "16M", NULL);
        struct buddyclient *client = client_caching(&scene);
        for (unsigned round = 0; round < 8; round++) {
                for (unsigned i = 0; i < 32; i++)
                        cr_assert_eq(buddyclient_alloc(client, 65536, &ranges[i]), 0);
                for (unsigned i = 0; i < 32; i++)
                        cr_assert_eq(buddyclient_release(client, &ranges[i]), 0);
        }
        cr_assert_gt(scene_figure(&scene, "cached_bytes"), 0);
        expect_as_statistics(&scene);
        const char *text = ctl(&scene, "map", "--width", "80", NULL)->out;
        cr_expect_not_null(strchr(strchr(text, '\n'), 'c'), "%s", text);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(map, cells_say_whose_they_are) {
        struct stage stage;
        stage_open(&stage);
        const struct json *map = ctl_json(&stage.scene, "map", "--json", "--by", "client", NULL);
        const struct json *cell = json_member(map, "cells")->first;
        const struct json *holders = json_member(cell, "holders");
        cr_assert_eq(holders->count, 1);
        cr_expect_eq(member(holders->first, "id"), buddyclient_id(stage.one));
        cr_expect_eq(member(holders->first, "bytes"), 16384);
        for (unsigned i = 0; i < 4 * MIB / 16384; i++)
                cell = cell->next;
        holders = json_member(cell, "holders");
        cr_assert_eq(holders->count, 1);
        cr_expect_eq(member(holders->first, "id"), buddyclient_id(stage.two));
        cr_expect_eq(member(holders->first, "bytes"), SCENE_PAGE);
        cr_expect_eq(json_member(cell->next, "holders")->count, 0);
        stage_close(&stage);
}

Test(map, text_is_as_wide_as_asked_for) {
        struct stage stage;
        stage_open(&stage);
        stage.scene.environment[0] = "LC_ALL=C";
        const char *text = ctl(&stage.scene, "map", "--width", "80", NULL)->out;
        static const char first[] =
                "       0 B ################################################################\n";
        cr_expect_not_null(strstr(text, first), "%s", text);
        cr_expect_not_null(strstr(text, "\n     4 MiB -......."), "%s", text);
        cr_expect_not_null(strstr(text, "held 4.0 MiB"), "%s", text);
        static const char *const widths[] = {"10", "20", "33", "79", "300", "1000"};
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
                text = ctl(&stage.scene, "map", "--width", widths[i], NULL)->out;
                for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
                        cr_expect_leq(strcspn(line, "\n"), (size_t)atoi(widths[i]), "%s", text);
        }
        text = ctl(&stage.scene, "map", "-b", NULL)->out;
        cr_expect_not_null(strstr(text, "held 4198400"), "%s", text);
        cr_expect_null(strchr(text, '\033'), "no colour but on a terminal");
        stage_close(&stage);
}

/* ---- Pictures ---- */

static char *file_text(const char *path) {
        static char text[4 << 20];
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
        if (fd >= 0)
                close(fd);
        text[got > 0 ? got : 0] = '\0';
        return got >= 0 ? text : NULL;
}

static unsigned files_in(const char *folder) {
        char command[200];
        snprintf(command, sizeof command, "ls -A %s | wc -l", folder);
        FILE *pipe = popen(command, "r");
        unsigned count = 0;
        cr_assert_eq(fscanf(pipe, "%u", &count), 1);
        pclose(pipe);
        return count;
}

Test(map, svg_replaces_its_file_as_a_whole) {
        struct stage stage;
        char path[200], link_path[200];
        stage_open(&stage);
        snprintf(path, sizeof path, "%s/map.svg", stage.scene.folder);
        snprintf(link_path, sizeof link_path, "%s/link.svg", stage.scene.folder);
        const struct run *run = ctl(&stage.scene, "map", "--svg", path, NULL);
        cr_assert_eq(run->status, 0, "%s", run->err);
        cr_assert_str_empty(run->out);
        char *text = file_text(path);
        cr_assert_eq(strncmp(text, "<?xml", 5), 0);
        cr_expect_str_eq(text + strlen(text) - 7, "</svg>\n");
        cr_expect_not_null(strstr(text, "held 4 MiB, cached 0 B, free 0 B") ||
                                           strstr(text, "held 512 KiB, cached 0 B, free 0 B")
                                   ? text
                                   : NULL,
                "%s", text);
        cr_assert_eq(symlink(path, link_path), 0);
        unsigned before = files_in(stage.scene.folder);
        cr_assert_eq(
                ctl(&stage.scene, "map", "--by", "client", "--svg", link_path, NULL)->status, 0);
        cr_expect_eq(files_in(stage.scene.folder), before, "nothing is left beside it");
        struct stat status;
        cr_assert_eq(lstat(link_path, &status), 0);
        cr_expect(S_ISLNK(status.st_mode), "the link stays");
        cr_expect_not_null(strstr(file_text(path), "holder "));
        run = ctl(&stage.scene, "map", "--svg", "-", "--width", "16", NULL);
        cr_expect_eq(strncmp(run->out, "<?xml", 5), 0);
        cr_expect_eq(ctl(&stage.scene, "map", "--svg", "/dev/null", NULL)->status, 0);
        cr_assert_eq(stat("/dev/null", &status), 0);
        cr_expect(S_ISCHR(status.st_mode), "a device is not replaced");
        stage_close(&stage);
}

/* However long a name is, the legend has the id and the amount, and the next entry its room. */
Test(map, svg_cuts_long_names_in_the_legend_only) {
        struct stage stage;
        struct buddyclient *client = NULL;
        struct buddyclient_range range;
        static const char name[] = "a-name-that-is-longer-than-its-column";
        char legend[80];
        stage_open(&stage);
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, stage.scene.socket), 0);
        cr_assert_eq(buddyclient_set_pool(client, stage.scene.pool), 0);
        cr_assert_eq(buddyclient_set_name(client, name), 0);
        cr_assert_eq(buddyclient_connect(client), 0);
        cr_assert_eq(buddyclient_alloc(client, MIB, &range), 0);
        const struct run *run = ctl(&stage.scene, "map", "--by", "client", "--svg", "-", NULL);
        snprintf(legend, sizeof legend, "…#%u 1 MiB</text>", buddyclient_id(client));
        cr_expect(strstr(run->out, legend), "%s", run->out);
        cr_expect(strstr(run->out, name), "the text under the pointer has all of it");
        buddyclient_destroy(client);
        stage_close(&stage);
}

Test(map, svg_that_cannot_be_written_is_refused_and_leaves_what_was_there) {
        struct stage stage;
        char path[200];
        stage_open(&stage);
        const char *line = ctl_refused(&stage.scene, 1, "map", "--svg", "/nowhere/map.svg", NULL);
        cr_expect_not_null(strstr(line, "/nowhere/map.svg: No such file"), "%s", line);
        ctl_refused(&stage.scene, 1, "map", "--svg", stage.scene.folder, NULL);
        ctl_refused(&stage.scene, 1, "map", "--svg", "/dev/full", NULL);
        snprintf(path, sizeof path, "%s/kept.svg", stage.scene.folder);
        cr_assert_eq(ctl(&stage.scene, "map", "--svg", path, NULL)->status, 0);
        scene_kill(&stage.scene);
        ctl_refused(&stage.scene, 3, "map", "--svg", path, NULL);
        cr_expect_not_null(strstr(file_text(path), "</svg>"));
        scene_start(&stage.scene, "--size", "16M", NULL);
        stage_close(&stage);
}

Test(map, xmllint_accepts_the_picture) {
        struct stage stage;
        char path[200];
        if (access("/usr/bin/xmllint", X_OK) != 0)
                cr_skip_test("needs xmllint");
        stage_open(&stage);
        struct buddyclient *odd = NULL;
        cr_assert_eq(buddyclient_new(&odd), 0);
        cr_assert_eq(buddyclient_set_socket(odd, stage.scene.socket), 0);
        cr_assert_eq(buddyclient_set_pool(odd, stage.scene.pool), 0);
        cr_assert_eq(buddyclient_set_name(odd, "<&>\"' ]]> \xef\xbf\xbe s\xc3\xa4ge"), 0);
        cr_assert_eq(buddyclient_connect(odd), 0);
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(odd, MIB, &range), 0);
        snprintf(path, sizeof path, "%s/map.svg", stage.scene.folder);
        static const char *const by[] = {"share", "client"};
        for (size_t i = 0; i < 2; i++) {
                cr_assert_eq(
                        ctl(&stage.scene, "map", "--by", by[i], "--svg", path, NULL)->status, 0);
                const char *arguments[] = {"/usr/bin/xmllint", "--noout", path, NULL};
                const struct run *run = program_run(&stage.scene, arguments);
                cr_expect_eq(run->status, 0, "%s", run->err);
        }
        buddyclient_destroy(odd);
        stage_close(&stage);
}

/* ---- Misuse ---- */

Test(map, misuse_is_one_line_and_status_2) {
        static const char *const wrong[][6] = {{"map", "--by", "size"}, {"map", "--width", "9"},
                {"map", "--width", "1001"}, {"map", "--width", "wide"}, {"map", "--svg"},
                {"map", "--svg="}, {"map", "--json", "--width", "80"},
                {"map", "--json", "--svg", "x.svg"}, {"map", "--json", "-b"}, {"map", "extra"},
                {"map", "-o", "held"}, {"map", "--watch", "1"}, {"stats", "-o", "nothing"},
                {"stats", "-o", "held,"}, {"stats", "-o", ""}, {"stats", "-o"},
                {"stats", "--json", "-o", "held"}, {"stats", "--json", "-b"}, {"stats", "-bx"},
                {"orders", "-o", "held,x"}, {"clients", "-o", "x"}, {"clients", "--json", "-b"},
                {"ranges", "-o", "x"}, {"ranges", "--json", "-o", "age"}, {"ping", "-b"},
                {"stats", "-z"}};
        struct scene scene;
        scene_open(&scene);
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                const char *const *words = wrong[i];
                const char *line =
                        ctl_refused(&scene, 2, words[0], words[1], words[2], words[3], NULL);
                cr_expect(strchr(line, ';') || strstr(line, ": give"), "no mend: %s", line);
        }
        ctl_refused(&scene, 3, "map", NULL);
        ctl_refused(&scene, 3, "map", "--json", NULL);
}

/* ---- Columns and bytes of the other tables ---- */

Test(map, tables_have_columns_and_bytes) {
        struct stage stage;
        char wanted[200];
        stage_open(&stage);
        const char *text = ctl(&stage.scene, "clients", "-o", "held,id", "--bytes", NULL)->out;
        snprintf(wanted, sizeof wanted, "4194304 %2u\n", buddyclient_id(stage.one));
        cr_expect_not_null(strstr(text, wanted), "no %s in %s", wanted, text);
        text = ctl(&stage.scene, "orders", "-oblock,held", "-b", NULL)->out;
        cr_expect_not_null(strstr(text, " 4194304    1\n"), "%s", text);
        text = ctl(&stage.scene, "ranges", "-b", "-o", "length,offset", NULL)->out;
        cr_expect_str_eq(text,
                "      LENGTH           OFFSET\n"
                "     4194304                0\n"
                "        4096          4194304\n",
                "%s", text);
        text = ctl(&stage.scene, "stats", "-o", "held,clients", "-b", NULL)->out;
        cr_expect_str_eq(text, "      HELD     CLIENTS\n   4198400           2\n", "%s", text);
        text = ctl(&stage.scene, "stats", "-b", NULL)->out;
        cr_expect_not_null(strstr(text, "4198400"), "%s", text);
        stage_close(&stage);
}

Test(map, stats_say_for_how_long_the_oldest_waits) {
        struct stage stage;
        stage_open(&stage);
        pid_t waiter = process_fork();
        if (waiter == 0) {
                struct buddyclient *client = client_try(&stage.scene);
                struct buddyclient_range range;
                _exit(client && buddyclient_alloc_wait(client, 16 * MIB, -1, &range) == 0 ? 0 : 1);
        }
        scene_await_figure(&stage.scene, "waiters", 1);
        struct buddyclient_stats stats;
        do
                stats = stats_of(stage.one);
        while (stats.oldest_waiter_ms < 100);
        const struct json *json = ctl_json(&stage.scene, "stats", "--json", NULL);
        cr_expect_geq(json_member(json, "oldest_waiter_seconds")->number, 0.1);
        const char *text = ctl(&stage.scene, "stats", NULL)->out;
        cr_expect_not_null(strstr(text, "waiting, oldest "), "%s", text);
        process_kill(waiter);
        scene_await_figure(&stage.scene, "waiters", 0);
        cr_expect_eq(stats_of(stage.one).oldest_waiter_ms, 0);
        stage_close(&stage);
}

/* A pool of 1 TiB, of which nearly nothing is there: no part of it is walked page by page. */
Test(map, a_large_lazy_pool_is_seen_whole) {
        struct scene scene;
        scene_open(&scene);
        if (!scene_start_or_refuse(&scene, "--size", "1T", "--commit", "lazy", NULL))
                cr_skip_test("needs room for the tables of 1 TiB");
        struct buddyclient *client = client_new(&scene);
        struct buddyclient_range range, page;
        cr_assert_eq(buddyclient_alloc(client, 2 * MIB, &range), 0);
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &page), 0);
        expect_as_statistics(&scene);
        cr_expect_eq(sums_of(ctl_json(&scene, "map", "--json", NULL)).length, INT64_C(1) << 40);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* buddyctl top in a terminal: what it draws, its keys, sizes, the daemon's going and coming, and that every way out leaves the terminal as
 * it was. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "screen.h"

TestSuite(top, .timeout = 120);

struct stage {
        struct scene scene;
        struct buddyclient *writer, *reader;
        struct screen screen;
};

static struct buddyclient *named_client(const struct scene *scene, const char *name) {
        struct buddyclient *client = NULL;
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, scene->socket), 0);
        cr_assert_eq(buddyclient_set_pool(client, scene->pool), 0);
        cr_assert_eq(buddyclient_set_name(client, name), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(client, 0), 0);
        cr_assert_eq(buddyclient_connect(client), 0);
        return client;
}

static void stage_open(struct stage *stage) {
        struct buddyclient_range range;
        scene_open(&stage->scene);
        scene_start(&stage->scene, "--size", "64M", NULL);
        stage->writer = named_client(&stage->scene, "writer");
        stage->reader = named_client(&stage->scene, "reader");
        cr_assert_eq(buddyclient_alloc(stage->writer, 16 * MIB, &range), 0);
        cr_assert_eq(buddyclient_alloc(stage->reader, 2 * MIB, &range), 0);
}

static void stage_show(struct stage *stage, int rows, int columns) {
        static const char *const arguments[] = {"top", "--watch", "0.1", NULL};
        screen_open(&stage->screen, &stage->scene, rows, columns, arguments);
        screen_await(&stage->screen, "held 18 MiB");
        screen_await(&stage->screen, "q quit"); /* is drawn last */
}

static void stage_close(struct stage *stage) {
        buddyclient_destroy(stage->writer);
        buddyclient_destroy(stage->reader);
        scene_close(&stage->scene);
}

static void quit(struct stage *stage) {
        screen_type(&stage->screen, "q");
        cr_expect_eq(screen_close(&stage->screen), 0);
}

Test(top, draws_figures_map_clients_and_orders) {
        struct stage stage;
        stage_open(&stage);
        stage_show(&stage, 24, 80);
        struct screen *screen = &stage.screen;
        cr_expect_not_null(screen_find(screen, "free 46 MiB"));
        cr_expect_not_null(screen_find(screen, "clients 2"));
        cr_expect_not_null(screen_find(screen, "allocs/s"));
        cr_expect_not_null(screen_find(screen, "alloc p99 "));
        cr_expect_not_null(screen_find(screen, "       0 B ################"));
        const char *row = screen_find(screen, " writer ");
        cr_assert_not_null(row);
        cr_expect_not_null(strstr(row, " 16 MiB "), "%s", row);
        cr_expect_lt(row, screen_find(screen, " reader "), "who holds most comes first");
        cr_expect_not_null(screen_find(screen, "BLOCK   FREE   HELD UNUSABLE"));
        cr_expect_eq(screen->rows, 24);
        quit(&stage);
        stage_close(&stage);
}

Test(top, follows_what_happens) {
        struct stage stage;
        struct buddyclient_range range;
        stage_open(&stage);
        stage_show(&stage, 24, 80);
        cr_assert_eq(buddyclient_alloc(stage.reader, 32 * MIB, &range), 0);
        screen_await(&stage.screen, "held 50 MiB");
        screen_await(&stage.screen, " 34 MiB ");
        const char *reader = screen_find(&stage.screen, " reader ");
        cr_assert_not_null(reader);
        cr_expect_not_null(strstr(reader, "34 MiB"), "%s", reader);
        screen_await(
                &stage.screen, " writer "); /* its line may be overwritten before it has the next */
        cr_expect_lt(reader, screen_find(&stage.screen, " writer "));
        buddyclient_destroy(stage.writer);
        stage.writer = NULL;
        screen_await_not(&stage.screen, " writer ");
        screen_await(&stage.screen, "clients 1");
        quit(&stage);
        stage_close(&stage);
}

Test(top, keys_sort_colour_help_and_slow_down) {
        struct stage stage;
        stage_open(&stage);
        stage_show(&stage, 24, 80);
        struct screen *screen = &stage.screen;
        screen_await(screen, "sort: held");
        screen_type(screen, "s");
        screen_await(screen, "sort: cached");
        screen_type(screen, "SS");
        screen_await(screen, "sort: uid");
        screen_type(screen, "SS");
        screen_await(screen, "sort: name"); /* is drawn behind the list */
        screen_await(screen, "map: share");
        cr_expect_lt(screen_find(screen, " reader "), screen_find(screen, " writer "));
        screen_type(screen, "m");
        screen_await(screen, "map: client");
        screen_await(screen, "       0 B aaaaaaaaaaaaaaaa");
        screen_await(screen, "    16 MiB bbbbbbbbbbbbbbbb.");
        screen_type(screen, "-");
        screen_await(screen, "every 0.2 s");
        screen_type(screen, "+");
        screen_await(screen, "every 0.1 s");
        screen_type(screen, "?");
        screen_await(screen, "any key goes back");
        screen_type(screen, "q");
        screen_await_not(screen, "any key goes back");
        quit(&stage);
        stage_close(&stage);
}

Test(top, orders_take_the_place_of_clients_where_both_have_no_room) {
        struct stage stage;
        stage_open(&stage);
        stage_show(&stage, 20, 60);
        screen_await(&stage.screen, " writer ");
        cr_expect_null(screen_find(&stage.screen, "UNUSABLE"));
        screen_type(&stage.screen, "o");
        screen_await(&stage.screen, "UNUSABLE");
        screen_await_not(&stage.screen, " writer ");
        quit(&stage);
        stage_close(&stage);
}

Test(top, fits_any_size_also_while_it_changes) {
        static const int sizes[][2] = {
                {10, 40}, {3, 20}, {1, 1}, {2, 5}, {1, 80}, {50, 4}, {55, 190}, {24, 80}};
        struct stage stage;
        stage_open(&stage);
        stage_show(&stage, 24, 80);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                screen_resize(&stage.screen, sizes[i][0], sizes[i][1]);
                screen_await(&stage.screen, sizes[i][1] >= 12 ? "buddyctl top" : "b");
                if (sizes[i][0] >= 2 && sizes[i][1] >= 11)
                        screen_await(&stage.screen, "held 18 MiB");
        }
        screen_type(&stage.screen, "?");
        screen_await(&stage.screen, "any key goes back");
        screen_resize(&stage.screen, 4, 10);
        screen_type(&stage.screen, " ");
        screen_await(&stage.screen, "buddyctl t");
        quit(&stage);
        stage_close(&stage);
}

Test(top, every_way_out_leaves_the_terminal_as_it_was) {
        static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
        struct stage stage;
        stage_open(&stage);
        for (size_t i = 0; i < 4; i++) {
                stage_show(&stage, 24, 80);
                cr_assert_eq(kill(stage.screen.child, signals[i]), 0);
                cr_expect_eq(screen_close(&stage.screen), 0, "signal %d", signals[i]);
        }
        stage_show(&stage, 24, 80);
        screen_type(&stage.screen, "\003"); /* Ctrl-C */
        cr_expect_eq(screen_close(&stage.screen), 0);
        stage_close(&stage);
}

Test(top, a_daemon_that_went_is_shown_away_and_found_again) {
        struct stage stage;
        stage_open(&stage);
        stage_show(&stage, 24, 80);
        scene_kill(&stage.scene);
        screen_await(&stage.screen, "buddyd is away");
        screen_await(&stage.screen, "away for ");
        cr_expect_not_null(screen_find(&stage.screen, "held 18 MiB"), "what was is still seen");
        scene_start(&stage.scene, "--size", "64M", NULL);
        screen_await_not(&stage.screen, "away");
        screen_await(&stage.screen, "restarts 1");
        scene_freeze(&stage.scene);
        screen_await(&stage.screen, "buddyd is away");
        screen_type(&stage.screen, "q");
        cr_expect_eq(screen_close(&stage.screen), 0, "keys work while it hangs");
        scene_thaw(&stage.scene);
        stage_close(&stage);
}

Test(top, kicks_after_a_question) {
        struct stage stage;
        stage_open(&stage);
        stage_show(&stage, 24, 80);
        struct screen *screen = &stage.screen;
        screen_type(screen, "k");
        screen_await(screen, "select a client first");
        screen_type(screen, "\033[B");
        screen_type(screen, "k");
        screen_await(screen, "Kick writer#");
        screen_await(screen, "It loses 16 MiB in 1 ranges");
        screen_type(screen, "n");
        screen_await_not(screen, "Kick writer#");
        cr_expect_not_null(screen_find(screen, "held 18 MiB"), "nothing has happened");
        screen_type(screen, "k");
        screen_await(screen, "Kick writer#");
        screen_type(screen, "y");
        screen_await(screen, "1 ranges returned, 16 MiB free again");
        screen_await(screen, "held 2 MiB");
        quit(&stage);
        stage_close(&stage);
}

Test(top, colours_are_left_out_where_they_are_not_wanted) {
        struct stage stage;
        stage_open(&stage);
        stage_show(&stage, 24, 80);
        cr_expect(stage.screen.coloured);
        quit(&stage);
        stage.scene.environment[0] = "NO_COLOR=1";
        stage_show(&stage, 24, 80);
        quit(&stage);
        cr_expect_not(stage.screen.coloured);
        stage_close(&stage);
}

/* stats on a terminal: it clears the screen, and has colours unless they are not wanted. */
Test(top, stats_watch_fills_one_screen) {
        static const char *const arguments[] = {"stats", "--watch", "0.1", NULL};
        struct stage stage;
        stage_open(&stage);
        screen_open(&stage.screen, &stage.scene, 24, 80, arguments);
        screen_await(&stage.screen, "per s in 0.");
        screen_await(&stage.screen, "free  ");
        cr_expect_not_null(strstr(stage.screen.cells[0], "pool "));
        cr_expect(stage.screen.coloured);
        cr_assert_eq(kill(stage.screen.child, SIGTERM), 0);
        cr_expect_eq(screen_close(&stage.screen), 0);
        stage.scene.environment[0] = "NO_COLOR=1";
        screen_open(&stage.screen, &stage.scene, 24, 80, arguments);
        screen_await(&stage.screen, "per s in ");
        cr_expect_not(stage.screen.coloured);
        cr_assert_eq(kill(stage.screen.child, SIGINT), 0);
        cr_expect_eq(screen_close(&stage.screen), 0);
        stage_close(&stage);
}

Test(top, a_map_is_as_wide_as_its_terminal) {
        static const char *const arguments[] = {"map", NULL};
        struct stage stage;
        stage_open(&stage);
        screen_open(&stage.screen, &stage.scene, 30, 100, arguments);
        cr_expect_eq(screen_close(&stage.screen), 0);
        const char *row = screen_find(&stage.screen, "       0 B #");
        cr_assert_not_null(row);
        cr_expect_eq(row[98], '#', "%s", row);
        cr_expect_eq(row[99], ' ', "%s", row);
        stage_close(&stage);
}

Test(top, misuse_is_refused_before_the_terminal_is_touched) {
        struct scene scene;
        struct screen screen;
        static const char *const top[] = {"top", NULL};
        scene_open(&scene);
        ctl_refused(&scene, 2, "top", NULL); /* no terminal */
        ctl_refused(&scene, 2, "top", "--watch", "0", NULL);
        ctl_refused(&scene, 2, "top", "--sort", "size", NULL);
        ctl_refused(&scene, 2, "top", "--by", "x", NULL);
        ctl_refused(&scene, 2, "top", "--json", NULL);
        ctl_refused(&scene, 2, "top", "extra", NULL);
        screen_open(&screen, &scene, 24, 80, top);
        cr_expect_eq(screen_close(&screen), 3);
        cr_expect_not_null(screen_find(&screen, "no socket at"));
        scene_start(&scene, "--size", "1M", NULL);
        scene.environment[0] = "TERM=no-such-terminal";
        screen_open(&screen, &scene, 24, 80, top);
        cr_expect_eq(screen_close(&screen), 1);
        cr_expect_not_null(screen_find(&screen, "set TERM to what it is"));
        scene.environment[0] = NULL;
        scene_close(&scene);
}

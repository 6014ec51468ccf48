/* What outlives a daemon: the segment, what is held in it, and what a different geometry must not touch. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

TestSuite(restart, .timeout = 60);

/* A process that holds what a test wants held, and lives until told otherwise. */
struct holder {
        pid_t process;
        int from, to;
        struct buddyclient_range ranges[64];
        size_t count;
};

static void holder_start(
        struct holder *holder, const struct scene *scene, uint64_t length, size_t count) {
        int from[2], to[2];
        cr_assert(pipe(from) == 0 && pipe(to) == 0);
        holder->process = process_fork();
        if (holder->process == 0) {
                struct buddyclient *client = client_try(scene);
                for (size_t each = 0; each < count; each++) {
                        struct buddyclient_range *range = &holder->ranges[each];
                        if (!client || buddyclient_alloc(client, length, range) != 0)
                                _exit(1);
                        memset(buddyclient_pointer(client, range), (int)(each + 1), range->length);
                }
                if (write(from[1], holder->ranges, sizeof holder->ranges) < 0)
                        _exit(2);
                byte_read(to[0]);
                for (;;)
                        pause();
        }
        holder->count = count;
        ssize_t got = read(from[0], holder->ranges, sizeof holder->ranges);
        cr_assert_eq(got, (ssize_t)sizeof holder->ranges, "the holder failed");
        holder->from = from[0];
        holder->to = to[1];
}

/* Takes, marks and returns ranges until the daemon or this process is killed. */
static void churn_until_gone(const struct scene *scene, int turns, unsigned seed) {
        struct buddyclient *client = client_try(scene);
        struct buddyclient_range held[16];
        bool live[16] = {false};
        while (client) {
                unsigned slot = (unsigned)rand_r(&seed) % 16;
                int result = 0;
                if (live[slot]) {
                        result = buddyclient_release(client, &held[slot]);
                } else {
                        result = buddyclient_alloc(
                                client, SCENE_PAGE << ((unsigned)rand_r(&seed) % 6), &held[slot]);
                        if (result == 0)
                                memset(buddyclient_pointer(client, &held[slot]), 0xee,
                                        held[slot].length);
                }
                if (result == 0)
                        live[slot] = !live[slot];
                else if (result != -ENOMEM)
                        break;
                byte_write(turns, 1);
        }
        for (;;)
                pause();
}

static size_t ranges_count(const struct scene *scene) {
        const struct json *document = ctl_json(scene, "ranges", "--json", NULL);
        const struct json *list = json_list_with(document, "offset");
        return list ? list->count : 0;
}

static bool ranges_have(const struct scene *scene, uint64_t offset, uint64_t length) {
        const struct json *document = ctl_json(scene, "ranges", "--json", NULL);
        const struct json *list = json_list_with(document, "offset");
        for (const struct json *entry = list ? list->first : NULL; entry; entry = entry->next) {
                const struct json *where = json_member(entry, "offset");
                const struct json *size = json_member(entry, "length");
                cr_assert(where && size);
                if ((uint64_t)where->integer == offset && (uint64_t)size->integer == length)
                        return true;
        }
        return false;
}

Test(restart, sigterm_removes_the_segment) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        cr_assert_eq(scene_shm_count(&scene), 2);
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        cr_assert_eq(scene_shm_count(&scene), 0);
}

Test(restart, keep_leaves_segment_bytes_and_holds) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", "--keep", NULL);
        const struct json *got = ctl_json(&scene, "alloc", "64K", "--json", NULL);
        uint64_t offset = (uint64_t)json_member(got, "offset")->integer;
        struct buddyclient *client = client_new(&scene);
        memcpy((char *)buddyclient_base(client) + offset, "treasure", 8);
        buddyclient_destroy(client);
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        cr_assert_eq(scene_shm_count(&scene), 2);

        scene_start(&scene, "--size", "1M", NULL);
        client = client_new(&scene);
        expect_held(client, 65536);
        cr_assert(ranges_have(&scene, offset, 65536));
        cr_assert_arr_eq((char *)buddyclient_base(client) + offset, "treasure", 8);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(restart, after_a_crash_the_next_start_takes_over) {
        struct scene scene;
        struct holder holder;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        holder_start(&holder, &scene, 16384, 20);
        const struct json *got = ctl_json(&scene, "alloc", "64K", "--json", NULL);
        uint64_t by_hand = (uint64_t)json_member(got, "offset")->integer;
        scene_kill(&scene);
        cr_assert_eq(scene_shm_count(&scene), 2, "a crash lost the segment");

        scene_start(&scene, "--size", "4M", NULL);
        struct buddyclient *client = client_new(&scene);
        struct buddyclient_stats stats = stats_of(client);
        cr_assert_eq(stats.held_bytes, 20 * 16384 + 65536);
        cr_assert_eq(stats.restarts, 1, "restarts is %lu", stats.restarts);
        for (size_t each = 0; each < holder.count; each++) {
                const struct buddyclient_range *range = &holder.ranges[each];
                cr_assert(ranges_have(&scene, range->offset, range->length));
                unsigned char *bytes = (unsigned char *)buddyclient_base(client) + range->offset;
                cr_assert(bytes[0] == each + 1 && bytes[range->length - 1] == each + 1);
        }
        expect_sound(&scene);

        struct buddyclient_range fill;
        unsigned char *taken = calloc(1024, 1);
        size_t rest = 0;
        while (buddyclient_alloc(client, SCENE_PAGE, &fill) == 0) {
                cr_assert_not(taken[fill.offset / SCENE_PAGE]++, "granted twice");
                rest++;
        }
        cr_assert_eq(rest, 1024 - 20 * 4 - 16, "only %zu pages are free", rest);
        for (size_t each = 0; each < holder.count; each++)
                for (size_t page = 0; page < 4; page++)
                        cr_assert_not(taken[holder.ranges[each].offset / SCENE_PAGE + page]);
        for (size_t page = 0; page < 16; page++)
                cr_assert_not(taken[by_hand / SCENE_PAGE + page]);
        free(taken);
        expect_sound(&scene);
        buddyclient_destroy(client);

        client = client_new(&scene);
        process_kill(holder.process);
        await_held(client, 65536);
        char text[32];
        snprintf(text, sizeof text, "%lu", (unsigned long)by_hand);
        cr_assert_eq(ctl(&scene, "free", text, NULL)->status, 0);
        expect_held(client, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(restart, who_died_while_no_daemon_ran_is_reclaimed) {
        struct scene scene;
        struct holder dies, lives;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        holder_start(&dies, &scene, 8192, 30);
        holder_start(&lives, &scene, 16384, 10);
        scene_kill(&scene);
        process_kill(dies.process);
        scene_start(&scene, "--size", "4M", NULL);
        struct buddyclient *client = client_new(&scene);
        await_held(client, 10 * 16384);
        cr_assert_eq(ranges_count(&scene), 10);
        process_kill(lives.process);
        await_held(client, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(restart, generations_go_on) {
        struct scene scene;
        struct buddyclient_range before, after;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &before), 0);
        cr_assert_eq(buddyclient_release(client, &before), 0);
        scene_kill(&scene);
        buddyclient_destroy(client);
        scene_start(&scene, "--size", "1M", NULL);
        client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &after), 0);
        cr_assert(after.offset != before.offset || after.generation != before.generation,
                "a range of the old daemon's life is as good as the new one");
        cr_assert_eq(buddyclient_release(client, &before), -ESTALE);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(restart, many_crashes_add_up_to_nothing) {
        struct scene scene;
        scene_open(&scene);
        for (unsigned round = 0; round < 12; round++) {
                scene_start(&scene, "--size", "4M", NULL);
                struct buddyclient *client = client_new(&scene);
                await_held(client, round * 4 * SCENE_PAGE);
                cr_assert_eq(stats_of(client).restarts, round);
                cr_assert_eq(ctl(&scene, "alloc", "16K", NULL)->status, 0);
                expect_sound(&scene);
                buddyclient_destroy(client);
                scene_kill(&scene);
        }
        scene_start(&scene, "--size", "4M", NULL);
        cr_assert_eq(ranges_count(&scene), 12);
        scene_close(&scene);
}

Test(restart, reset_throws_the_old_pool_away) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        cr_assert_eq(ctl(&scene, "alloc", "64K", NULL)->status, 0);
        scene_kill(&scene);
        scene_start(&scene, "--size", "2M", "--reset", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_size(client), 2 * MIB);
        expect_held(client, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

static void other_geometry_refused(const char *option, const char *value) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        const struct json *got = ctl_json(&scene, "alloc", "64K", "--json", NULL);
        uint64_t offset = (uint64_t)json_member(got, "offset")->integer;
        scene_kill(&scene);
        const char *size = strcmp(option, "--size") == 0 ? value : "4M";
        const char *line = scene_refused(&scene, 1, option, value, "--size", size, NULL);
        cr_assert_not_null(strstr(line, "--reset"), "names no mend: %s", line);
        cr_assert_eq(scene_shm_count(&scene), 2, "a refused start removed something");
        cr_assert(access(scene.socket, F_OK) != 0 || unlink(scene.socket) == 0);

        scene_start(&scene, "--size", "4M", NULL);
        cr_assert(ranges_have(&scene, offset, 65536));
        scene_close(&scene);
}

Test(restart, another_size_is_refused) {
        other_geometry_refused("--size", "8M");
        other_geometry_refused("--size", "2M");
}

Test(restart, another_page_size_is_refused) {
        other_geometry_refused("--page-size", "16K");
}

Test(restart, a_tebibyte_is_taken_over_in_a_second) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1T", "--commit", "lazy", NULL);
        for (int each = 0; each < 3; each++)
                cr_assert_eq(ctl(&scene, "alloc", "1G", NULL)->status, 0);
        cr_assert_eq(ctl(&scene, "alloc", "4K", NULL)->status, 0);
        uint64_t best = UINT64_MAX;
        for (int each = 0; each < 3; each++) { /* the machine may stand still once */
                scene_kill(&scene);
                uint64_t begin = now_ms();
                scene_start(&scene, "--size", "1T", "--commit", "lazy", NULL);
                uint64_t took = now_ms() - begin;
                best = took < best ? took : best;
        }
        cr_assert_lt(best, 1000, "%lu ms", best);
        struct buddyclient *client = client_new(&scene);
        expect_held(client, (3ull << 30) + SCENE_PAGE);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* Daemon and clients are killed at any moment, in the middle of anything. */
Test(restart, crashes_under_load_lose_nothing) {
        struct scene scene;
        struct holder holder;
        scene_open(&scene);
        scene_start(&scene, "--size", "8M", NULL);
        holder_start(&holder, &scene, 16384, 16);
        for (unsigned round = 0; round < 10; round++) {
                pid_t processes[3];
                int turns[2];
                cr_assert(pipe(turns) == 0);
                for (size_t each = 0; each < 3; each++)
                        if ((processes[each] = process_fork()) == 0)
                                churn_until_gone(&scene, turns[1], round * 3 + (unsigned)each);
                for (unsigned turn = 0; turn < 100 + round * 37; turn++)
                        cr_assert_neq(byte_read(turns[0]), -1);
                scene_kill(&scene);
                for (size_t each = 0; each < 3; each++)
                        process_kill(processes[each]);
                close(turns[0]);
                close(turns[1]);
                scene_start(&scene, "--size", "8M", NULL);
                expect_sound(&scene);
                struct buddyclient *client = client_new(&scene);
                await_held(client, 16 * 16384);
                const unsigned char *base = buddyclient_base(client);
                for (size_t each = 0; each < holder.count; each++) {
                        const struct buddyclient_range *range = &holder.ranges[each];
                        for (uint64_t at = 0; at < range->length; at++)
                                cr_assert_eq(base[range->offset + at], each + 1,
                                        "a held range was given to somebody else");
                        cr_assert(ranges_have(&scene, range->offset, range->length));
                }
                buddyclient_destroy(client);
        }
        process_kill(holder.process);
        struct buddyclient *client = client_new(&scene);
        await_held(client, 0);
        cr_assert_eq(stats_of(client).largest_free_bytes, 8 * MIB);
        buddyclient_destroy(client);
        scene_close(&scene);
}

static pid_t start_without_waiting(const struct scene *scene) {
        pid_t process = process_fork();
        if (process == 0) {
                dup2(open("/dev/null", O_WRONLY), 2);
                close_range(3, ~0u, 0);
                process_environment(NULL);
                execl(program_buddyd(), "buddyd", "--socket", scene->socket, "--pool", scene->pool,
                        "--size", "256M", (char *)NULL);
                _exit(127);
        }
        return process;
}

/* Stopped while it is still reserving memory, at one moment or another. */
Test(restart, an_end_during_the_start_is_clean) {
        for (unsigned round = 0; round < 12; round++) {
                struct scene scene;
                scene_open(&scene);
                pid_t process = start_without_waiting(&scene);
                uint64_t until = now_ms() + round * 8;
                while (now_ms() < until)
                        ;
                bool crash = round % 2;
                kill(process, crash ? SIGKILL : SIGTERM);
                int status = process_wait(process);
                cr_assert(crash ? status == -SIGKILL : status == 0 || status == -SIGTERM, "%d",
                        status);
                if (!crash && status == 0)
                        cr_assert_eq(scene_shm_count(&scene), 0, "round %u left something", round);
                scene_start(&scene, "--size", "256M", NULL);
                struct buddyclient *client = client_new(&scene);
                memset(buddyclient_base(client), 1, 256 * MIB);
                expect_held(client, 0);
                buddyclient_destroy(client);
                scene_close(&scene);
        }
}

/* Several starts at once, also over what a crash has left: one serves, the others refuse, and none harms the one. */
Test(restart, of_many_starts_at_once_one_wins) {
        enum { RIVALS = 5 };
        struct scene scene;
        scene_open(&scene);
        for (unsigned round = 0; round < 8; round++) {
                pid_t rivals[RIVALS];
                for (size_t each = 0; each < RIVALS; each++)
                        rivals[each] = start_without_waiting(&scene);
                size_t left = RIVALS;
                uint64_t deadline = now_ms() + PATIENCE_MS;
                while (left > 1) {
                        cr_assert_lt(now_ms(), deadline, "%zu daemons serve one pool", left);
                        int status = 0;
                        pid_t gone = waitpid(-1, &status, WNOHANG);
                        for (size_t each = 0; each < left; each++)
                                if (gone > 0 && rivals[each] == gone) {
                                        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1,
                                                "a rival ended with %#x", status);
                                        rivals[each] = rivals[--left];
                                }
                }
                while (ctl(&scene, "ping", NULL)->status != 0)
                        cr_assert_lt(now_ms(), deadline, "the one that is left cannot be reached");
                expect_sound(&scene);
                cr_assert_eq(ctl(&scene, "alloc", "4K", NULL)->status, 0);
                cr_assert_eq(ranges_count(&scene), round + 1);
                scene.daemon = rivals[0];
                scene_kill(&scene);
        }
        scene_start(&scene, "--size", "256M", NULL);
        cr_assert_eq(ranges_count(&scene), 8);
        scene_close(&scene);
}

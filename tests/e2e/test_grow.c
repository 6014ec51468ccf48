/* grow: a pool that becomes larger under its clients. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

TestSuite(grow, .timeout = 120);

static void grow(const struct scene *scene, const char *bytes) {
        const struct run *run = ctl(scene, "grow", bytes, NULL);
        cr_assert_eq(run->status, 0, "%s", run->err);
}

/* Fills it with its own address, which another mapping of the same bytes can check. */
static void range_mark(struct buddyclient *client, const struct buddyclient_range *range) {
        uint64_t *words = buddyclient_pointer(client, range);
        cr_assert_not_null(words);
        for (uint64_t i = 0; i < range->length / 8; i += 512)
                words[i] = range->offset + i;
}

static bool range_is_marked(struct buddyclient *client, const struct buddyclient_range *range) {
        const uint64_t *words = buddyclient_pointer(client, range);
        for (uint64_t i = 0; words && i < range->length / 8; i += 512)
                if (words[i] != range->offset + i)
                        return false;
        return words;
}

static void grows_under_clients(const char *commit, const char *backing) {
        struct scene scene;
        struct buddyclient_range first, second;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--max-size", "64M", "--commit", commit, "--backing",
                backing, NULL);
        struct buddyclient *client = client_new(&scene), *caching = client_caching(&scene);
        struct buddyclient *reader = NULL;
        cr_assert_eq(buddyclient_new(&reader), 0);
        cr_assert(buddyclient_set_socket(reader, scene.socket) == 0 &&
                  buddyclient_set_pool(reader, scene.pool) == 0 &&
                  buddyclient_set_read_only(reader, true) == 0);
        cr_assert_eq(buddyclient_connect(reader), 0);
        cr_assert_eq(buddyclient_alloc(client, 4 * MIB, &first), 0);
        char *base = buddyclient_base(client);
        range_mark(client, &first);
        cr_assert_eq(buddyclient_alloc(client, 1, &second), -ENOMEM);
        grow(&scene, "48M");
        cr_assert_eq(buddyclient_alloc(client, 16 * MIB, &second), 0);
        range_mark(client, &second);
        cr_assert_eq((char *)buddyclient_base(client), base);
        cr_assert(range_is_marked(client, &first));
        cr_assert(buddyclient_attach(reader, &second) == 0 && range_is_marked(reader, &second));
        cr_assert_eq(stats_of(client).size_bytes, 48 * MIB);
        cr_assert_eq(buddyclient_size(client), 48 * MIB);
        struct buddyclient_range small;
        for (int each = 0; each < 64; each++) {
                cr_assert_eq(buddyclient_alloc(caching, 65536, &small), 0);
                cr_assert_geq(small.offset, 4 * MIB);
                range_mark(caching, &small);
                cr_assert_eq(buddyclient_release(caching, &small), 0);
        }
        if (strcmp(commit, "eager") == 0)
                cr_assert_eq(stats_of(client).resident_bytes, 48 * MIB);
        grow(&scene, "64M");
        grow(&scene, "64M");
        cr_assert_eq(stats_of(client).capacity_bytes, stats_of(client).size_bytes);
        expect_sound(&scene);
        buddyclient_destroy(caching);
        buddyclient_destroy(reader);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(grow, clients_of_before_use_the_new_part) {
        grows_under_clients("eager", "posix-shm");
        grows_under_clients("lazy", "posix-shm");
        grows_under_clients("eager", "memfd");
}

Test(grow, those_who_wait_are_served_from_the_new_part) {
        struct scene scene;
        struct buddyclient_range all;
        pid_t waiters[3];
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--max-size", "32M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 4 * MIB, &all), 0);
        for (int each = 0; each < 3; each++) {
                waiters[each] = process_fork();
                if (waiters[each] == 0) {
                        struct buddyclient *own = client_try(&scene);
                        struct buddyclient_range range;
                        if (!own || buddyclient_alloc_wait(own, 4 * MIB, -1, &range) != 0)
                                _exit(1);
                        memset(buddyclient_pointer(own, &range), each, range.length);
                        _exit(range.offset < 4 * MIB);
                }
                await_waiters(client, (uint64_t)each + 1);
        }
        grow(&scene, "16M");
        for (int each = 0; each < 3; each++)
                cr_assert_eq(process_wait(waiters[each]), 0);
        await_held(client, 4 * MIB);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(grow, restarts_keep_the_size) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--max-size", "64M", NULL);
        struct buddyclient *client = client_new(&scene);
        grow(&scene, "32M");
        cr_assert_eq(buddyclient_alloc(client, 16 * MIB, &range), 0);
        range_mark(client, &range);
        scene_kill(&scene);
        scene_start(&scene, "--size", "4M", "--max-size", "64M", NULL);
        cr_assert_eq(stats_of(client).size_bytes, 32 * MIB);
        cr_assert_eq(stats_of(client).resident_bytes, 32 * MIB);
        cr_assert(range_is_marked(client, &range));
        grow(&scene, "64M");
        scene_kill(&scene);
        scene_start(&scene, "--size", "64M", "--max-size", "64M", NULL);
        cr_assert_eq(stats_of(client).size_bytes, 64 * MIB);
        expect_sound(&scene);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* Another size than it has, had, or may have had on its way is another geometry. */
Test(grow, a_size_that_the_pool_never_had_is_refused_at_start) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--max-size", "64M", NULL);
        scene_kill(&scene);
        scene_refused(&scene, 1, "--size", "2M", "--max-size", "64M", NULL);
        const char *line = scene_refused(&scene, 1, "--size", "8M", "--max-size", "64M", NULL);
        cr_assert(strstr(line, "exists with --size 4M"), "%s", line);
        scene_start(&scene, "--size", "4M", "--max-size", "64M", NULL);
        grow(&scene, "16M");
        scene_kill(&scene);
        scene_refused(&scene, 1, "--size", "2M", "--max-size", "64M", NULL);
        scene_refused(&scene, 1, "--size", "32M", "--max-size", "64M", NULL);
        scene_start(&scene, "--size", "8M", "--max-size", "64M", NULL);
        cr_assert_eq(scene_figure(&scene, "size_bytes"), 16 * (int64_t)MIB);
        scene_close(&scene);
}

Test(grow, what_cannot_be_is_refused_and_changes_nothing) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "8M", "--max-size", "16M", "--page-size", "64K", NULL);
        cr_assert(strstr(ctl_refused(&scene, 1, "grow", "4M", NULL), "does not shrink"));
        cr_assert(strstr(ctl_refused(&scene, 1, "grow", "17M", NULL), "max-size"));
        cr_assert(strstr(ctl_refused(&scene, 1, "grow", "9000K", NULL), "multiple"));
        cr_assert(strstr(ctl_refused(&scene, 1, "grow", "18446744073709551615", NULL), "max-size"));
        static const char *const wrong[] = {"0", "-1", "much", "1E", "99999999999999999999", ""};
        for (size_t each = 0; each < sizeof wrong / sizeof *wrong; each++)
                ctl_refused(&scene, 2, "grow", wrong[each], NULL);
        ctl_refused(&scene, 2, "grow", NULL);
        cr_assert_eq(scene_figure(&scene, "size_bytes"), 8 * (int64_t)MIB);
        scene_close(&scene);
}

Test(grow, an_eager_pool_that_does_not_fit_stays_as_it_is) {
        struct scene scene;
        struct buddyclient_range range;
        if (!stage_private(40 * MIB))
                cr_skip_test("needs to mount");
        scene_open(&scene);
        scene_start(&scene, "--size", "8M", "--max-size", "256M", NULL);
        struct buddyclient *client = client_new(&scene);
        const char *said = ctl_refused(&scene, 1, "grow", "128M", NULL);
        cr_assert(strstr(said, "120 MiB more") && strstr(said, "/dev/shm"), "%s", said);
        cr_assert_eq(stats_of(client).size_bytes, 8 * MIB);
        cr_assert_eq(stats_of(client).resident_bytes, 8 * MIB);
        grow(&scene, "16M");
        cr_assert_eq(buddyclient_alloc(client, 8 * MIB, &range), 0);
        cr_assert_eq(buddyclient_alloc(client, 8 * MIB, &range), 0);
        memset(buddyclient_pointer(client, &range), 1, range.length);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* While the new part is being reserved, others are served; and a kill leaves the pool of before or of after. */
Test(grow, a_daemon_killed_while_the_pool_grows_leaves_one_size_or_the_other) {
        struct scene scene;
        struct buddyclient_range kept;
        unsigned before = 0;
        scene_open(&scene);
        for (int round = 0; round < 12; round++) {
                scene_start(&scene, "--size", "8M", "--max-size", "256M", "--reset", NULL);
                struct buddyclient *client = client_new(&scene);
                cr_assert_eq(buddyclient_alloc(client, MIB, &kept), 0);
                range_mark(client, &kept);
                pid_t operator= process_fork();
                if (operator== 0) {
                        if (!freopen("/dev/null", "w", stderr))
                                _exit(126);
                        execl(program_buddyctl(), "buddyctl", "--socket", scene.socket, "--pool",
                                scene.pool, "grow", "256M", NULL);
                        _exit(127);
                }
                /* Killed when so much is reserved, which only the kernel tells. */
                uint64_t stop_at = 8 * MIB + (uint64_t)round * 22 * MIB;
                uint64_t deadline = now_ms() + PATIENCE_MS;
                while (stats_of(client).resident_bytes < stop_at && now_ms() < deadline)
                        continue;
                scene_kill(&scene);
                process_wait(operator);
                scene_start(&scene, "--size", "8M", "--max-size", "256M", NULL);
                struct buddyclient_stats stats = stats_of(client);
                cr_assert(stats.size_bytes == 8 * MIB || stats.size_bytes == 256 * MIB);
                cr_assert_eq(stats.resident_bytes, stats.size_bytes, "%lu of %lu resident",
                        stats.resident_bytes, stats.size_bytes);
                before += stats.size_bytes == 8 * MIB;
                cr_assert(range_is_marked(client, &kept));
                grow(&scene, "256M");
                cr_assert_eq(stats_of(client).size_bytes, 256 * MIB);
                expect_sound(&scene);
                buddyclient_destroy(client);
                cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        }
        cr_assert_gt(before, 0, "never killed in time");
        scene_start(&scene, "--size", "8M", "--max-size", "256M", NULL);
        scene_close(&scene);
}

/* A stop does not wait for a huge reservation. */
Test(grow, a_stop_ends_it) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "8M", "--max-size", "512M", NULL);
        struct buddyclient *client = client_new(&scene);
        pid_t operator= process_fork();
        if (operator== 0) {
                if (!freopen("/dev/null", "w", stderr))
                        _exit(126);
                execl(program_buddyctl(), "buddyctl", "--socket", scene.socket, "--pool",
                        scene.pool, "grow", "512M", NULL);
                _exit(127);
        }
        while (stats_of(client).resident_bytes < 12 * MIB)
                continue;
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        process_wait(operator);
        buddyclient_destroy(client);
        cr_assert_eq(scene_shm_count(&scene), 0);
}

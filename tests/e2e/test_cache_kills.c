/* Caches and those who die, sleep or part over them: the daemon, a client, a forked child, a session. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

TestSuite(cache_kills, .timeout = 120);

#define POOL       "64M"
#define POOL_BYTES (64 * MIB)
#define PAGES      (POOL_BYTES / SCENE_PAGE)

static struct buddyclient *cached_new(const struct scene *scene) {
        struct buddyclient *client = client_caching(scene);
        cr_assert_not_null(client);
        return client;
}

static struct buddyclient *cached_patient(const struct scene *scene, int timeout_ms) {
        struct buddyclient *client = NULL;
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, scene->socket), 0);
        cr_assert_eq(buddyclient_set_pool(client, scene->pool), 0);
        cr_assert_eq(buddyclient_set_timeout_ms(client, timeout_ms), 0);
        cr_assert_eq(buddyclient_connect(client), 0);
        return client;
}

static void stage(struct scene *scene) {
        scene_open(scene);
        scene_start(scene, "--size", POOL, NULL);
}

static void unstage(struct scene *scene) {
        struct buddyclient *observer = client_new(scene);
        await_held(observer, 0);
        struct buddyclient_stats stats = stats_of(observer);
        cr_assert_eq(stats.cached_bytes, 0, "%lu bytes cached by nobody", stats.cached_bytes);
        cr_assert_eq(stats.largest_free_bytes, POOL_BYTES, "not merged");
        buddyclient_destroy(observer);
        scene_close(scene);
}

static void restart(struct scene *scene) {
        scene_kill(scene);
        scene_start(scene, "--size", POOL, NULL);
}

/* Takes and returns ranges of all lengths, so that some of each stay cached. 0, or what was refused. */
static int fill(struct buddyclient *client) {
        struct buddyclient_range ranges[64];
        for (uint64_t length = SCENE_PAGE; length <= 32 * SCENE_PAGE; length *= 2) {
                for (size_t each = 0; each < 64; each++) {
                        int result = buddyclient_alloc(client, length, &ranges[each]);
                        if (result != 0)
                                return result;
                }
                for (size_t each = 0; each < 64; each++) {
                        int result = buddyclient_release(client, &ranges[each]);
                        if (result != 0)
                                return result;
                }
        }
        return 0;
}

static void process_stop(pid_t process) {
        siginfo_t info;
        cr_assert_eq(kill(process, SIGSTOP), 0);
        cr_assert_eq(waitid(P_PID, (id_t)process, &info, WSTOPPED), 0);
}

/* A process that holds 20 pages, which bear its mark, has a filled cache, and for each byte checks its pages and takes one more. */
struct holder {
        pid_t process;
        int orders[2], answers[2];
};

static int hold(const struct scene *scene, struct holder *holder) {
        struct buddyclient_range ranges[64];
        struct buddyclient *client = client_caching(scene);
        size_t count = 0;
        if (!client)
                return 1;
        for (; count < 20; count++) {
                if (buddyclient_alloc(client, 1, &ranges[count]) != 0)
                        return 1;
                memset(buddyclient_pointer(client, &ranges[count]), (int)count + 1, SCENE_PAGE);
        }
        if (fill(client) != 0)
                return 2;
        byte_write(holder->answers[1], 'H');
        int order;
        while ((order = byte_read(holder->orders[0])) == 'M') {
                for (size_t each = 0; each < count; each++) {
                        unsigned char *bytes = buddyclient_pointer(client, &ranges[each]);
                        if (bytes[0] != each + 1 || bytes[SCENE_PAGE - 1] != each + 1)
                                return 3;
                }
                int result = buddyclient_alloc(client, 1, &ranges[count]);
                if (result == 0) {
                        count++;
                        memset(buddyclient_pointer(client, &ranges[count - 1]), (int)count,
                                SCENE_PAGE);
                }
                byte_write(holder->answers[1], -result);
        }
        for (size_t each = 0; each < count; each++)
                if (buddyclient_release(client, &ranges[each]) != 0)
                        return 4;
        buddyclient_destroy(client);
        return 0;
}

static void holder_start(struct holder *holder, const struct scene *scene) {
        cr_assert(pipe(holder->orders) == 0 && pipe(holder->answers) == 0);
        holder->process = process_fork();
        if (holder->process == 0)
                _exit(hold(scene, holder));
        cr_assert_eq(byte_read(holder->answers[0]), 'H');
}

static int holder_more(struct holder *holder) {
        byte_write(holder->orders[1], 'M');
        return -byte_read(holder->answers[0]);
}

static void holder_end(struct holder *holder) {
        byte_write(holder->orders[1], 'E');
        cr_assert_eq(process_wait(holder->process), 0);
}

/* Marks every page that can be had; how many. */
static size_t take_all(struct buddyclient *client) {
        struct buddyclient_range range;
        size_t taken = 0;
        while (buddyclient_alloc(client, 1, &range) == 0) {
                memset(buddyclient_pointer(client, &range), 0xee, SCENE_PAGE);
                taken++;
        }
        return taken;
}

/* ---- The daemon ---- */

Test(cache_kills, while_the_daemon_is_away_the_cache_serves_nothing) {
        struct scene scene;
        struct buddyclient_range held, range = {1, 2, 3};
        stage(&scene);
        struct buddyclient *client = cached_patient(&scene, IMPATIENT_MS);
        cr_assert_eq(buddyclient_alloc(client, 1, &held), 0);
        memset(buddyclient_pointer(client, &held), 55, SCENE_PAGE);
        cr_assert_eq(fill(client), 0);
        for (int each = 0; each < 8; each++) { /* the last one is at hand */
                cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
                cr_assert_eq(buddyclient_release(client, &range), 0);
        }
        range = (struct buddyclient_range){1, 2, 3};
        scene_kill(&scene);
        for (int times = 0; times < 2; times++) {
                uint64_t begin = now_ms();
                cr_assert_eq(buddyclient_alloc(client, 1, &range), -ENOTCONN);
                uint64_t took = now_ms() - begin;
                cr_assert_lt(took, IMPATIENT_MS + 2700);
                if (times == 0)
                        cr_assert_geq(took, IMPATIENT_MS - 50, "it did not wait: %lu ms", took);
        }
        cr_assert(range.offset == 1 && range.length == 2 && range.generation == 3);
        scene_start(&scene, "--size", POOL, NULL);
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        cr_assert_neq(range.offset, held.offset);
        cr_assert_eq(*(char *)buddyclient_pointer(client, &held), 55);
        cr_assert_eq(buddyclient_release(client, &held), 0);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(buddyclient_release(client, &held), -ESTALE);
        buddyclient_destroy(client);
        unstage(&scene);
}

/* Returned while no daemon runs, whatever the call answers: it is free soon, and was returned once. */
Test(cache_kills, what_is_returned_while_the_daemon_is_away_is_returned) {
        struct scene scene;
        struct buddyclient_range ranges[40];
        stage(&scene);
        struct buddyclient *client = cached_patient(&scene, IMPATIENT_MS);
        cr_assert_eq(fill(client), 0);
        for (int each = 0; each < 40; each++)
                cr_assert_eq(buddyclient_alloc(client, 1, &ranges[each]), 0);
        scene_kill(&scene);
        release_in_vain(client, ranges, 1);
        release_in_vain(client, ranges + 1, 9);
        int result = buddyclient_release_many(client, ranges + 10, 10);
        cr_assert(result == 0 || result == -ENOTCONN, "%d", result);
        scene_start(&scene, "--size", POOL, NULL);
        for (int each = 20; each < 40; each++)
                cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
        for (int each = 0; each < 40; each++)
                cr_assert_eq(buddyclient_release(client, &ranges[each]), -ESTALE, "%d", each);
        struct buddyclient *taker = client_new(&scene);
        await_held(taker, 0);
        cr_assert_eq(take_all(taker), PAGES);
        buddyclient_destroy(taker);
        buddyclient_destroy(client);
        unstage(&scene);
}

Test(cache_kills, names_stay_good_and_bad_over_a_kill) {
        struct scene scene;
        struct buddyclient_range old[20], held[20];
        stage(&scene);
        struct buddyclient *client = cached_new(&scene), *other = cached_new(&scene);
        for (int each = 0; each < 20; each++)
                cr_assert_eq(buddyclient_alloc(client, 1, &old[each]), 0);
        for (int each = 0; each < 20; each++)
                cr_assert_eq(buddyclient_release(client, &old[each]), 0);
        for (int each = 0; each < 20; each++)
                cr_assert_eq(buddyclient_alloc(client, 1, &held[each]), 0);
        restart(&scene);
        for (int each = 0; each < 20; each++) {
                cr_assert_eq(buddyclient_attach(other, &old[each]), -ESTALE);
                cr_assert_eq(buddyclient_release(client, &old[each]), -ESTALE);
                cr_assert_eq(buddyclient_release(other, &held[each]), -ESTALE);
                cr_assert_eq(buddyclient_attach(other, &held[each]), 0, "held %d", each);
                cr_assert_eq(buddyclient_release(client, &held[each]), 0, "held %d", each);
                cr_assert_eq(buddyclient_release(client, &held[each]), -ESTALE);
                cr_assert_eq(buddyclient_release(other, &held[each]), 0);
        }
        buddyclient_destroy(client);
        buddyclient_destroy(other);
        unstage(&scene);
}

/* A hold that a peer took before the kill is one after it, too, and the owner's release still goes by the daemon. */
Test(cache_kills, what_was_shared_before_a_kill_is_not_cached_after_it) {
        struct scene scene;
        struct buddyclient_range ranges[3], found;
        stage(&scene);
        struct buddyclient *client = cached_new(&scene), *other = cached_new(&scene);
        for (int each = 0; each < 3; each++)
                cr_assert_eq(buddyclient_alloc(client, 1, &ranges[each]), 0);
        cr_assert_eq(buddyclient_attach(other, &ranges[0]), 0);
        cr_assert_eq(buddyclient_publish(client, "key", &ranges[1]), 0);
        cr_assert_eq(buddyclient_attach(client, &ranges[2]), 0);
        restart(&scene);
        for (int each = 0; each < 3; each++)
                cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
        cr_assert_eq(buddyclient_lookup(other, "key", &found), 0);
        expect_held(other, 3 * SCENE_PAGE);
        for (int each = 0; each < 3; each++)
                memset(buddyclient_pointer(other, &ranges[each]), 66, SCENE_PAGE);
        struct buddyclient *taker = client_new(&scene);
        cr_assert_eq(take_all(taker), PAGES - 3);
        for (int each = 0; each < 3; each++)
                cr_assert_eq(*(char *)buddyclient_pointer(other, &ranges[each]), 66);
        cr_assert_eq(buddyclient_release(other, &ranges[0]), 0);
        cr_assert_eq(buddyclient_release(other, &found), 0);
        cr_assert_eq(buddyclient_unpublish(client, "key"), 0);
        cr_assert_eq(buddyclient_release(client, &ranges[2]), 0);
        cr_assert_eq(buddyclient_release(client, &ranges[2]), -ESTALE);
        buddyclient_destroy(taker);
        buddyclient_destroy(client);
        buddyclient_destroy(other);
        unstage(&scene);
}

Test(cache_kills, a_sleepers_cache_is_free_after_a_restart) {
        struct scene scene;
        struct holder holder;
        stage(&scene);
        holder_start(&holder, &scene);
        process_stop(holder.process);
        for (int round = 0; round < 2; round++) {
                restart(&scene);
                struct buddyclient *taker = client_new(&scene);
                expect_held(taker, 20 * SCENE_PAGE);
                size_t taken = take_all(taker);
                cr_assert_eq(taken, PAGES - 20, "%lu pages", taken);
                expect_sound(&scene);
                if (round == 1) {
                        kill(holder.process, SIGCONT);
                        cr_assert_eq(holder_more(&holder), -ENOMEM);
                }
                buddyclient_destroy(taker);
        }
        cr_assert_eq(holder_more(&holder), 0);
        holder_end(&holder);
        unstage(&scene);
}

/* One that is awake and says nothing. */
Test(cache_kills, an_idle_clients_cache_is_free_after_a_restart) {
        struct scene scene;
        struct buddyclient_range all;
        stage(&scene);
        struct buddyclient *idle = cached_new(&scene);
        cr_assert_eq(fill(idle), 0);
        restart(&scene);
        struct buddyclient *taker = client_new(&scene);
        cr_assert_eq(
                buddyclient_alloc(taker, POOL_BYTES, &all), 0, "%s", buddyclient_detail(taker));
        cr_assert_eq(buddyclient_alloc(idle, 1, &all), -ENOMEM);
        buddyclient_destroy(taker);
        cr_assert_eq(fill(idle), 0);
        buddyclient_destroy(idle);
        unstage(&scene);
}

/* ---- Sessions ---- */

Test(cache_kills, an_ended_session_gets_nothing_out_of_its_cache) {
        struct scene scene;
        struct buddyclient_range held, range;
        scene_open(&scene);
        for (int how = 0; how < 2; how++) {
                scene_start(&scene, "--size", POOL, NULL);
                struct buddyclient *client = cached_patient(&scene, IMPATIENT_MS);
                cr_assert_eq(buddyclient_alloc(client, 1, &held), 0);
                cr_assert_eq(fill(client), 0);
                if (how == 0)
                        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
                else
                        scene_kill(&scene);
                scene_start(&scene, "--size", POOL, "--reset", NULL);
                for (int times = 0; times < 3; times++) {
                        cr_assert_eq(buddyclient_alloc(client, 1, &range), -ENOTCONN);
                        cr_assert_str_not_empty(buddyclient_detail(client));
                }
                cr_assert_eq(buddyclient_release(client, &held), -ENOTCONN);
                struct buddyclient *observer = client_new(&scene);
                expect_held(observer, 0);
                cr_assert_eq(stats_of(observer).cached_bytes, 0);
                buddyclient_destroy(observer);
                buddyclient_destroy(client);
                cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        }
        scene_start(&scene, "--size", POOL, NULL);
        unstage(&scene);
}

/* ---- Forks ---- */

Test(cache_kills, a_forked_child_has_no_cache) {
        struct scene scene;
        struct buddyclient_range held, range;
        stage(&scene);
        struct buddyclient *client = cached_new(&scene), *observer = client_new(&scene);
        cr_assert_eq(fill(client), 0);
        cr_assert_eq(buddyclient_alloc(client, 1, &held), 0);
        struct buddyclient_stats before = stats_of(observer);
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient_range many[4];
                if (buddyclient_alloc(client, 1, &range) != -ENOTCONN)
                        _exit(1);
                if (buddyclient_release(client, &held) != -ENOTCONN)
                        _exit(2);
                if (buddyclient_alloc_many(client, 1, 4, many) != -ENOTCONN)
                        _exit(3);
                if (buddyclient_alloc_wait(client, 1, 0, &range) != -ENOTCONN)
                        _exit(4);
                if (buddyclient_release_many(client, &held, 1) != -ENOTCONN)
                        _exit(5);
                buddyclient_destroy(client);
                _exit(0);
        }
        cr_assert_eq(process_wait(process), 0);
        struct buddyclient_stats after = stats_of(observer);
        cr_assert_eq(after.held_bytes, before.held_bytes);
        cr_assert_eq(after.cached_bytes, before.cached_bytes);
        for (int each = 0; each < 100; each++) {
                cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
                cr_assert_eq(buddyclient_release(client, &range), 0);
        }
        cr_assert_eq(buddyclient_release(client, &held), 0);
        cr_assert_gt(stats_of(observer).cache_hits_total, before.cache_hits_total);
        buddyclient_destroy(client);
        buddyclient_destroy(observer);
        unstage(&scene);
}

/* ---- Dying clients ---- */

Test(cache_kills, clients_killed_at_any_moment_leave_nothing) {
        struct scene scene;
        stage(&scene);
        struct buddyclient *observer = client_new(&scene);
        unsigned seed = 11;
        for (int round = 0; round < 40; round++) {
                int ready[2];
                cr_assert(pipe(ready) == 0);
                pid_t process = process_fork();
                if (process == 0) {
                        struct buddyclient *client = client_caching(&scene);
                        struct buddyclient_range ranges[64];
                        if (!client)
                                _exit(1);
                        for (uint64_t length = SCENE_PAGE;;
                                length = length < MIB / 2 ? length * 2 : SCENE_PAGE) {
                                byte_write(ready[1], 1);
                                for (int each = 0; each < 64; each++)
                                        if (buddyclient_alloc(client, length, &ranges[each]) != 0)
                                                _exit(2);
                                for (int each = 0; each < 64; each++)
                                        if (buddyclient_release(client, &ranges[each]) != 0)
                                                _exit(3);
                        }
                }
                for (int turns = rand_r(&seed) % 100; turns >= 0; turns--)
                        cr_assert_eq(byte_read(ready[0]), 1);
                cr_assert_eq(process_kill(process), -SIGKILL);
                close(ready[0]);
                close(ready[1]);
                if (round % 4 == 3)
                        expect_sound(&scene);
        }
        await_held(observer, 0);
        buddyclient_destroy(observer);
        unstage(&scene);
}

/* Killed while no daemon runs: the next one finds what was cached, too. */
Test(cache_kills, clients_and_daemon_killed_together_leave_nothing) {
        struct scene scene;
        stage(&scene);
        for (int round = 0; round < 6; round++) {
                struct holder dies, lives;
                holder_start(&dies, &scene);
                holder_start(&lives, &scene);
                if (round % 2)
                        process_stop(dies.process);
                scene_kill(&scene);
                process_kill(dies.process);
                scene_start(&scene, "--size", POOL, NULL);
                struct buddyclient *taker = client_new(&scene);
                await_held(taker, 20 * SCENE_PAGE);
                cr_assert_eq(take_all(taker), PAGES - 20);
                cr_assert_eq(holder_more(&lives), -ENOMEM);
                buddyclient_destroy(taker);
                holder_end(&lives);
        }
        unstage(&scene);
}

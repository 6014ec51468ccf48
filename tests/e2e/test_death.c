/* Clients that close, exit, crash, stop or linger: what they held comes back, and nothing else moves. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "outcome.h"
#include "tests/client/stretch.h"

TestSuite(death, .timeout = 60);

/* Holds count ranges in a process of its own; returns when it does. */
static pid_t holder_start(const struct scene *scene, uint64_t length, size_t count) {
        int ready[2];
        cr_assert(pipe(ready) == 0);
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient *client = client_try(scene);
                struct buddyclient_range range;
                for (size_t each = 0; each < count; each++)
                        if (!client || buddyclient_alloc(client, length, &range) != 0)
                                _exit(1);
                byte_write(ready[1], 1);
                for (;;)
                        pause();
        }
        close(ready[1]);
        cr_assert_eq(byte_read(ready[0]), 1, "the holder failed");
        close(ready[0]);
        return process;
}

Test(death, destroy_returns_everything_at_once) {
        struct scene scene;
        static struct buddyclient_range ranges[4096];
        scene_open(&scene);
        scene_start(&scene, "--size", "32M", NULL);
        struct buddyclient *observer = client_new(&scene);
        for (int round = 0; round < 10; round++) {
                struct buddyclient *client = client_new(&scene);
                cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 4096, ranges), 0);
                cr_assert_eq(buddyclient_alloc(client, 3 * MIB, ranges), 0);
                expect_held(observer, 20 * MIB);
                buddyclient_destroy(client);
                expect_held(observer, 0);
                cr_assert_eq(stats_of(observer).largest_free_bytes, 32 * MIB);
                cr_assert_eq(stats_of(observer).clients, 1);
        }
        buddyclient_destroy(observer);
        scene_close(&scene);
}

Test(death, kill_9_returns_everything) {
        struct scene scene;
        struct buddyclient_range mine;
        scene_open(&scene);
        scene_start(&scene, "--size", "32M", NULL);
        struct buddyclient *observer = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(observer, MIB, &mine), 0);
        for (int round = 0; round < 5; round++) {
                pid_t process = holder_start(&scene, 65536, 100);
                expect_held(observer, MIB + 6553600);
                process_kill(process);
                await_held(observer, MIB);
        }
        struct buddyclient_stats stats = stats_of(observer);
        cr_assert_eq(stats.clients, 1);
        cr_assert_eq(stats.reclaimed_bytes_total, 5 * 6553600);
        cr_assert_eq(buddyclient_release(observer, &mine), 0);
        cr_assert_eq(stats_of(observer).largest_free_bytes, 32 * MIB);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

Test(death, exit_without_a_word_returns_everything) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *observer = client_new(&scene);
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient *client = client_try(&scene);
                struct buddyclient_range range;
                _exit(!client || buddyclient_alloc(client, 65536, &range) != 0);
        }
        cr_assert_eq(process_wait(process), 0);
        await_held(observer, 0);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

Test(death, an_aborting_thread_ends_all) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *observer = client_new(&scene);
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient *client = client_try(&scene);
                struct buddyclient_range range;
                signal(SIGABRT, SIG_DFL);
                if (client && buddyclient_alloc(client, 65536, &range) == 0)
                        abort();
                _exit(1);
        }
        cr_assert_eq(process_wait(process), -SIGABRT);
        await_held(observer, 0);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

/* The socket stays open in the child for ever, so its end is no news of the parent's death. */
Test(death, a_forked_child_with_the_socket_does_not_keep_the_ranges) {
        struct scene scene;
        int ready[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *observer = client_new(&scene);
        cr_assert(pipe(ready) == 0);
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient *client = client_try(&scene);
                struct buddyclient_range range;
                if (!client || buddyclient_alloc(client, 65536, &range) != 0)
                        _exit(1);
                pid_t child = fork();
                if (child != 0) {
                        if (write(ready[1], &child, sizeof child) < 0)
                                _exit(2);
                }
                for (;;)
                        pause();
        }
        pid_t child = 0;
        cr_assert_eq(read(ready[0], &child, sizeof child), (ssize_t)sizeof child);
        expect_held(observer, 65536);
        process_kill(process);
        await_held(observer, 0);
        cr_assert_eq(kill(child, 0), 0, "the child is gone, and the test has shown nothing");
        cr_assert_eq(stats_of(observer).clients, 1);
        process_kill(child);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

/* And the other way round: a child's end is not its parent's. */
Test(death, a_childs_death_takes_nothing_of_its_parents) {
        struct scene scene;
        struct buddyclient_range held;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene), *observer = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 65536, &held), 0);
        for (int round = 0; round < 10; round++) {
                pid_t process = process_fork();
                if (process == 0)
                        raise(SIGKILL);
                cr_assert_eq(process_wait(process), -SIGKILL);
                expect_held(observer, 65536);
        }
        cr_assert_eq(buddyclient_release(client, &held), 0);
        buddyclient_destroy(client);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

Test(death, a_stopped_client_keeps_what_it_holds) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *observer = client_new(&scene);
        pid_t process = holder_start(&scene, 65536, 4);
        cr_assert_eq(kill(process, SIGSTOP), 0);
        siginfo_t info;
        cr_assert_eq(waitid(P_PID, (id_t)process, &info, WSTOPPED), 0);
        struct buddyclient_range range;
        unsigned taken = 0;
        while (buddyclient_alloc(observer, 65536, &range) == 0)
                taken++;
        cr_assert_eq(taken, 12, "%u of 12 blocks", taken);
        process_kill(process);
        await_held(observer, 12 * 65536);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

static void *alloc_until_gone(void *argument) {
        struct buddyclient_range range;
        while (buddyclient_alloc(argument, SCENE_PAGE, &range) == 0)
                ;
        return NULL;
}

/* Killed at any moment, in the middle of anything, over and over. */
Test(death, kills_in_the_middle_of_work_leak_nothing) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        struct buddyclient *observer = client_new(&scene);
        unsigned seed = 7;
        for (int round = 0; round < 40; round++) {
                int ready[2];
                cr_assert(pipe(ready) == 0);
                pid_t process = process_fork();
                if (process == 0) {
                        struct buddyclient *client = client_try(&scene);
                        struct buddyclient_range ranges[32];
                        if (!client)
                                _exit(1);
                        for (;;) {
                                byte_write(ready[1], 1);
                                if (buddyclient_alloc_many(client, SCENE_PAGE, 32, ranges) == 0)
                                        buddyclient_release_many(client, ranges, 31);
                                buddyclient_release(client, &ranges[31]);
                        }
                }
                for (int turns = rand_r(&seed) % 200; turns >= 0; turns--)
                        cr_assert_eq(byte_read(ready[0]), 1);
                process_kill(process);
                close(ready[0]);
                close(ready[1]);
        }
        await_held(observer, 0);
        cr_assert_eq(stats_of(observer).largest_free_bytes, 4 * MIB);
        cr_assert_eq(stats_of(observer).clients, 1);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

/* The daemon ends: calls answer, none hangs, none crashes the program. */
Test(death, a_daemons_death_is_an_answer) {
        struct scene scene;
        struct buddyclient *client = NULL;
        struct buddyclient_range range = {0}, held;
        scene_open(&scene);
        scene_start(&scene, "--size", "64M", NULL);
        cr_assert_eq(buddyclient_new(&client), 0);
        buddyclient_set_socket(client, scene.socket);
        buddyclient_set_pool(client, scene.pool);
        buddyclient_set_timeout_ms(client, IMPATIENT_MS);
        cr_assert_eq(buddyclient_connect(client), 0);
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &held), 0);
        pthread_t thread;
        pthread_create(&thread, NULL, alloc_until_gone, client);
        scene_kill(&scene);
        pthread_join(thread, NULL);
        uint64_t begin = now_ms();
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &range), -ENOTCONN);
        cr_assert_eq(buddyclient_release(client, &held), -ENOTCONN);
        cr_assert_lt(now_ms() - begin, 2 * IMPATIENT_MS + 4000);
        cr_assert_eq(range.length, 0);
        memset(buddyclient_pointer(client, &held), 1, held.length);
        buddyclient_destroy(client);
        scene_start(&scene, "--size", "64M", "--reset", NULL);
        scene_close(&scene);
}

/* A reply that comes after the client has given up must not leave its range in nobody's hands. */
Test(death, a_request_given_up_leaks_nothing) {
        struct scene scene;
        struct buddyclient *client = NULL;
        struct buddyclient_range range = {0};
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *observer = client_new(&scene);
        cr_assert_eq(buddyclient_new(&client), 0);
        buddyclient_set_socket(client, scene.socket);
        buddyclient_set_pool(client, scene.pool);
        buddyclient_set_cache_bytes(client, 0);
        buddyclient_set_timeout_ms(client, IMPATIENT_MS);
        cr_assert_eq(buddyclient_connect(client), 0);
        scene_freeze(&scene);
        uint64_t begin = now_ms();
        cr_assert_eq(buddyclient_alloc(client, 65536, &range), -ENOTCONN);
        uint64_t took = now_ms() - begin;
        cr_assert(took >= IMPATIENT_MS - 10 && took < IMPATIENT_MS + 1800,
                "a timeout of %d ms took %lu", IMPATIENT_MS, took);
        cr_assert_eq(range.length, 0);
        scene_thaw(&scene);
        buddyclient_stats(client, &stats);
        await_held(observer, 0);
        buddyclient_destroy(client);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

struct caller {
        struct buddyclient *client;
        const struct buddyclient_range *held;
        pthread_t thread;
};

/* NULL: both calls are told that nobody is there. */
static void *call_in_vain(void *argument) {
        struct caller *caller = argument;
        struct buddyclient_range range;
        bool told = buddyclient_alloc(caller->client, 1, &range) == -ENOTCONN &&
                    buddyclient_release(caller->client, caller->held) == -ENOTCONN;
        return told ? NULL : caller;
}

/* The library raises no signal: a program that has left SIGPIPE as it was lives on. */
Test(death, a_dead_daemon_raises_no_sigpipe) {
        struct scene scene;
        int ready[2], go[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        cr_assert(pipe(ready) == 0 && pipe(go) == 0);
        pid_t process = process_fork();
        if (process == 0) {
                signal(SIGPIPE, SIG_DFL);
                struct buddyclient *client = NULL;
                struct buddyclient_range held;
                if (buddyclient_new(&client) != 0)
                        _exit(1);
                buddyclient_set_socket(client, scene.socket);
                buddyclient_set_pool(client, scene.pool);
                buddyclient_set_timeout_ms(client, IMPATIENT_MS);
                if (buddyclient_connect(client) != 0 || buddyclient_alloc(client, 1, &held) != 0)
                        _exit(2);
                byte_write(ready[1], 1);
                byte_read(go[0]);
                struct caller callers[5];
                for (int each = 0; each < 5; each++) {
                        callers[each] = (struct caller){.client = client, .held = &held};
                        pthread_create(&callers[each].thread, NULL, call_in_vain, &callers[each]);
                }
                for (int each = 0; each < 5; each++) {
                        void *failed = NULL;
                        pthread_join(callers[each].thread, &failed);
                        if (failed)
                                _exit(3);
                }
                buddyclient_destroy(client);
                _exit(0);
        }
        cr_assert_eq(byte_read(ready[0]), 1);
        scene_kill(&scene);
        byte_write(go[1], 1);
        cr_assert_eq(process_wait(process), 0);
        scene_start(&scene, "--size", "1M", "--reset", NULL);
        scene_close(&scene);
}

static void signal_taken(int number) {
        (void)number;
}

/* A program's own signals interrupt no call, with or without SA_RESTART. */
Test(death, a_programs_signals_interrupt_nothing) {
        struct scene scene;
        struct buddyclient_range ranges[16];
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        struct sigaction action = {.sa_handler = signal_taken};
        sigaction(SIGALRM, &action, NULL);
        struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
        setitimer(ITIMER_REAL, &often, NULL);
        int worst = 0, waited = 0;
        for (int round = 0; round < 3000 && worst == 0; round++) {
                worst = buddyclient_alloc_many(client, SCENE_PAGE, 16, ranges);
                if (worst == 0)
                        worst = buddyclient_release_many(client, ranges, 16);
        }
        waited = buddyclient_alloc(client, MIB, &ranges[0]);
        uint64_t begin = now_ms();
        if (waited == 0)
                waited = buddyclient_alloc_wait(client, 1, 200, &ranges[1]);
        uint64_t took = now_ms() - begin;
        setitimer(ITIMER_REAL, &never, NULL);
        cr_assert_eq(worst, 0, "%d", worst);
        cr_assert_eq(waited, -ETIMEDOUT, "%d", waited);
        cr_assert(took >= 195 && took < 2000, "200 ms took %lu", took);
        buddyclient_destroy(client);
        scene_close(&scene);
}

static void *wait_without_end(void *argument) {
        struct buddyclient_range range;
        return (void *)(intptr_t)buddyclient_alloc_wait(argument, 1, -1, &range);
}

/* The daemon's clean end is not held up by those who wait, and they are told. */
Test(death, sigterm_ends_the_waits_of_all) {
        struct scene scene;
        struct buddyclient_range all;
        struct buddyclient *client = NULL;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *owner = client_with(&scene, 0, IMPATIENT_MS);
        cr_assert_eq(buddyclient_alloc(owner, MIB, &all), 0);
        cr_assert_eq(buddyclient_new(&client), 0);
        buddyclient_set_socket(client, scene.socket);
        buddyclient_set_pool(client, scene.pool);
        buddyclient_set_timeout_ms(client, IMPATIENT_MS);
        cr_assert_eq(buddyclient_connect(client), 0);
        pthread_t thread;
        pthread_create(&thread, NULL, wait_without_end, client);
        await_waiters(owner, 1);
        uint64_t begin = now_ms();
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        cr_assert_lt(now_ms() - begin, 3000);
        void *result = NULL;
        pthread_join(thread, &result);
        cr_assert_eq((intptr_t)result, -ENOTCONN);
        cr_assert_lt(now_ms() - begin, IMPATIENT_MS + 5500);
        memset(buddyclient_pointer(owner, &all), 1, MIB);
        buddyclient_destroy(client);
        buddyclient_destroy(owner);
        cr_assert_eq(scene_shm_count(&scene), 0);
}

/* Destroy keeps the timeout, too, when the daemon hangs. */
Test(death, destroy_does_not_hang_with_the_daemon) {
        struct scene scene;
        struct buddyclient *client = NULL;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        cr_assert_eq(buddyclient_new(&client), 0);
        buddyclient_set_socket(client, scene.socket);
        buddyclient_set_pool(client, scene.pool);
        buddyclient_set_timeout_ms(client, IMPATIENT_MS);
        cr_assert_eq(buddyclient_connect(client), 0);
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        scene_freeze(&scene);
        uint64_t begin = now_ms();
        buddyclient_destroy(client);
        cr_assert_lt(now_ms() - begin, IMPATIENT_MS + 2700);
        scene_thaw(&scene);
        struct buddyclient *observer = client_new(&scene);
        await_held(observer, 0);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

/* A process with 409,600 ranges; returns when it has them. */
static pid_t rich_start(const struct scene *scene) {
        static struct buddyclient_range ranges[4096];
        int ready[2];
        cr_assert(pipe(ready) == 0);
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient *rich = client_try(scene);
                for (int batch = 0; batch < 100; batch++)
                        if (!rich || buddyclient_alloc_many(rich, SCENE_PAGE, 4096, ranges) != 0)
                                _exit(1);
                byte_write(ready[1], 1);
                for (;;)
                        pause();
        }
        cr_assert_eq(byte_read(ready[0]), 1);
        return process;
}

/* What the longest pair took until nothing is held any more. */
static uint64_t longest_pair(struct buddyclient *client) {
        uint64_t longest = 0, deadline = now_ms() + PATIENCE_MS;
        for (uint64_t held = 1; held > 0;) {
                struct buddyclient_range range;
                struct stretch pair = stretch_begin();
                cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
                cr_assert_eq(buddyclient_release(client, &range), 0);
                uint64_t took = stretch_ms(&pair);
                longest = took > longest ? took : longest;
                held = stats_of(client).held_bytes;
                cr_assert_lt(now_ms(), deadline);
        }
        return longest;
}

/* Somebody with very many ranges dies, and the others' requests go on between. A busy machine may hold one up, but not each time. */
Test(death, a_rich_clients_death_holds_nobody_up) {
        const uint64_t bound = E2E_SANITIZED ? 600 : 150;
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "2G", "--commit", "lazy", "--workers", "1", NULL);
        struct buddyclient *client = client_new(&scene);
        uint64_t longest = bound;
        for (int tries = 0; tries < 3 && longest >= bound; tries++) {
                pid_t process = rich_start(&scene);
                expect_held(client, 409600 * SCENE_PAGE);
                process_kill(process);
                longest = longest_pair(client);
        }
        cr_log_info("longest pair during the reclaim of 409,600 ranges: %lu ms", longest);
        cr_assert_lt(longest, bound, "a pair took %lu ms", longest);
        cr_assert_eq(stats_of(client).largest_free_bytes, 2048 * MIB);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* One pool under many threads and processes: read-only clients, forked children, churn. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

TestSuite(processes, .timeout = 60);

static const struct buddyclient_range UNTOUCHED = {0x1111, 0x2222, 0x3333};

static void expect_untouched(const struct buddyclient_range *range) {
        cr_assert(memcmp(range, &UNTOUCHED, sizeof UNTOUCHED) == 0,
                "a refused call wrote its output");
}

Test(processes, read_only_neither_takes_nor_writes) {
        struct scene scene;
        struct buddyclient_range range = UNTOUCHED, held;
        struct buddyclient *reader = NULL;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *writer = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(writer, SCENE_PAGE, &held), 0);
        memcpy(buddyclient_pointer(writer, &held), "legible", 8);
        cr_assert_eq(buddyclient_new(&reader), 0);
        buddyclient_set_socket(reader, scene.socket);
        buddyclient_set_pool(reader, scene.pool);
        buddyclient_set_read_only(reader, true);
        cr_assert_eq(buddyclient_connect(reader), 0);
        cr_assert_eq(buddyclient_alloc(reader, 1, &range), -EACCES);
        cr_assert_eq(buddyclient_alloc_wait(reader, 1, 100, &range), -EACCES);
        cr_assert_eq(buddyclient_alloc_many(reader, 1, 1, &range), -EACCES);
        expect_untouched(&range);
        cr_assert_eq(buddyclient_release(reader, &held), -ESTALE);
        cr_assert_str_eq(buddyclient_pointer(reader, &held), "legible");
        pid_t process = process_fork();
        if (process == 0) {
                signal(SIGSEGV, SIG_DFL);
                *(volatile char *)buddyclient_pointer(reader, &held) = 1;
                _exit(0);
        }
        cr_assert_eq(process_wait(process), -SIGSEGV, "a read-only client can write");
        expect_held(writer, SCENE_PAGE);
        buddyclient_destroy(reader);
        buddyclient_destroy(writer);
        scene_close(&scene);
}

static int child_calls(struct buddyclient *client, struct buddyclient_range *held) {
        struct buddyclient_range range;
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        if (buddyclient_alloc(client, 1, &range) != -ENOTCONN)
                return 1;
        if (buddyclient_alloc_wait(client, 1, 100, &range) != -ENOTCONN)
                return 2;
        if (buddyclient_alloc_many(client, 1, 1, &range) != -ENOTCONN)
                return 3;
        if (buddyclient_release(client, held) != -ENOTCONN)
                return 4;
        if (buddyclient_release_many(client, held, 1) != -ENOTCONN)
                return 5;
        if (buddyclient_stats(client, &stats) != -ENOTCONN)
                return 6;
        buddyclient_destroy(client);
        return 0;
}

Test(processes, a_forked_child_has_no_connection) {
        struct scene scene;
        struct buddyclient_range held, more;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene), *observer = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &held), 0);
        strcpy(buddyclient_pointer(client, &held), "parent's");
        pid_t process = process_fork();
        if (process == 0)
                _exit(child_calls(client, &held));
        cr_assert_eq(process_wait(process), 0);
        expect_held(observer, SCENE_PAGE);
        cr_assert_str_eq(buddyclient_pointer(client, &held), "parent's");
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &more), 0);
        cr_assert_eq(buddyclient_release(client, &held), 0);
        cr_assert_eq(buddyclient_release(client, &more), 0);
        expect_held(observer, 0);
        buddyclient_destroy(client);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

/* A child makes a connection of its own, and its death takes nothing of the parent's. */
Test(processes, a_forked_child_can_connect_anew) {
        struct scene scene;
        struct buddyclient_range held;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &held), 0);
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient *own = client_try(&scene);
                struct buddyclient_range range;
                _exit(!own || buddyclient_alloc(own, 65536, &range) != 0);
        }
        cr_assert_eq(process_wait(process), 0);
        await_held(client, SCENE_PAGE);
        cr_assert_eq(buddyclient_release(client, &held), 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

struct worker {
        pthread_t thread;
        struct buddyclient *client;
        uint64_t stamp;
        unsigned faults;
};

/* Takes ranges of many sizes, marks each of their pages, and finds the marks intact before giving them back. */
static void *churn(void *argument) {
        struct worker *worker = argument;
        struct buddyclient_range held[8];
        bool live[8] = {false};
        unsigned seed = (unsigned)worker->stamp;
        for (int step = 0; step < 3000; step++) {
                unsigned slot = (unsigned)rand_r(&seed) % 8;
                struct buddyclient_range *range = &held[slot];
                if (!live[slot]) {
                        uint64_t length = SCENE_PAGE << ((unsigned)rand_r(&seed) % 5);
                        int result = buddyclient_alloc(worker->client, length, range);
                        worker->faults += result != 0 && result != -ENOMEM;
                        live[slot] = result == 0;
                } else {
                        char *bytes = buddyclient_pointer(worker->client, range);
                        for (uint64_t at = 0; at < range->length; at += SCENE_PAGE)
                                worker->faults +=
                                        *(uint64_t *)(void *)(bytes + at) != worker->stamp;
                        worker->faults += buddyclient_release(worker->client, range) != 0;
                        live[slot] = false;
                        continue;
                }
                char *bytes = buddyclient_pointer(worker->client, range);
                for (uint64_t at = 0; live[slot] && at < range->length; at += SCENE_PAGE)
                        *(uint64_t *)(void *)(bytes + at) = worker->stamp;
        }
        for (unsigned slot = 0; slot < 8; slot++)
                worker->faults +=
                        live[slot] && buddyclient_release(worker->client, &held[slot]) != 0;
        return NULL;
}

Test(processes, many_threads_share_one_connection) {
        struct scene scene;
        struct worker workers[8];
        scene_open(&scene);
        scene_start(&scene, "--size", "2M", NULL);
        struct buddyclient *client = client_new(&scene);
        for (unsigned each = 0; each < 8; each++) {
                workers[each] = (struct worker){.client = client, .stamp = each + 1};
                pthread_create(&workers[each].thread, NULL, churn, &workers[each]);
        }
        for (unsigned each = 0; each < 8; each++) {
                pthread_join(workers[each].thread, NULL);
                cr_expect_eq(workers[each].faults, 0, "thread %u: %u faults", each,
                        workers[each].faults);
        }
        expect_held(client, 0);
        cr_assert_eq(stats_of(client).largest_free_bytes, 2 * MIB);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(processes, figures_add_up_while_clients_churn) {
        struct scene scene;
        pid_t processes[4];
        scene_open(&scene);
        scene_start(&scene, "--size", "2M", "--workers", "3", NULL);
        struct buddyclient *observer = client_new(&scene);
        for (unsigned each = 0; each < 4; each++) {
                processes[each] = process_fork();
                if (processes[each] == 0) {
                        struct worker worker = {.client = client_try(&scene), .stamp = each + 100};
                        if (!worker.client)
                                _exit(1);
                        churn(&worker);
                        buddyclient_destroy(worker.client);
                        _exit(worker.faults ? 2 : 0);
                }
        }
        unsigned looks = 0;
        for (unsigned done = 0; done < 4;) {
                stats_of(observer);
                if (++looks % 64 == 0)
                        expect_sound(&scene);
                siginfo_t info = {0};
                waitid(P_PID, (id_t)processes[done], &info, WEXITED | WNOHANG | WNOWAIT);
                if (info.si_pid)
                        cr_assert_eq(process_wait(processes[done++]), 0);
        }
        cr_assert_gt(looks, 4);
        expect_held(observer, 0);
        cr_assert_eq(stats_of(observer).largest_free_bytes, 2 * MIB);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

Test(processes, the_library_leaves_no_descriptor_or_thread_behind) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct scene self = {.daemon = getpid()};
        buddyclient_destroy(client_new(&scene));
        size_t mine = scene_daemon_fds(&self), theirs = scene_daemon_fds(&scene);
        for (int round = 0; round < 50; round++) {
                struct buddyclient *client = client_new(&scene);
                struct buddyclient_range range;
                cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
                cr_assert(access("/proc/self/task", F_OK) == 0);
                buddyclient_destroy(client);
        }
        cr_assert_eq(scene_daemon_fds(&self), mine);
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (scene_daemon_fds(&scene) > theirs)
                cr_assert_lt(now_ms(), deadline, "%zu descriptors of the daemon, before %zu",
                        scene_daemon_fds(&scene), theirs);
        scene_close(&scene);
}

Test(processes, nothing_it_writes_into_the_segment_matters) {
        struct scene scene;
        struct buddyclient_range ranges[64];
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, 8192, 64, ranges), 0);
        for (int round = 0; round < 3; round++) {
                memset(buddyclient_base(client), round == 0 ? 0xff : round == 1 ? 0 : 0x55, MIB);
                expect_sound(&scene);
        }
        cr_assert_eq(buddyclient_release_many(client, ranges, 64), 0);
        cr_assert_eq(stats_of(client).largest_free_bytes, MIB);
        buddyclient_destroy(client);
        scene_close(&scene);
}

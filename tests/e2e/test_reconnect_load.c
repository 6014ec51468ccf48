/* Daemons that die again and again under load: what the clients count is what the daemon holds, to the page. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

TestSuite(reconnect_load, .timeout = 120);

#define SIZE  "4M"
#define PAGES 1024

static void stage(struct scene *scene) {
        scene_open(scene);
        scene_start(scene, "--size", SIZE, NULL);
}

static void crash(struct scene *scene) {
        scene_kill(scene);
        scene_start(scene, "--size", SIZE, NULL);
}

static void moment_pass(void) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* Nothing may be held any more. */
static void unstage(struct scene *scene, struct buddyclient *client) {
        expect_held(client, 0);
        cr_assert_eq(stats_of(client).largest_free_bytes, 4 * MIB, "not merged");
        buddyclient_destroy(client);
        scene_close(scene);
}

static struct buddyclient *client_of(const struct scene *scene, const char *name, int timeout_ms) {
        struct buddyclient *client = NULL;
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, scene->socket), 0);
        cr_assert_eq(buddyclient_set_pool(client, scene->pool), 0);
        cr_assert_eq(buddyclient_set_name(client, name), 0);
        cr_assert_eq(buddyclient_set_timeout_ms(client, timeout_ms), 0);
        cr_assert_eq(buddyclient_connect(client), 0);
        return client;
}

#define KEPT 32

struct worker {
        pthread_t thread;
        struct buddyclient *client;
        unsigned number, faults;
        int error; /* the first one that was not expected */
        uint64_t calls;
        atomic_bool *stop;
        struct buddyclient_range kept[KEPT];
        size_t count;
};

static bool answered(struct worker *worker, int result) {
        worker->calls++;
        if (result != 0 && result != -ENOMEM && result != -ETIMEDOUT) {
                worker->faults++;
                if (!worker->error)
                        worker->error = result;
        }
        return result == 0;
}

static void keep(struct worker *worker, size_t count) {
        for (size_t each = 0; each < count; each++) {
                uint64_t *first =
                        buddyclient_pointer(worker->client, &worker->kept[worker->count + each]);
                *first = worker->number;
        }
        worker->count += count;
}

static void return_last(struct worker *worker, size_t count) {
        struct buddyclient_range *ranges = &worker->kept[worker->count - count];
        for (size_t each = 0; each < count; each++) {
                const uint64_t *first = buddyclient_pointer(worker->client, &ranges[each]);
                worker->faults += *first != worker->number;
        }
        answered(worker, count == 1 ? buddyclient_release(worker->client, ranges)
                                    : buddyclient_release_many(worker->client, ranges, count));
        worker->count -= count;
}

static void share_last(struct worker *worker) {
        struct buddyclient_range *range = &worker->kept[worker->count - 1], found;
        char key[32];
        snprintf(key, sizeof key, "worker %u", worker->number);
        if (answered(worker, buddyclient_attach(worker->client, range)))
                answered(worker, buddyclient_release(worker->client, range));
        answered(worker, buddyclient_publish(worker->client, key, range));
        if (answered(worker, buddyclient_lookup(worker->client, key, &found)))
                answered(worker, buddyclient_release(worker->client, &found));
        answered(worker, buddyclient_unpublish(worker->client, key));
        answered(worker, buddyclient_give(worker->client, range, buddyclient_id(worker->client)));
}

static void *work(void *argument) {
        struct worker *worker = argument;
        unsigned seed = worker->number;
        while (!atomic_load(worker->stop)) {
                unsigned choice = (unsigned)rand_r(&seed) % 6;
                struct buddyclient_range *next = &worker->kept[worker->count];
                if (choice == 0 && worker->count < KEPT) {
                        if (answered(worker, buddyclient_alloc(worker->client, 5000, next)))
                                keep(worker, 1);
                } else if (choice == 1 && worker->count + 8 <= KEPT) {
                        if (answered(worker, buddyclient_alloc_many(worker->client, 1, 8, next)))
                                keep(worker, 8);
                } else if (choice == 2 && worker->count < KEPT) {
                        if (answered(worker, buddyclient_alloc_wait(worker->client, 1, 50, next)))
                                keep(worker, 1);
                } else if (choice == 3 && worker->count >= 4) {
                        return_last(worker, 4);
                } else if (choice == 4 && worker->count > 0) {
                        return_last(worker, 1);
                } else if (worker->count > 0) {
                        share_last(worker);
                }
        }
        return NULL;
}

/* What the threads hold by their own account is what the daemon says, and no page is there twice. */
static void expect_account(struct worker *workers, size_t count, struct buddyclient *observer) {
        unsigned char pages[PAGES] = {0};
        uint64_t held = 0;
        for (size_t each = 0; each < count; each++)
                for (size_t one = 0; one < workers[each].count; one++) {
                        struct buddyclient_range *range = &workers[each].kept[one];
                        held += range->length;
                        for (uint64_t at = 0; at < range->length; at += SCENE_PAGE)
                                cr_assert_not(pages[(range->offset + at) / SCENE_PAGE]++,
                                        "granted twice");
                }
        expect_held(observer, held);
}

Test(reconnect_load, nothing_is_lost_or_granted_twice_under_load) {
        struct scene scene;
        struct worker workers[4];
        atomic_bool stop = false;
        stage(&scene);
        struct buddyclient *observer = client_of(&scene, "observer", 20000);
        struct buddyclient *clients[2] = {
                client_of(&scene, "even", 20000), client_of(&scene, "odd", 20000)};
        for (unsigned each = 0; each < 4; each++) {
                workers[each] = (struct worker){
                        .client = clients[each % 2], .number = each + 1, .stop = &stop};
                pthread_create(&workers[each].thread, NULL, work, &workers[each]);
        }
        for (int round = 0; round < 60; round++) {
                for (int pause = 0; pause < 1 + round % 15; pause++)
                        moment_pass();
                crash(&scene);
        }
        atomic_store(&stop, true);
        uint64_t calls = 0;
        for (unsigned each = 0; each < 4; each++) {
                pthread_join(workers[each].thread, NULL);
                cr_expect_eq(workers[each].faults, 0, "thread %u: %u faults, the first %d", each,
                        workers[each].faults, workers[each].error);
                calls += workers[each].calls;
        }
        cr_assert_gt(calls, 1000, "only %lu calls", calls);
        expect_account(workers, 4, observer);
        expect_sound(&scene);
        for (unsigned each = 0; each < 4; each++)
                while (workers[each].count > 0)
                        return_last(&workers[each], 1);
        for (unsigned each = 0; each < 4; each++)
                cr_assert_eq(workers[each].faults, 0);
        buddyclient_destroy(clients[0]);
        buddyclient_destroy(clients[1]);
        unstage(&scene, observer);
}

/* Gives ranges to the peer as fast as it can, and tells it of each; ends when the pipe's other end says so. */
static int giver(const struct scene *scene, uint32_t peer, int out, int end) {
        struct buddyclient *client = client_of(scene, "giver", 20000);
        fd_set ends;
        for (uint64_t number = 1;; number++) {
                struct buddyclient_range range;
                struct timeval none = {0};
                FD_ZERO(&ends);
                FD_SET(end, &ends);
                if (select(end + 1, &ends, NULL, NULL, &none) > 0)
                        break;
                int result = buddyclient_alloc_wait(client, SCENE_PAGE, 20000, &range);
                if (result != 0)
                        return 10;
                *(uint64_t *)buddyclient_pointer(client, &range) = number;
                if ((result = buddyclient_give(client, &range, peer)) != 0)
                        return 11;
                if (write(out, &range, sizeof range) != sizeof range)
                        return 12;
        }
        buddyclient_destroy(client);
        return 0;
}

Test(reconnect_load, gifts_arrive_once) {
        struct scene scene;
        int given[2], end[2];
        stage(&scene);
        struct buddyclient *client = client_of(&scene, "taker", 20000);
        cr_assert(pipe(given) == 0 && pipe(end) == 0);
        pid_t process = process_fork();
        if (process == 0) {
                close(given[0]);
                close(end[1]);
                _exit(giver(&scene, buddyclient_id(client), given[1], end[0]));
        }
        close(given[1]);
        struct buddyclient_range range;
        uint64_t number = 0, last_crash = now_ms();
        for (int crashes = 0; read(given[0], &range, sizeof range) == sizeof range;) {
                number++;
                cr_assert_eq(*(uint64_t *)buddyclient_pointer(client, &range), number);
                int result = buddyclient_release(client, &range);
                cr_assert_eq(result, 0, "gift %lu: %d", number, result);
                if (crashes < 40 && now_ms() - last_crash > 5) {
                        crash(&scene);
                        last_crash = now_ms();
                        if (++crashes == 40)
                                byte_write(end[1], 'E');
                }
        }
        cr_assert_eq(process_wait(process), 0);
        cr_assert_gt(number, 40);
        await_held(client, 0);
        struct buddyclient *observer = client_new(&scene);
        buddyclient_destroy(client); /* with what it has cached */
        unstage(&scene, observer);
}

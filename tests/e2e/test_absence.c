/* Who is away while daemons come and go: a stopped client, a dead one, one that leaves, one whose patience ends, and
 * sessions that are gone for good. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

TestSuite(absence, .timeout = 120);

#define SIZE "4M"

static struct buddyclient *client_patient(const struct scene *scene, int timeout_ms) {
        struct buddyclient *client = NULL;
        if (buddyclient_new(&client) != 0)
                return NULL;
        if (buddyclient_set_socket(client, scene->socket) == 0 &&
                buddyclient_set_pool(client, scene->pool) == 0 &&
                buddyclient_set_timeout_ms(client, timeout_ms) == 0 &&
                buddyclient_connect(client) == 0)
                return client;
        buddyclient_destroy(client);
        return NULL;
}

static void stage(struct scene *scene) {
        scene_open(scene);
        scene_start(scene, "--size", SIZE, NULL);
}

/* Nothing may be held any more. */
static void unstage(struct scene *scene) {
        struct buddyclient *client = client_new(scene);
        await_held(client, 0);
        cr_assert_eq(stats_of(client).largest_free_bytes, 4 * MIB, "not merged");
        buddyclient_destroy(client);
        scene_close(scene);
}

/* A process that holds count pages; for each byte it reads it checks them, takes one more, and answers with a byte. */
struct holder {
        pid_t process;
        int orders[2], answers[2];
};

static int hold(const struct scene *scene, struct holder *holder, size_t count) {
        struct buddyclient_range ranges[64];
        struct buddyclient *client = client_patient(scene, IMPATIENT_MS);
        if (!client || buddyclient_alloc_many(client, 1, count, ranges) != 0)
                return 1;
        for (size_t each = 0; each < count; each++)
                memset(buddyclient_pointer(client, &ranges[each]), (int)each + 1, SCENE_PAGE);
        byte_write(holder->answers[1], 'H');
        int order;
        while ((order = byte_read(holder->orders[0])) == 'M') {
                for (size_t each = 0; each < count; each++) {
                        unsigned char *bytes = buddyclient_pointer(client, &ranges[each]);
                        if (bytes[0] != each + 1 || bytes[SCENE_PAGE - 1] != each + 1)
                                return 2;
                }
                if (buddyclient_alloc(client, 1, &ranges[count]) != 0)
                        return 3;
                count++;
                memset(buddyclient_pointer(client, &ranges[count - 1]), (int)count, SCENE_PAGE);
                byte_write(holder->answers[1], 'M');
        }
        if (buddyclient_release_many(client, ranges, count) != 0)
                return 4;
        buddyclient_destroy(client);
        return 0;
}

static void holder_start(struct holder *holder, const struct scene *scene, size_t count) {
        cr_assert(pipe(holder->orders) == 0 && pipe(holder->answers) == 0);
        holder->process = process_fork();
        if (holder->process == 0)
                _exit(hold(scene, holder, count));
        cr_assert_eq(byte_read(holder->answers[0]), 'H');
}

static void holder_more(struct holder *holder) {
        byte_write(holder->orders[1], 'M');
        cr_assert_eq(byte_read(holder->answers[0]), 'M', "the holder has ended");
}

static void holder_end(struct holder *holder) {
        byte_write(holder->orders[1], 'E');
        cr_assert_eq(process_wait(holder->process), 0);
}

static void process_stop(pid_t process) {
        siginfo_t info;
        cr_assert_eq(kill(process, SIGSTOP), 0);
        cr_assert_eq(waitid(P_PID, (id_t)process, &info, WSTOPPED), 0);
}

/* ---- Stopped ---- */

Test(absence, a_stopped_client_keeps_what_it_holds) {
        struct scene scene;
        struct holder holder;
        struct buddyclient_range range;
        stage(&scene);
        holder_start(&holder, &scene, 20);
        process_stop(holder.process);
        uint64_t begin = now_ms();
        for (int round = 0; round < 2; round++) {
                scene_kill(&scene);
                scene_start(&scene, "--size", SIZE, NULL);
                struct buddyclient *client = client_new(&scene);
                expect_held(client, 20 * SCENE_PAGE);
                while (buddyclient_alloc_wait(client, 1, 0, &range) == 0)
                        memset(buddyclient_pointer(client, &range), 0xee, SCENE_PAGE);
                expect_held(client, 4 * MIB);
                /* Longer than its timeout. */
                cr_assert_eq(buddyclient_alloc_wait(client, 1, IMPATIENT_MS, &range), -ETIMEDOUT);
                buddyclient_destroy(client);
        }
        cr_assert_gt(now_ms() - begin, 2 * IMPATIENT_MS - 200);
        kill(holder.process, SIGCONT);
        holder_more(&holder);
        expect_sound(&scene);
        holder_end(&holder);
        unstage(&scene);
}

Test(absence, a_client_killed_while_stopped_is_reclaimed) {
        struct scene scene;
        struct holder holder;
        stage(&scene);
        holder_start(&holder, &scene, 20);
        process_stop(holder.process);
        scene_kill(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        struct buddyclient *client = client_new(&scene);
        expect_held(client, 20 * SCENE_PAGE);
        process_kill(holder.process);
        await_held(client, 0);
        cr_assert_geq(stats_of(client).reclaimed_bytes_total, 20 * SCENE_PAGE);
        buddyclient_destroy(client);
        unstage(&scene);
}

Test(absence, who_dies_while_no_daemon_runs_is_reclaimed) {
        struct scene scene;
        struct holder dies, lives;
        stage(&scene);
        holder_start(&dies, &scene, 20);
        holder_start(&lives, &scene, 10);
        scene_kill(&scene);
        process_kill(dies.process);
        scene_start(&scene, "--size", SIZE, NULL);
        struct buddyclient *client = client_new(&scene);
        await_held(client, 10 * SCENE_PAGE);
        holder_more(&lives);
        expect_held(client, 11 * SCENE_PAGE);
        buddyclient_destroy(client);
        holder_end(&lives);
        unstage(&scene);
}

/* ---- Out of patience ---- */

Test(absence, no_daemon_for_longer_than_the_timeout) {
        struct scene scene;
        struct buddyclient_range ranges[10], more = {1, 2, 3}, untouched = more;
        stage(&scene);
        struct buddyclient *client = client_patient(&scene, IMPATIENT_MS);
        cr_assert_not_null(client);
        cr_assert_eq(buddyclient_alloc_many(client, 1, 10, ranges), 0);
        memset(buddyclient_pointer(client, &ranges[3]), 33, SCENE_PAGE);
        uint32_t id = buddyclient_id(client);
        scene_kill(&scene);
        for (int times = 0; times < 3; times++) {
                uint64_t begin = now_ms();
                cr_assert_eq(buddyclient_alloc(client, 1, &more), -ENOTCONN);
                uint64_t took = now_ms() - begin;
                cr_assert_lt(took, IMPATIENT_MS + 1200, "%lu ms", took);
                if (times == 0)
                        cr_assert_geq(took, IMPATIENT_MS - 20, "gave up after %lu ms", took);
                cr_assert_str_not_empty(buddyclient_detail(client));
        }
        cr_assert(memcmp(&more, &untouched, sizeof more) == 0, "a failed call wrote");
        uint64_t begin = now_ms();
        cr_assert_eq(buddyclient_alloc_wait(client, 1, -1, &more), -ENOTCONN);
        cr_assert_lt(now_ms() - begin, IMPATIENT_MS + 1200);
        cr_assert_eq(*(char *)buddyclient_pointer(client, &ranges[3]), 33);
        scene_start(&scene, "--size", SIZE, NULL);
        cr_assert_eq(buddyclient_alloc(client, 1, &more), 0);
        cr_assert_eq(buddyclient_id(client), id);
        expect_held(client, 11 * SCENE_PAGE);
        cr_assert_eq(*(char *)buddyclient_pointer(client, &ranges[3]), 33);
        cr_assert_eq(buddyclient_release(client, &more), 0);
        cr_assert_eq(buddyclient_release_many(client, ranges, 10), 0);
        expect_held(client, 0);
        buddyclient_destroy(client);
        unstage(&scene);
}

/* A release that could not be confirmed counts as returned; what a next daemon knows of it is made up for. */
Test(absence, an_unconfirmed_release_leaves_nothing_behind) {
        struct scene scene;
        struct buddyclient_range ranges[10], more;
        stage(&scene);
        struct buddyclient *client = client_patient(&scene, IMPATIENT_MS);
        cr_assert_not_null(client);
        cr_assert_eq(buddyclient_alloc_many(client, 1, 10, ranges), 0);
        scene_kill(&scene);
        cr_assert_eq(buddyclient_release(client, &ranges[0]), -ENOTCONN);
        cr_assert_eq(buddyclient_release_many(client, ranges + 1, 4), -ENOTCONN);
        scene_start(&scene, "--size", SIZE, NULL);
        cr_assert_eq(buddyclient_alloc(client, 1, &more), 0);
        await_held(client, 6 * SCENE_PAGE);
        cr_assert_eq(buddyclient_release(client, &more), 0);
        cr_assert_eq(buddyclient_release_many(client, ranges + 5, 5), 0);
        expect_held(client, 0);
        buddyclient_destroy(client);
        unstage(&scene);
}

/* ---- Leaving ---- */

static void *destroy(void *client) {
        buddyclient_destroy(client);
        return NULL;
}

Test(absence, destroying_while_the_daemon_is_away) {
        struct scene scene;
        struct buddyclient_range ranges[10];
        pthread_t thread;
        stage(&scene);
        struct buddyclient *client = client_patient(&scene, 10000);
        cr_assert_not_null(client);
        cr_assert_eq(buddyclient_alloc_many(client, 1, 10, ranges), 0);
        scene_kill(&scene);
        pthread_create(&thread, NULL, destroy, client);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        scene_start(&scene, "--size", SIZE, NULL);
        pthread_join(thread, NULL);
        client = client_new(&scene);
        expect_held(client, 0);
        buddyclient_destroy(client);
        unstage(&scene);
}

Test(absence, destroying_right_after_a_crash) {
        struct scene scene;
        struct buddyclient_range ranges[10];
        stage(&scene);
        struct buddyclient *client = client_patient(&scene, 10000);
        cr_assert_not_null(client);
        cr_assert_eq(buddyclient_alloc_many(client, 1, 10, ranges), 0);
        scene_kill(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        buddyclient_destroy(client);
        client = client_new(&scene);
        expect_held(client, 0);
        buddyclient_destroy(client);
        unstage(&scene);
}

Test(absence, destroy_does_not_wait_for_ever) {
        struct scene scene;
        stage(&scene);
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient_range range;
                struct buddyclient *client = client_patient(&scene, IMPATIENT_MS);
                if (!client || buddyclient_alloc(client, MIB, &range) != 0)
                        _exit(1);
                kill(scene.daemon, SIGKILL);
                uint64_t begin = now_ms();
                buddyclient_destroy(client);
                _exit(now_ms() - begin < IMPATIENT_MS + 1300 ? 0 : 2);
        }
        cr_assert_eq(process_wait(process), 0);
        cr_assert_eq(process_wait(scene.daemon), -SIGKILL);
        scene_start(&scene, "--size", SIZE, NULL);
        unstage(&scene);
}

/* ---- Gone for good ---- */

static void expect_gone(struct buddyclient *client, struct buddyclient_range *held, char byte) {
        struct buddyclient_range range;
        for (int times = 0; times < 2; times++) {
                cr_assert_eq(buddyclient_alloc(client, 1, &range), -ENOTCONN);
                cr_assert_str_not_empty(buddyclient_detail(client));
                cr_assert_eq(buddyclient_attach(client, held), -ENOTCONN);
                cr_assert_eq(*(char *)buddyclient_pointer(client, held), byte);
        }
}

Test(absence, a_pool_thrown_away_ends_its_sessions) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        for (int how = 0; how < 2; how++) {
                scene_start(&scene, "--size", SIZE, NULL);
                struct buddyclient *client = client_patient(&scene, IMPATIENT_MS);
                cr_assert_not_null(client);
                cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
                memset(buddyclient_pointer(client, &range), 44, SCENE_PAGE);
                if (how == 0)
                        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
                else
                        scene_kill(&scene);
                scene_start(&scene, "--size", SIZE, "--reset", NULL);
                expect_gone(client, &range, 44);
                struct buddyclient *observer = client_new(&scene);
                expect_held(observer, 0);
                buddyclient_destroy(observer);
                buddyclient_destroy(client);
                cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        }
        scene_start(&scene, "--size", SIZE, NULL);
        unstage(&scene);
}

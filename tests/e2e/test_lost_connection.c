/* Connections that end while client and daemon live: whoever says that it resumes keeps what it holds for as long as its process
 * lives, whichever side hung up and however long a call took. By hand, and with the library. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ticket.h"

TestSuite(lost_connection, .timeout = 120);

#define HOLDS 16

static struct ticket resuming(void) {
        return (struct ticket){.name = "by hand", .features = FEATURE_RESUMES};
}

static void expect_held_now(const struct scene *scene, uint64_t pages) {
        cr_assert_eq(scene_figure(scene, "held_bytes"), (int64_t)(pages * SCENE_PAGE));
}

static void await_held_pages(const struct scene *scene, uint64_t pages) {
        scene_await_figure(scene, "held_bytes", (int64_t)(pages * SCENE_PAGE));
}

/* ---- By hand ---- */

Test(lost_connection, is_not_the_end_of_a_process_that_lives) {
        struct scene scene;
        int ends[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        cr_assert_eq(pipe(ends), 0);
        pid_t process = process_fork();
        if (process == 0) {
                struct wire wire;
                struct ticket ticket = resuming();
                ticket_open(&wire, &scene, &ticket);
                wire_take(&wire, HOLDS, NULL);
                wire_close(&wire);
                byte_write(ends[1], 1);
                for (;;)
                        pause();
        }
        cr_assert_eq(byte_read(ends[0]), 1);
        scene_await_figure(&scene, "orphans", 1);
        cr_assert_eq(scene_figure(&scene, "clients"), 0);
        expect_held_now(&scene, HOLDS);
        process_kill(process);
        scene_await_figure(&scene, "orphans", 0);
        await_held_pages(&scene, 0);
        close(ends[0]);
        close(ends[1]);
        scene_close(&scene);
}

/* Also before the daemon has seen the end of the connection before. */
Test(lost_connection, is_made_up_for_by_any_worker_over_and_over) {
        struct scene scene;
        struct wire wire;
        struct ticket ticket = resuming();
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--workers", "3", NULL);
        ticket_open(&wire, &scene, &ticket);
        wire_take(&wire, HOLDS, NULL);
        for (unsigned round = 0; round < 12; round++) {
                wire_close(&wire);
                if (round % 2 == 0)
                        scene_await_figure(&scene, "orphans", 1);
                ticket_resume(&wire, &scene, &ticket);
                cr_assert_eq(wire_holds(&wire, ticket.session), HOLDS);
                cr_assert_eq(scene_figure(&scene, "orphans"), 0);
                cr_assert_eq(scene_figure(&scene, "clients"), 1);
        }
        expect_sound(&scene);
        struct reply reply;
        wire_request(&wire, (struct request){.kind = REQUEST_GOODBYE});
        cr_assert(wire_reply(&wire, &reply) && reply.kind == REPLY_DONE);
        wire_close(&wire);
        expect_held_now(&scene, 0);
        ticket_refused(&scene, &ticket, STATUS_NOT_FOUND);
        scene_close(&scene);
}

Test(lost_connection, ends_what_would_not_come_back) {
        struct scene scene;
        struct wire wire;
        struct ticket once = {.name = "once"}, unheard = resuming();
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        ticket_open(&wire, &scene, &once);
        wire_take(&wire, HOLDS, NULL);
        wire_close(&wire);
        await_held_pages(&scene, 0);
        ticket_refused(&scene, &once, STATUS_NOT_FOUND);

        ticket_open_unheard(&wire, &scene, &unheard);
        wire_close(&wire);
        scene_await_figure(&scene, "clients", 0);
        cr_assert_eq(scene_figure(&scene, "orphans"), 0);
        ticket_refused(&scene, &unheard, STATUS_NOT_FOUND);
        scene_close(&scene);
}

/* What it asked for before it hung up is done, as with any. */
Test(lost_connection, does_not_undo_what_was_asked) {
        struct scene scene;
        struct wire wire;
        struct ticket ticket = resuming();
        struct message_range ranges[HOLDS];
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        ticket_open(&wire, &scene, &ticket);
        wire_take(&wire, HOLDS, ranges);
        uint64_t place = ranges[0].offset;
        uint32_t generation = (uint32_t)ranges[0].generation;
        struct request release = {.kind = REQUEST_RELEASE};
        release.release.ranges = (struct message_ranges){&place, &generation, 1};
        uint64_t id = wire_request(&wire, release);
        wire_close(&wire);
        struct message_done done = ticket_resume(&wire, &scene, &ticket);
        cr_assert(done.request == id || wire_holds(&wire, ticket.session) == HOLDS);
        await_held_pages(&scene, done.request == id ? HOLDS - 1 : HOLDS);
        wire_request(&wire, (struct request){.kind = REQUEST_GOODBYE});
        struct reply reply;
        cr_assert(wire_reply(&wire, &reply) && reply.kind == REPLY_DONE);
        wire_close(&wire);
        scene_close(&scene);
}

/* As it looks when a process is stopped: in the middle of a request, and with replies that it does not read. */
Test(lost_connection, of_who_is_too_slow_leaves_what_it_holds) {
        struct scene scene;
        struct wire half, deaf;
        struct ticket slow = resuming(), silent = resuming();
        scene_open(&scene);
        scene_start(&scene, "--size", "32M", NULL);
        ticket_open(&half, &scene, &slow);
        ticket_open(&deaf, &scene, &silent);
        wire_take(&half, HOLDS, NULL);
        wire_take(&deaf, 1024, NULL);
        wire_send(&half, "\x10\0\0\0\x08", 5);
        for (unsigned round = 0; round < 64; round++)
                wire_request(&deaf, (struct request){.kind = REQUEST_HOLDS,
                                            .holds = {.session = silent.session}});
        scene_await_line(&scene, "it sent half a request");
        scene_await_line(&scene, "it does not read its replies");
        scene_await_figure(&scene, "orphans", 2);
        wire_close(&half);
        wire_close(&deaf);
        ticket_resume(&half, &scene, &slow);
        ticket_resume(&deaf, &scene, &silent);
        cr_assert_eq(wire_holds(&half, slow.session), HOLDS);
        cr_assert_eq(wire_holds(&deaf, silent.session), 1024);
        struct reply reply;
        wire_request(&half, (struct request){.kind = REQUEST_GOODBYE});
        wire_request(&deaf, (struct request){.kind = REQUEST_GOODBYE});
        cr_assert(wire_reply(&half, &reply) && reply.kind == REPLY_DONE);
        cr_assert(wire_reply(&deaf, &reply) && reply.kind == REPLY_DONE);
        wire_close(&half);
        wire_close(&deaf);
        scene_close(&scene);
}

/* ---- With the library ---- */

static struct buddyclient *patient_for(const struct scene *scene, int timeout_ms) {
        struct buddyclient *client = NULL;
        if (buddyclient_new(&client) == 0 && buddyclient_set_socket(client, scene->socket) == 0 &&
                buddyclient_set_pool(client, scene->pool) == 0 &&
                buddyclient_set_cache_bytes(client, 0) == 0 &&
                buddyclient_set_timeout_ms(client, timeout_ms) == 0 &&
                buddyclient_connect(client) == 0)
                return client;
        buddyclient_destroy(client);
        return NULL;
}

static void expect_own(struct buddyclient *client, const struct buddyclient_range *range) {
        cr_assert_str_eq(buddyclient_pointer(client, range), "mine");
        int result = buddyclient_release(client, range);
        cr_assert_eq(result, 0, "%d: %s", result, buddyclient_detail(client));
}

static struct buddyclient_range take_own(struct buddyclient *client) {
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &range), 0);
        strcpy(buddyclient_pointer(client, &range), "mine");
        return range;
}

/* The daemon reads the hello of a client that has given up waiting for the welcome, and hangs up before it says another. */
Test(lost_connection, a_resume_may_take_longer_than_a_call) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--workers", "1", NULL);
        struct buddyclient *client = patient_for(&scene, IMPATIENT_MS);
        cr_assert_not_null(client);
        struct buddyclient_range range = take_own(client);
        for (unsigned round = 0; round < 2; round++) {
                scene_kill(&scene);
                scene_start(&scene, "--size", "4M", "--workers", "1", NULL);
                scene_freeze(&scene);
                cr_assert_eq(buddyclient_publish(client, "key", &range), -ENOTCONN);
                scene_thaw(&scene);
                scene_await_line(&scene, "resumed");
                cr_assert_eq(scene_figure(&scene, "clients"), 1);
        }
        expect_own(client, &range);
        buddyclient_destroy(client);
        expect_held_now(&scene, 0);
        scene_close(&scene);
}

#define BATCHES 12

struct returner {
        struct buddyclient *client;
        struct buddyclient_range batch[4096];
        pthread_t thread;
        int result;
        bool untaken; /* rather than unanswered */
};

static void *give_back(void *argument) {
        struct returner *returner = argument;
        returner->result = buddyclient_release_many(returner->client, returner->batch, 4096);
        returner->untaken = strcmp(buddyclient_detail(returner->client),
                                    "the daemon does not take requests") == 0;
        return NULL;
}

/* Requests go unanswered until one is sent in part, which is in the way of those beside it and of one that comes after. */
Test(lost_connection, a_daemon_that_stood_still_takes_nothing) {
        static struct returner returners[BATCHES];
        struct scene scene;
        unsigned answerless = 0;
        scene_open(&scene);
        scene_start(&scene, "--size", "256M", "--commit", "lazy", "--workers", "1", NULL);
        struct buddyclient *client = patient_for(&scene, IMPATIENT_MS), *other = client_new(&scene);
        struct buddyclient_range range = take_own(client), fresh;
        for (unsigned each = 0; each < BATCHES; each++) {
                returners[each].client = client;
                cr_assert_eq(
                        buddyclient_alloc_many(client, SCENE_PAGE, 4096, returners[each].batch), 0);
        }
        scene_freeze(&scene);
        for (unsigned each = 1; each < BATCHES; each++)
                cr_assert_eq(
                        pthread_create(&returners[each].thread, NULL, give_back, &returners[each]),
                        0);
        for (unsigned each = 1; each < BATCHES; each++)
                pthread_join(returners[each].thread, NULL);
        give_back(&returners[0]);
        scene_thaw(&scene);
        for (unsigned each = 0; each < BATCHES; each++) {
                cr_assert_eq(returners[each].result, -ENOTCONN);
                answerless += !returners[each].untaken;
        }
        cr_assert(returners[0].untaken, "the socket took all");
        cr_assert_geq(answerless, 1);
        cr_assert_eq(buddyclient_alloc(other, SCENE_PAGE, &fresh), 0);
        cr_assert_neq(fresh.offset, range.offset);
        expect_own(client, &range);
        await_held(other, SCENE_PAGE); /* the batches went back as well */
        cr_assert_eq(buddyclient_release(other, &fresh), 0);
        buddyclient_destroy(client);
        buddyclient_destroy(other);
        scene_close(&scene);
}

/* ---- A process that is stopped ---- */

#define THREADS 12

struct crowd {
        struct buddyclient *client;
        _Atomic unsigned begun, done;
};

static void *take_many(void *argument) {
        struct crowd *crowd = argument;
        struct buddyclient_range *ranges = calloc(4096, sizeof *ranges);
        atomic_fetch_add(&crowd->begun, 1);
        if (ranges && buddyclient_alloc_many(crowd->client, SCENE_PAGE, 4096, ranges) == 0 &&
                buddyclient_release_many(crowd->client, ranges, 4096) == 0)
                atomic_fetch_add(&crowd->done, 1);
        free(ranges);
        return NULL;
}

/* Says when it holds something, waits to be told, says when all threads are about to ask; true if all goes well for all. */
static bool crowd_run(const struct scene *scene, int told, int say) {
        struct crowd crowd = {.client = patient_for(scene, -1)};
        struct buddyclient_range range;
        pthread_t threads[THREADS];
        if (!crowd.client || buddyclient_alloc(crowd.client, SCENE_PAGE, &range) != 0)
                return false;
        byte_write(say, 1);
        if (byte_read(told) != 1)
                return false;
        for (unsigned each = 0; each < THREADS; each++)
                if (pthread_create(&threads[each], NULL, take_many, &crowd) != 0)
                        return false;
        while (atomic_load(&crowd.begun) < THREADS)
                sched_yield();
        byte_write(say, 1);
        for (unsigned each = 0; each < THREADS; each++)
                pthread_join(threads[each], NULL);
        return atomic_load(&crowd.done) == THREADS &&
               buddyclient_release(crowd.client, &range) == 0;
}

/* How many of its threads sleep. */
static unsigned threads_asleep(pid_t process) {
        char command[64], line[512];
        unsigned asleep = 0;
        snprintf(command, sizeof command, "cat /proc/%d/task/*/stat", (int)process);
        FILE *lines = popen(command, "re");
        cr_assert_not_null(lines);
        while (fgets(line, sizeof line, lines))
                asleep += strncmp(strrchr(line, ')'), ") S", 3) == 0;
        pclose(lines);
        return asleep;
}

static void await_asleep(pid_t process, unsigned threads) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (threads_asleep(process) < threads)
                cr_assert_lt(now_ms(), deadline, "its threads do not sleep");
}

Test(lost_connection, a_stopped_client_goes_on_where_it_was) {
        struct scene scene;
        int tell[2], hear[2], status;
        scene_open(&scene);
        scene_start(&scene, "--size", "256M", "--commit", "lazy", NULL);
        cr_assert(pipe(tell) == 0 && pipe(hear) == 0);
        pid_t process = process_fork();
        if (process == 0)
                _exit(crowd_run(&scene, tell[0], hear[1]) ? 0 : 1);
        cr_assert_eq(byte_read(hear[0]), 1);
        scene_freeze(&scene);
        byte_write(tell[1], 1);
        cr_assert_eq(byte_read(hear[0]), 1);
        await_asleep(process, THREADS + 1); /* all requests are sent */
        kill(process, SIGSTOP);
        cr_assert_eq(waitpid(process, &status, WUNTRACED), process);
        cr_assert(WIFSTOPPED(status));
        scene_thaw(&scene);
        scene_await_line(&scene, "it does not read its replies");
        scene_await_figure(&scene, "orphans", 1);
        kill(process, SIGCONT);
        cr_assert_eq(process_wait(process), 0);
        await_held_pages(&scene, 0);
        close(tell[0]);
        close(tell[1]);
        close(hear[0]);
        close(hear[1]);
        scene_close(&scene);
}

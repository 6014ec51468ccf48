/* Getting a lost connection back: by whom, for how long, and what is final. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/buddyclient.h"
#include "peer.h"

#define PAGE    4096ull
#define THREADS 8
#define AWAY_MS 1000 /* that calls wait for a daemon that is away */

static int64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static size_t open_files(void) {
        DIR *folder = opendir("/proc/self/fd");
        size_t count = 0;
        while (readdir(folder))
                count++;
        closedir(folder);
        return count;
}

/* How often the script has been played. In the peer. */
static int connections;

/* A daemon that comes back when this file is there. */
static char comes_back_path[64];

/* The first connection, which breaks off under the first request. */
static bool was_first(int fd) {
        if (connections++ > 0)
                return false;
        peer_greet(fd);
        peer_read(fd);
        return true;
}

/* Welcomes back a session that holds nothing; its first request but for what it holds. */
static const struct request *welcome_back(int fd) {
        peer_expect_hello_again(fd);
        const struct request *request = peer_read(fd);
        if (request->kind != REQUEST_HOLDS)
                return request;
        struct reply reply = {.id = request->id, .kind = REPLY_HOLDS};
        peer_send(fd, &reply, NULL, 0);
        return peer_read(fd);
}

static void refuse(int fd, uint64_t id, enum status status, const char *detail) {
        struct reply reply = {.id = id, .kind = REPLY_REFUSED, .refused = {status, detail}};
        peer_send(fd, &reply, NULL, 0);
        peer_wait_close(fd);
}

/* ---- What is final ---- */

/* The first call ends with the error, and the next one with -ENOTCONN at once. */
static void expect_final(peer_script *script, int error, const char *reason) {
        struct peer peer = peer_start(script);
        struct buddyclient *client = peer_connected(&peer, 20000);
        struct buddyclient_range range;
        size_t files = open_files();
        int64_t before = now_ms();
        cr_assert_eq(buddyclient_alloc(client, PAGE, &range), error);
        cr_assert_not_null(
                strstr(buddyclient_detail(client), reason), "%s", buddyclient_detail(client));
        cr_assert_eq(buddyclient_alloc(client, PAGE, &range), -ENOTCONN);
        cr_assert_not_null(
                strstr(buddyclient_detail(client), reason), "%s", buddyclient_detail(client));
        memset(buddyclient_base(client), 1, PAGE);
        cr_assert_eq(open_files(), files);
        buddyclient_destroy(client);
        cr_assert_lt(now_ms() - before, 5000);
        peer_stop(&peer);
}

static void knows_no_session(int fd) {
        if (!was_first(fd))
                refuse(fd, peer_read(fd)->id, STATUS_NOT_FOUND, "session 7 is gone");
}

static void admits_nobody(int fd) {
        if (!was_first(fd))
                refuse(fd, peer_read(fd)->id, STATUS_DENIED, "not yours");
}

static void opens_another_session(int fd) {
        peer_greet(fd);
        if (connections++ == 0)
                peer_read(fd);
        else
                peer_wait_close(fd);
}

static void has_another_segment(int fd) {
        if (was_first(fd))
                return;
        int segment = peer_segment(1 << 20);
        struct reply reply = peer_welcome(peer_read(fd)->id);
        reply.welcome.resumed = true;
        peer_send(fd, &reply, &segment, 1);
        peer_wait_close(fd);
}

static void lists_what_cannot_be(int fd) {
        if (was_first(fd))
                return;
        struct reply_hold hold = {.range = {PAGE, 3 * PAGE, 1}, .session = 7};
        peer_granted = 1;
        peer_expect_hello_again(fd);
        peer_expect_holds(fd, &hold, 1);
        peer_wait_close(fd);
}

static void answers_with_garbage(int fd) {
        if (connections++ == 0)
                peer_greet(fd);
        peer_read(fd);
        if (connections > 1)
                peer_send_bytes(fd, "\x04\0\0\0\xff\xff\xff\xff", 8), peer_wait_close(fd);
}

#define FINAL(name, error, reason)                                                                 \
        Test(resume, name) {                                                                       \
                expect_final(name, error, reason);                                                 \
        }

FINAL(knows_no_session, -ENOTCONN, "session 7 is gone")
FINAL(admits_nobody, -EACCES, "not yours")
FINAL(opens_another_session, -ENOTCONN, "another")
FINAL(has_another_segment, -ENOTCONN, "another")
FINAL(lists_what_cannot_be, -EPROTO, "protocol")
FINAL(answers_with_garbage, -EPROTO, "protocol")

/* ---- What is worth another try ---- */

/* Breaks off at every step there is, once each, and serves after that. */
static void breaks_off_everywhere(int fd) {
        peer_granted = connections < 8; /* has it ask for what is held */
        switch (connections++) {
        case 0:
                peer_greet(fd), peer_read(fd);
                return;
        case 1:
                return;
        case 2:
                peer_read(fd);
                return;
        case 3:
                refuse(fd, peer_read(fd)->id, STATUS_BUSY, "starting");
                return;
        case 4:
                refuse(fd, peer_read(fd)->id, STATUS_NOT_CONNECTED, "going away");
                return;
        case 5:
                peer_expect_hello_again(fd);
                return;
        case 6:
                peer_expect_hello_again(fd);
                peer_read(fd);
                return;
        case 7:
                peer_expect_hello_again(fd);
                refuse(fd, peer_read(fd)->id, STATUS_BUSY, "starting");
                return;
        case 8:
                welcome_back(fd);
                return;
        case 9: /* the daemon says itself that it does not do it */
                refuse(fd, welcome_back(fd)->id, STATUS_NOT_CONNECTED, "going away");
                return;
        case 10: {
                struct reply last = {
                        .kind = REPLY_REFUSED, .refused = {STATUS_NOT_CONNECTED, "going away"}};
                welcome_back(fd);
                peer_send(fd, &last, NULL, 0);
                peer_wait_close(fd);
                return;
        }
        default:
                peer_send_range(fd, welcome_back(fd)->id, 3 * PAGE, 1);
                peer_part(fd);
        }
}

Test(resume, tries_until_it_succeeds) {
        struct peer peer = peer_start(breaks_off_everywhere);
        struct buddyclient *client = peer_connected(&peer, 20000);
        size_t files = open_files();
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, PAGE, &range), 0, "%s", buddyclient_detail(client));
        cr_assert_eq(range.offset, 3 * PAGE);
        cr_assert_eq(open_files(), files);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* ---- For how long ---- */

/* A daemon that is away: every call and the end take their own time, and little of the CPU's. */
static void expect_patience(struct buddyclient *client) {
        struct buddyclient_range range = {.offset = 1};
        struct timespec cpu;
        for (int i = 0; i < 3; i++) {
                int64_t before = now_ms();
                cr_assert_eq(buddyclient_alloc(client, PAGE, &range), -ENOTCONN);
                int64_t took = now_ms() - before;
                cr_assert(
                        took >= AWAY_MS - 10 && took < AWAY_MS + 1200, "%lld ms", (long long)took);
                cr_assert_str_neq(buddyclient_detail(client), "");
        }
        int64_t before = now_ms();
        buddyclient_destroy(client);
        cr_assert_lt(now_ms() - before, AWAY_MS + 1200);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
        cr_assert(cpu.tv_sec == 0 && cpu.tv_nsec < 500000000, "%ld ns", cpu.tv_nsec);
}

static void greets_and_goes(int fd) {
        was_first(fd);
}

Test(resume, gives_up_in_time_when_nobody_listens) {
        struct peer peer = peer_start(greets_and_goes);
        struct buddyclient *client = peer_connected(&peer, AWAY_MS);
        peer_stop(&peer);
        expect_patience(client);
}

Test(resume, gives_up_in_time_when_every_connection_breaks) {
        struct peer peer = peer_start(greets_and_goes);
        struct buddyclient *client = peer_connected(&peer, AWAY_MS);
        expect_patience(client);
        peer_stop(&peer);
}

static void greets_and_then_is_silent(int fd) {
        if (!was_first(fd))
                peer_wait_close(fd);
}

Test(resume, gives_up_in_time_when_nobody_answers) {
        struct peer peer = peer_start(greets_and_then_is_silent);
        struct buddyclient *client = peer_connected(&peer, AWAY_MS);
        expect_patience(client);
        peer_stop(&peer);
}

/* A request that always ends the daemon. */
static void dies_of_it(int fd) {
        if (connections++ == 0)
                peer_greet(fd);
        else
                peer_expect_hello_again(fd);
        char byte; /* who gives up asks for nothing more */
        if (read(fd, &byte, 1) < 1)
                return;
}

Test(resume, gives_up_a_request_that_ends_the_daemon_again_and_again) {
        struct peer peer = peer_start(dies_of_it);
        struct buddyclient *client = peer_connected(&peer, AWAY_MS);
        expect_patience(client);
        peer_stop(&peer);
}

/* A wait goes on with the time that is left of it. */
static void lets_wait_in_two_parts(int fd) {
        if (connections++ == 0) {
                peer_greet(fd);
                peer_need(peer_read(fd)->alloc.timeout_ms == 10000);
                poll(NULL, 0, 200);
                return;
        }
        const struct request *request = welcome_back(fd);
        peer_need(request->alloc.waited_ms >= 200 && request->alloc.wait &&
                  request->alloc.timeout_ms > 5000 && request->alloc.timeout_ms <= 9800);
        peer_send_range(fd, request->id, PAGE, 1);
        peer_part(fd);
}

Test(resume, a_wait_goes_on) {
        struct peer peer = peer_start(lets_wait_in_two_parts);
        struct buddyclient *client = peer_connected(&peer, 20000);
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc_wait(client, PAGE, 10000, &range), 0);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* ---- Many threads ---- */

/* Each asks for a length of its own; even ones were granted when the connection broke. */
static void breaks_off_under_all(int fd) {
        if (connections++ == 0) {
                peer_greet(fd);
                for (int i = 0; i < THREADS; i++)
                        peer_read(fd);
                return;
        }
        struct reply_hold holds[THREADS / 2];
        for (unsigned i = 0; i < THREADS / 2; i++)
                holds[i] = (struct reply_hold){.range = {(100 + i) * PAGE, PAGE, 1}, .session = 7};
        peer_need(connections == 2);
        peer_granted = THREADS / 2;
        peer_expect_hello_again(fd);
        peer_expect_holds(fd, holds, THREADS / 2);
        const struct request *owed = peer_read(fd);
        peer_need(owed->kind == REQUEST_RELEASE && owed->release.ranges.count == THREADS / 2);
        for (int i = 0; i < THREADS; i++) {
                const struct request *request = peer_read(fd);
                peer_send_range(fd, request->id, request->alloc.length * PAGE, 1);
        }
        peer_part(fd);
}

struct asker {
        struct buddyclient *client;
        uint64_t length;
        struct buddyclient_range range;
        int rc;
};

static void *ask(void *context) {
        struct asker *asker = context;
        asker->rc = buddyclient_alloc(asker->client, asker->length, &asker->range);
        return NULL;
}

static void ask_all(struct buddyclient *client, struct asker askers[THREADS]) {
        pthread_t threads[THREADS];
        for (unsigned i = 0; i < THREADS; i++) {
                askers[i] = (struct asker){.client = client, .length = i + 1};
                cr_assert_eq(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
}

Test(resume, every_thread_gets_its_own_answer) {
        struct peer peer = peer_start(breaks_off_under_all);
        struct buddyclient *client = peer_connected(&peer, 20000);
        struct asker askers[THREADS];
        ask_all(client, askers);
        for (unsigned i = 0; i < THREADS; i++) {
                cr_assert_eq(askers[i].rc, 0);
                cr_assert_eq(askers[i].range.offset, (i + 1) * PAGE);
        }
        buddyclient_destroy(client);
        peer_stop(&peer);
}

Test(resume, every_thread_gives_up_in_its_own_time) {
        struct peer peer = peer_start(greets_and_then_is_silent);
        struct buddyclient *client = peer_connected(&peer, AWAY_MS);
        struct asker askers[THREADS];
        int64_t before = now_ms();
        ask_all(client, askers);
        cr_assert_lt(now_ms() - before, AWAY_MS + 1700);
        for (unsigned i = 0; i < THREADS; i++)
                cr_assert_eq(askers[i].rc, -ENOTCONN);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* ---- What gave up ---- */

/* Gave up under way: an attach of page 5, a release of page 1 and a release of page 6, which a peer gave. Of these
 * the daemon has done those that it read up to the attach; the rest goes back, and so does the attach. */
static void comes_back_late(int fd) {
        static size_t owed = 1;
        if (connections++ == 0) {
                peer_greet(fd);
                peer_send_range(fd, peer_read(fd)->id, PAGE, 1);
                for (int i = 0; i < 3; i++) {
                        const struct request *request = peer_read(fd);
                        owed += request->kind == REQUEST_RELEASE && peer_done.request > 0;
                        if (request->kind == REQUEST_ATTACH)
                                peer_done = (struct message_done){request->id, 1, 5 * PAGE, 1, 0};
                }
                return;
        }
        const struct request *request = peer_read(fd);
        struct reply reply = {
                .id = request->id, .kind = REPLY_REFUSED, .refused = {STATUS_BUSY, "starting"}};
        if (request->hello.session != 7 || access(comes_back_path, F_OK) != 0) {
                peer_send(fd, &reply, NULL, 0);
                return;
        }
        peer_welcome_back(fd, request->id);
        while (owed > 0) {
                request = peer_read(fd);
                peer_need(request->kind == REQUEST_RELEASE && request->release.one_way &&
                          request->release.ranges.count <= owed);
                owed -= request->release.ranges.count;
        }
        request = peer_read(fd);
        peer_need(request->kind == REQUEST_PUBLISH);
        peer_send_done(fd, request->id);
        peer_part(fd);
}

static void *give_up(void *context) {
        static atomic_int calls;
        const struct buddyclient_range attached = {5 * PAGE, PAGE, 1};
        const struct buddyclient_range released[] = {{PAGE, PAGE, 1}, {6 * PAGE, PAGE, 1}};
        int call = atomic_fetch_add(&calls, 1);
        return (void *)(intptr_t)(call == 2 ? buddyclient_attach(context, &attached)
                                            : buddyclient_release(context, &released[call]));
}

Test(resume, what_gave_up_is_made_up_for) {
        snprintf(comes_back_path, sizeof(comes_back_path), "/tmp/buddyclient-back-%d",
                (int)getpid());
        struct peer peer = peer_start(comes_back_late);
        struct buddyclient *client = peer_connected(&peer, IMPATIENT_MS);
        struct buddyclient_range range;
        pthread_t threads[3];
        cr_assert_eq(buddyclient_alloc(client, PAGE, &range), 0);
        for (int i = 0; i < 3; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, give_up, client), 0);
        for (int i = 0; i < 3; i++) {
                void *result;
                pthread_join(threads[i], &result);
                cr_assert_eq((intptr_t)result, -ENOTCONN);
        }
        FILE *back = fopen(comes_back_path, "we");
        cr_assert_not_null(back);
        fclose(back);
        cr_assert_eq(
                buddyclient_publish(client, "key", &range), 0, "%s", buddyclient_detail(client));
        unlink(comes_back_path);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* ---- Over and over ---- */

static void serves_one_request(int fd) {
        const struct request *request;
        if (connections++ == 0) {
                peer_greet(fd);
                request = peer_read(fd);
        } else {
                request = welcome_back(fd);
        }
        peer_need(request->kind == REQUEST_GOODBYE || request->kind == REQUEST_PUBLISH);
        peer_send_done(fd, request->id);
}

Test(resume, a_thousand_times_leaves_nothing_behind) {
        struct peer peer = peer_start(serves_one_request);
        struct buddyclient *client = peer_connected(&peer, 20000);
        const struct buddyclient_range range = {0, PAGE, 1};
        cr_assert_eq(buddyclient_publish(client, "key", &range), 0);
        size_t files = open_files();
        for (int i = 0; i < 1000; i++)
                cr_assert_eq(buddyclient_publish(client, "key", &range), 0, "%s",
                        buddyclient_detail(client));
        cr_assert_eq(open_files(), files);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* ---- Fork ---- */

Test(resume, a_child_does_not_resume) {
        struct peer peer = peer_start(serves_one_request);
        struct buddyclient *client = peer_connected(&peer, 20000);
        const struct buddyclient_range range = {0, PAGE, 1};
        cr_assert_eq(buddyclient_publish(client, "key", &range), 0);
        pid_t child = fork();
        if (child == 0) {
                int rc = buddyclient_publish(client, "key", &range);
                buddyclient_destroy(client);
                _exit(rc == -ENOTCONN ? 0 : 1);
        }
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert_eq(status, 0);
        cr_assert_eq(buddyclient_publish(client, "key", &range), 0);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

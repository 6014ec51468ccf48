/* Submissions to a daemon that answers late, in any order, wrongly or not at all. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/buddyclient.h"
#include "peer.h"
#include "peer_lies.h"
#include "stretch.h"

TestSuite(submit, .timeout = 60);

#define PAGE        4096ull
#define PATIENCE_MS 10000

static int64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct outcome {
        unsigned runs, turn;
        int result;
        size_t count;
        struct buddyclient_range range;
        char detail[120];
        int64_t since_ms;
};

static unsigned turns;

static void note(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct outcome *outcome = data;
        outcome->runs++;
        outcome->turn = ++turns;
        outcome->result = completion->result;
        outcome->count = completion->count;
        if (completion->count > 0)
                outcome->range = completion->ranges[0];
        snprintf(outcome->detail, sizeof outcome->detail, "%s", buddyclient_detail(client));
        outcome->since_ms = now_ms();
}

static bool readable(struct buddyclient *client, int timeout_ms) {
        struct pollfd ready = {.fd = buddyclient_fd(client), .events = POLLIN};
        cr_assert_geq(ready.fd, 0);
        return poll(&ready, 1, timeout_ms) > 0;
}

/* Watches and dispatches until all have run; how often it was woken. */
static unsigned serve(struct buddyclient *client, struct outcome *outcomes, size_t count) {
        unsigned wakes = 0;
        int64_t deadline = now_ms() + PATIENCE_MS;
        for (size_t each = 0; each < count;) {
                if (outcomes[each].runs > 0) {
                        each++;
                        continue;
                }
                cr_assert(readable(client, PATIENCE_MS), "%zu of %zu, then nothing", each, count);
                int rc = buddyclient_dispatch(client);
                cr_assert(rc >= 0, "dispatch: %d %s", rc, buddyclient_detail(client));
                wakes++;
                cr_assert_lt(now_ms(), deadline);
        }
        for (size_t each = 0; each < count; each++)
                cr_assert_eq(outcomes[each].runs, 1);
        return wakes;
}

static void submit_alloc(struct buddyclient *client, struct outcome *outcome) {
        int rc = buddyclient_submit_alloc(client, PAGE, note, outcome);
        cr_assert_eq(rc, 0, "%d", rc);
}

/* ---- Silence ---- */

static void greets_and_is_silent(int fd) {
        peer_greet(fd);
        peer_wait_close(fd);
}

Test(submit, silence_ends_in_not_connected_at_its_time) {
        struct peer peer = peer_start(greets_and_is_silent);
        struct buddyclient *client = peer_connected(&peer, IMPATIENT_MS);
        struct outcome outcomes[3] = {0};
        int64_t begin = now_ms();
        submit_alloc(client, &outcomes[0]);
        cr_assert_eq(buddyclient_submit_find(client, "x", note, &outcomes[1]), 0);
        cr_assert_eq(buddyclient_submit_alloc_wait(client, PAGE, 200, note, &outcomes[2]), 0);
        unsigned wakes = serve(client, outcomes, 3);
        cr_assert_leq(wakes, 30, "woken %u times", wakes);
        for (int each = 0; each < 3; each++) {
                int64_t took = outcomes[each].since_ms - begin,
                        due = IMPATIENT_MS + (each == 2 ? 200 : 0);
                cr_assert_eq(outcomes[each].result, -ENOTCONN);
                cr_assert(took >= due - 5 && took < due + 1500, "%d: %ld ms", each, (long)took);
                cr_assert_str_eq(outcomes[each].detail, "the daemon does not answer");
        }
        cr_assert_not(readable(client, 100));
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* Each at its own time, also one that was submitted much later: by more than the first may be told late. */
Test(submit, each_has_a_time_of_its_own) {
        struct peer peer = peer_start(greets_and_is_silent);
        struct buddyclient *client = peer_connected(&peer, IMPATIENT_MS);
        struct outcome outcomes[2] = {0};
        submit_alloc(client, &outcomes[0]);
        int64_t begin = now_ms();
        while (now_ms() < begin + 1000)
                if (readable(client, 20))
                        cr_assert_geq(buddyclient_dispatch(client), 0);
        submit_alloc(client, &outcomes[1]);
        serve(client, outcomes, 2);
        int64_t between = outcomes[1].since_ms - outcomes[0].since_ms;
        cr_assert(between >= 400 && between < 2250, "%ld ms", (long)between);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

Test(submit, silence_does_not_hold_up_destroy_for_long) {
        struct peer peer = peer_start(greets_and_is_silent);
        struct buddyclient *client = peer_connected(&peer, IMPATIENT_MS);
        static struct outcome outcomes[200];
        for (int each = 0; each < 200; each++)
                submit_alloc(client, &outcomes[each]);
        cr_assert_geq(buddyclient_dispatch(client), 0);
        int64_t begin = now_ms();
        buddyclient_destroy(client);
        cr_assert_leq(now_ms() - begin, IMPATIENT_MS + 2700);
        for (int each = 0; each < 200; each++) {
                cr_assert_eq(outcomes[each].runs, 1);
                cr_assert_eq(outcomes[each].result, -ENOTCONN);
        }
        peer_stop(&peer);
}

/* ---- Late answers ---- */

/* Answers the first alloc only together with the find, and needs its range back. */
static void grants_late(int fd) {
        peer_greet(fd);
        uint64_t first = peer_read(fd)->id;
        uint64_t find = peer_read(fd)->id;
        struct reply found = {.id = find, .kind = REPLY_PEER, .peer = 77};
        peer_send_range(fd, first, 5 * PAGE, 3);
        peer_send(fd, &found, NULL, 0);
        const struct request *back = peer_read(fd);
        peer_need(back->kind == REQUEST_RELEASE && back->release.one_way &&
                  back->release.ranges.count == 1 && back->release.ranges.places[0] == 5 * PAGE &&
                  back->release.ranges.generations[0] == 3);
        peer_part(fd);
}

static void note_peer(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        note(client, completion, data);
        cr_assert_eq(completion->peer, completion->result == 0 ? 77 : 0);
}

Test(submit, a_late_grant_goes_back) {
        struct peer peer = peer_start(grants_late);
        struct buddyclient *client = peer_connected(&peer, IMPATIENT_MS);
        struct outcome alloc = {0}, find = {0};
        submit_alloc(client, &alloc);
        serve(client, &alloc, 1);
        cr_assert_eq(alloc.result, -ENOTCONN);
        cr_assert_eq(buddyclient_submit_find(client, "x", note_peer, &find), 0);
        serve(client, &find, 1);
        cr_assert_eq(find.result, 0, "%s", find.detail);
        for (int64_t end = now_ms() + 50; now_ms() < end;)
                if (readable(client, 10))
                        cr_assert_geq(buddyclient_dispatch(client), 0);
        cr_assert_eq(alloc.runs, 1);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* An answer in good time that the program was late to look for counts. */
static void answers_one(int fd) {
        peer_greet(fd);
        peer_send_range(fd, peer_read(fd)->id, PAGE, 1);
        peer_part(fd);
}

Test(submit, an_answer_that_was_there_in_time_counts) {
        struct peer peer = peer_start(answers_one);
        struct buddyclient *client = peer_connected(&peer, IMPATIENT_MS);
        struct outcome alloc = {0};
        submit_alloc(client, &alloc);
        cr_assert_geq(buddyclient_dispatch(client), 0);
        poll(NULL, 0, IMPATIENT_MS + 400); /* a busy program */
        serve(client, &alloc, 1);
        cr_assert_eq(alloc.result, 0, "%d %s", alloc.result, alloc.detail);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* ---- Any order, and pieces ---- */

#define BACKWARDS 8

static void answers_backwards(int fd) {
        uint64_t ids[BACKWARDS];
        peer_greet(fd);
        for (int each = 0; each < BACKWARDS; each++)
                ids[each] = peer_read(fd)->id;
        for (int each = BACKWARDS - 1; each >= 0; each--)
                peer_send_range(fd, ids[each], (unsigned)each * PAGE, 1);
        peer_part(fd);
}

Test(submit, told_in_the_order_in_which_they_are_done) {
        struct peer peer = peer_start(answers_backwards);
        struct buddyclient *client = peer_connected(&peer, 5000);
        struct outcome outcomes[BACKWARDS] = {0};
        for (int each = 0; each < BACKWARDS; each++)
                submit_alloc(client, &outcomes[each]);
        serve(client, outcomes, BACKWARDS);
        for (unsigned each = 0; each < BACKWARDS; each++) {
                cr_assert_eq(outcomes[each].range.offset, each * PAGE);
                if (each > 0)
                        cr_assert_lt(outcomes[each].turn, outcomes[each - 1].turn);
        }
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* Every byte of a reply on its own: what is not whole yet is not told, and waits for nobody. */
static void answers_in_pieces(int fd) {
        struct timespec moment = {.tv_nsec = 20000000};
        peer_greet(fd);
        struct request request = *peer_read(fd);
        uint8_t reply[512];
        struct reply done = {.id = request.id, .kind = REPLY_PEER, .peer = 77};
        ptrdiff_t length = reply_encode(&done, reply, sizeof reply);
        peer_need(length > 0);
        for (ptrdiff_t each = 0; each < length; each++) {
                peer_send_bytes(fd, &reply[each], 1);
                nanosleep(&moment, NULL);
        }
        peer_part(fd);
}

Test(submit, half_an_answer_is_waited_for_by_nobody) {
        struct peer peer = peer_start(answers_in_pieces);
        struct buddyclient *client = peer_connected(&peer, 5000);
        struct outcome find = {0};
        cr_assert_eq(buddyclient_submit_find(client, "x", note_peer, &find), 0);
        unsigned wakes = 0;
        for (int64_t end = now_ms() + PATIENCE_MS; find.runs == 0 && now_ms() < end;) {
                cr_assert(readable(client, PATIENCE_MS));
                cr_assert_geq(buddyclient_dispatch(client), 0);
                wakes++;
        }
        cr_assert_eq(find.result, 0);
        cr_assert(wakes >= 4 && wakes <= 60, "woken %u times: it waited, or was busy", wakes);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* ---- Refusals with their reasons ---- */

static void refuses_each(int fd) {
        static const enum status statuses[] = {STATUS_NO_SPACE, STATUS_NOT_FOUND, STATUS_DENIED};
        static const char *const details[] = {"no block: 5", "no name: 6", "not you: 7"};
        peer_greet(fd);
        for (int each = 0; each < 3; each++) {
                struct reply reply = {.id = peer_read(fd)->id,
                        .kind = REPLY_REFUSED,
                        .refused = {statuses[each], details[each]}};
                peer_send(fd, &reply, NULL, 0);
        }
        peer_part(fd);
}

Test(submit, reasons_do_not_get_mixed_up) {
        struct peer peer = peer_start(refuses_each);
        struct buddyclient *client = peer_connected(&peer, 5000);
        struct outcome outcomes[3] = {0};
        submit_alloc(client, &outcomes[0]);
        cr_assert_eq(buddyclient_submit_find(client, "x", note, &outcomes[1]), 0);
        cr_assert_eq(buddyclient_submit_unpublish(client, "x", note, &outcomes[2]), 0);
        serve(client, outcomes, 3);
        cr_assert_eq(outcomes[0].result, -ENOMEM);
        cr_assert_eq(outcomes[1].result, -ENOENT);
        cr_assert_eq(outcomes[2].result, -EACCES);
        cr_assert_str_eq(outcomes[0].detail, "no block: 5");
        cr_assert_str_eq(outcomes[1].detail, "no name: 6");
        cr_assert_str_eq(outcomes[2].detail, "not you: 7");
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* ---- Ends and lies ---- */

/* The submission fails with the error, those beside it end once, and then all is over. */
static void expect_end(peer_script *script, int error, const char *reason) {
        struct peer peer = peer_start(script);
        struct buddyclient *client = peer_connected(&peer, 20000);
        struct outcome outcomes[5] = {0};
        int rc;
        for (int each = 0; each < 4; each++)
                cr_assert_eq(buddyclient_submit_alloc(client, 2 * PAGE, note, &outcomes[each]), 0);
        serve(client, outcomes, 4);
        cr_assert_eq(outcomes[0].result, error, "%d: %s", outcomes[0].result, outcomes[0].detail);
        cr_assert_not_null(strstr(outcomes[0].detail, reason), "%s", outcomes[0].detail);
        for (int each = 1; each < 4; each++)
                cr_assert(outcomes[each].result == error || outcomes[each].result == -ENOTCONN,
                        "%d", outcomes[each].result);
        rc = buddyclient_submit_alloc(client, PAGE, note, &outcomes[4]);
        if (rc == 0) {
                serve(client, &outcomes[4], 1);
                cr_assert_eq(outcomes[4].result, -ENOTCONN);
        } else {
                cr_assert_eq(rc, -ENOTCONN);
        }
        cr_assert_eq(buddyclient_dispatch(client), -ENOTCONN);
        cr_assert_not(readable(client, 50), "readable for ever");
        buddyclient_destroy(client);
        peer_stop(&peer);
}

#define ENDS(name, error, reason)                                                                  \
        Test(submit, name) {                                                                       \
                expect_end(name, error, reason);                                                   \
        }

PEER_LIES(ENDS)

/* ---- Lost and got back ---- */

/* Breaks off under three requests, none of which was done: they must be asked again, in their order. */
static void breaks_off_once(int fd) {
        static int connections;
        if (connections++ == 0) {
                peer_greet(fd);
                for (int each = 0; each < 3; each++)
                        peer_read(fd);
                return;
        }
        peer_expect_hello_again(fd);
        unsigned answered = 0;
        while (answered < 3) {
                const struct request *request = peer_read(fd);
                if (request->kind == REQUEST_HOLDS) {
                        struct reply reply = {.id = request->id, .kind = REPLY_HOLDS};
                        peer_send(fd, &reply, NULL, 0);
                        continue;
                }
                peer_need(request->kind == REQUEST_ALLOC);
                peer_need(request->alloc.length == PAGE * (answered + 1));
                peer_send_range(fd, request->id, (16 * PAGE << answered) | answered, 1);
                answered++;
        }
        peer_part(fd);
}

Test(submit, what_was_under_way_is_asked_again_once) {
        struct peer peer = peer_start(breaks_off_once);
        struct buddyclient *client = peer_connected(&peer, 5000);
        struct outcome outcomes[3] = {0};
        for (unsigned each = 0; each < 3; each++)
                cr_assert_eq(
                        buddyclient_submit_alloc(client, PAGE * (each + 1), note, &outcomes[each]),
                        0);
        serve(client, outcomes, 3);
        for (int each = 0; each < 3; each++) {
                cr_assert_eq(outcomes[each].result, 0, "%d %s", outcomes[each].result,
                        outcomes[each].detail);
                cr_assert_eq(outcomes[each].range.length, PAGE << each);
        }
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* Comes back, accepts, and never says a word: the time runs out, and no call waits for it. */
static void comes_back_silent(int fd) {
        static int connections;
        if (connections++ == 0) {
                peer_greet(fd);
                peer_read(fd);
                return;
        }
        peer_wait_close(fd);
}

Test(submit, a_daemon_that_comes_back_silent) {
        struct peer peer = peer_start(comes_back_silent);
        struct buddyclient *client = peer_connected(&peer, IMPATIENT_MS);
        struct outcome outcomes[2] = {0};
        int64_t begin = now_ms();
        submit_alloc(client, &outcomes[0]);
        submit_alloc(client, &outcomes[1]);
        unsigned wakes = 0;
        while (outcomes[0].runs + outcomes[1].runs < 2) {
                cr_assert(readable(client, PATIENCE_MS));
                struct stretch dispatch = stretch_begin();
                cr_assert_geq(buddyclient_dispatch(client), 0);
                cr_assert_leq(stretch_ms(&dispatch), 100, "dispatch waits");
                wakes++;
        }
        cr_assert_leq(wakes, 60, "woken %u times", wakes);
        cr_assert_eq(outcomes[0].result, -ENOTCONN);
        cr_assert_eq(outcomes[1].result, -ENOTCONN);
        cr_assert_geq(outcomes[0].since_ms - begin, IMPATIENT_MS - 5);
        cr_assert_leq(outcomes[1].since_ms - begin, IMPATIENT_MS + 2100);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

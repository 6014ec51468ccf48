/* Submissions beside a thread that waits, and a descriptor beside no submission at all: what the one leaves is the other's to see to.
 * And how many may be under way beside each other. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/buddyclient.h"
#include "peer.h"

TestSuite(submit_beside, .timeout = 60);

#define PAGE        4096ull
#define PATIENCE_MS 10000
#define LATE_MS     (IMPATIENT_MS + 1000) /* after everybody gave up */

static int64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool readable(struct buddyclient *client, int timeout_ms) {
        struct pollfd ready = {.fd = buddyclient_fd(client), .events = POLLIN};
        cr_assert_geq(ready.fd, 0);
        return poll(&ready, 1, timeout_ms) > 0;
}

struct outcome {
        unsigned runs;
        int result;
};

static void note(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct outcome *outcome = data;
        (void)client;
        outcome->runs++;
        outcome->result = completion->result;
}

/* Watches and dispatches for so long; how often it was woken. */
static unsigned wakes_within(struct buddyclient *client, int64_t ms) {
        unsigned wakes = 0;
        for (int64_t end = now_ms() + ms; now_ms() < end;)
                if (readable(client, 20)) {
                        cr_assert_geq(buddyclient_dispatch(client), 0);
                        wakes++;
                }
        return wakes;
}

/* ---- A connection that was half made again when everybody gave up ---- */

static void breaks_off(int fd) {
        peer_greet(fd);
        peer_read(fd);
}

static void is_welcomed_late(int fd) {
        const struct request *hello = peer_read(fd);
        poll(NULL, 0, LATE_MS);
        peer_welcome_back(fd, hello->id);
        peer_part(fd);
}

static void welcomes_late(int fd) {
        static int connections;
        if (connections++ == 0)
                breaks_off(fd);
        else
                is_welcomed_late(fd);
}

static void hangs_up_late(int fd) {
        static int connections;
        if (connections == 0) {
                breaks_off(fd);
        } else if (connections == 1) {
                peer_read(fd);
                poll(NULL, 0, LATE_MS);
        } else {
                peer_expect_hello_again(fd);
                peer_part(fd);
        }
        connections++;
}

static void wait_for_alloc(struct buddyclient *client) {
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, PAGE, &range), -ENOTCONN);
}

static void submit_alloc(struct buddyclient *client) {
        struct outcome outcome = {0};
        cr_assert_eq(buddyclient_submit_alloc(client, PAGE, note, &outcome), 0);
        while (outcome.runs == 0) {
                cr_assert(readable(client, PATIENCE_MS));
                cr_assert_geq(buddyclient_dispatch(client), 0);
        }
        cr_assert_eq(outcome.result, -ENOTCONN);
}

static void given_up(peer_script *script, void (*give_up)(struct buddyclient *client)) {
        struct peer peer = peer_start(script);
        struct buddyclient *client = peer_connected(&peer, IMPATIENT_MS);
        cr_assert_geq(buddyclient_fd(client), 0);
        give_up(client);
        unsigned wakes = wakes_within(client, LATE_MS - IMPATIENT_MS + 1200);
        cr_assert_leq(wakes, 20, "woken %u times for nothing", wakes);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

Test(submit_beside, an_answer_after_the_last_submission_gave_up_wakes_nobody_for_ever) {
        given_up(welcomes_late, submit_alloc);
}

Test(submit_beside, an_answer_after_a_waiting_call_gave_up_wakes_nobody_for_ever) {
        given_up(welcomes_late, wait_for_alloc);
}

Test(submit_beside, a_hanging_up_after_everybody_gave_up_wakes_nobody_for_ever) {
        given_up(hangs_up_late, submit_alloc);
        given_up(hangs_up_late, wait_for_alloc);
}

/* ---- Room in the socket while somebody waits ---- */

#define BATCH   4096u
#define BATCHES 12

static void *wait_for_memory(void *data) {
        struct buddyclient_range range;
        return (void *)(intptr_t)buddyclient_alloc_wait(data, PAGE, -1, &range);
}

static int waits[2], full[2]; /* pipes: the wait has come; as much is sent as the socket takes */

static void tell(int *ends) {
        peer_need(write(ends[1], "", 1) == 1);
}

static void hear(int *ends) {
        char byte;
        peer_need(read(ends[0], &byte, 1) == 1);
}

/* Reads nothing until the socket is full, then all, and answers the wait last of all. */
static void reads_late(int fd) {
        uint64_t wait = 0, ids[BATCHES];
        peer_greet(fd);
        wait = peer_read(fd)->id;
        tell(waits);
        hear(full);
        for (int each = 0; each < BATCHES; each++)
                ids[each] = peer_read(fd)->id;
        for (int each = 0; each < BATCHES; each++)
                peer_send_done(fd, ids[each]);
        peer_send_range(fd, wait, PAGE, 1);
        peer_part(fd);
}

/* Of what a full socket did not take, the rest goes as soon as there is room, whatever the one who waits for memory waits for. */
Test(submit_beside, room_is_noticed_while_somebody_waits_for_memory) {
        static struct buddyclient_range ranges[BATCH];
        static struct outcome outcomes[BATCHES];
        cr_assert(pipe(waits) == 0 && pipe(full) == 0);
        struct peer peer = peer_start(reads_late);
        struct buddyclient *client = peer_connected(&peer, 5000);
        pthread_t waiting;
        void *result;
        cr_assert_geq(buddyclient_fd(client), 0);
        cr_assert_eq(pthread_create(&waiting, NULL, wait_for_memory, client), 0);
        hear(waits);
        for (unsigned each = 0; each < BATCH; each++)
                ranges[each] = (struct buddyclient_range){each % 256 * PAGE, PAGE, 1};
        for (int each = 0; each < BATCHES; each++) {
                int rc = buddyclient_submit_release_many(
                        client, ranges, BATCH, note, &outcomes[each]);
                cr_assert_eq(rc, 0, "%s", buddyclient_detail(client));
        }
        cr_assert(readable(client, PATIENCE_MS));
        cr_assert_eq(buddyclient_dispatch(client), 0);
        int64_t begin = now_ms();
        tell(full);
        for (int each = 0; each < BATCHES;) {
                if (outcomes[each].runs > 0) {
                        each++;
                        continue;
                }
                cr_assert(readable(client, PATIENCE_MS));
                cr_assert_geq(buddyclient_dispatch(client), 0);
        }
        cr_assert_leq(now_ms() - begin, 2000, "nobody noticed the room");
        for (int each = 0; each < BATCHES; each++)
                cr_assert_eq(outcomes[each].result, 0, "%d: %d", each, outcomes[each].result);
        cr_assert_eq(pthread_join(waiting, &result), 0);
        cr_assert_eq((intptr_t)result, 0);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* ---- Beside each other ---- */

/* Each may be answered with 48 KiB of names, so another one of them must wait. */
static void answers_gifts_one_by_one(int fd) {
        peer_greet(fd);
        for (int each = 0; each < 3; each++) {
                struct pollfd more = {.fd = fd, .events = POLLIN};
                const struct request *request = peer_read(fd);
                peer_need(request->kind == REQUEST_GIVE && request->give.ranges.count == BATCH);
                uint64_t id = request->id;
                peer_need(poll(&more, 1, 200) == 0);
                peer_send_done(fd, id);
        }
        peer_part(fd);
}

Test(submit_beside, gifts_are_bounded_by_what_their_answers_may_be) {
        static struct buddyclient_range ranges[BATCH];
        struct outcome outcomes[3] = {0};
        struct peer peer = peer_start(answers_gifts_one_by_one);
        struct buddyclient *client = peer_connected(&peer, 5000);
        for (unsigned each = 0; each < BATCH; each++)
                ranges[each] = (struct buddyclient_range){each % 256 * PAGE, PAGE, 1};
        for (int each = 0; each < 3; each++)
                cr_assert_eq(buddyclient_submit_give_many(
                                     client, ranges, BATCH, 5, note, &outcomes[each]),
                        0);
        while (outcomes[2].runs == 0) {
                cr_assert(readable(client, PATIENCE_MS));
                cr_assert_geq(buddyclient_dispatch(client), 0);
        }
        for (int each = 0; each < 3; each++)
                cr_assert_eq(outcomes[each].result, 0, "%d: %d", each, outcomes[each].result);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* A daemon that answers late, wrongly or not at all, once the connection stands. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/buddyclient.h"
#include "peer.h"
#include "peer_lies.h"

#define PAGE        4096ull
#define PATIENCE_MS 20000

static int64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- Silence ---- */

static void greets_and_is_silent(int fd) {
        peer_greet(fd);
        peer_wait_close(fd);
}

Test(channel, silence_ends_in_not_connected) {
        struct peer peer = peer_start(greets_and_is_silent);
        struct buddyclient *client = peer_connected(&peer, IMPATIENT_MS);
        struct buddyclient_range range = {.offset = 1};
        int64_t before = now_ms();
        cr_assert_eq(buddyclient_alloc(client, 1, &range), -ENOTCONN);
        cr_assert_eq(buddyclient_alloc_wait(client, 1, 100, &range), -ENOTCONN);
        int64_t took = now_ms() - before;
        cr_assert(took >= 2 * IMPATIENT_MS + 100 && took < 2 * IMPATIENT_MS + 2800, "%lld ms",
                (long long)took);
        cr_assert_eq(range.offset, 1);
        cr_assert_str_eq(buddyclient_detail(client), "the daemon does not answer");
        buddyclient_destroy(client);
        peer_stop(&peer);
}

static void *alloc_one(void *context) {
        struct buddyclient_range range;
        return (void *)(intptr_t)buddyclient_alloc(context, PAGE, &range);
}

Test(channel, silence_ends_for_every_thread_at_its_own_time) {
        struct peer peer = peer_start(greets_and_is_silent);
        struct buddyclient *client = peer_connected(&peer, IMPATIENT_MS);
        pthread_t threads[8];
        int64_t before = now_ms();
        for (int i = 0; i < 8; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, alloc_one, client), 0);
        for (int i = 0; i < 8; i++) {
                void *result;
                pthread_join(threads[i], &result);
                cr_assert_eq((intptr_t)result, -ENOTCONN);
        }
        int64_t took = now_ms() - before;
        cr_assert(took >= IMPATIENT_MS && took < IMPATIENT_MS + 1800, "%lld ms", (long long)took);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* ---- Late answers ---- */

/* Answers the first alloc only together with the second, and expects the first one's range back,
 * one-way, before it confirms anything else. */
static void answers_late(int fd) {
        peer_greet(fd);
        uint64_t first = peer_read(fd)->id;
        uint64_t second = peer_read(fd)->id;
        peer_send_range(fd, first, 5 * PAGE, 3);
        peer_send_range(fd, second, 6 * PAGE, 4);
        const struct request *back = peer_read(fd);
        bool right = back->kind == REQUEST_RELEASE && back->release.one_way &&
                     back->release.ranges.count == 1 &&
                     back->release.ranges.places[0] == 5 * PAGE &&
                     back->release.ranges.generations[0] == 3;
        const struct request *next = peer_read(fd);
        if (right && next->kind == REQUEST_RELEASE && !next->release.one_way)
                peer_send_done(fd, next->id);
        peer_wait_close(fd);
}

Test(channel, late_grant_goes_back) {
        struct peer peer = peer_start(answers_late);
        struct buddyclient *client = peer_connected(&peer, IMPATIENT_MS);
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, 1, &range), -ENOTCONN);
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        cr_assert_eq(range.offset, 6 * PAGE);
        cr_assert_eq(range.length, PAGE);
        cr_assert_eq(range.generation, 4);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* Answers an attach and a give only when nobody waits any more: the attached hold goes back, and
 * what was given is no longer counted, so that its block may be granted again. */
static void attaches_and_gives_late(int fd) {
        peer_greet(fd);
        peer_send_range(fd, peer_read(fd)->id, 5 * PAGE, 3);
        uint64_t attach = peer_read(fd)->id;
        uint64_t give = peer_read(fd)->id;
        uint64_t alloc = peer_read(fd)->id;
        peer_send_done(fd, attach);
        peer_send_done(fd, give);
        peer_send_range(fd, alloc, 5 * PAGE, 4);
        const struct request *back = peer_read(fd);
        peer_need(back->kind == REQUEST_RELEASE && back->release.one_way &&
                  back->release.ranges.count == 1 && back->release.ranges.places[0] == 7 * PAGE);
        peer_part(fd);
}

Test(channel, late_attach_and_give_are_made_up_for) {
        struct peer peer = peer_start(attaches_and_gives_late);
        struct buddyclient *client = peer_connected(&peer, IMPATIENT_MS);
        struct buddyclient_range range, other = {7 * PAGE, PAGE, 1};
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        cr_assert_eq(buddyclient_attach(client, &other), -ENOTCONN);
        cr_assert_eq(buddyclient_give(client, &range, 9), -ENOTCONN);
        cr_assert_eq(range.generation, 3);
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0, "%s", buddyclient_detail(client));
        cr_assert_eq(range.generation, 4);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* A give names the ranges as the peer must. */
static void renames(int fd) {
        static const uint64_t places[] = {PAGE, 2 * PAGE};
        static const uint32_t generations[] = {11, 12};
        peer_greet(fd);
        struct reply reply = {
                .id = peer_read(fd)->id, .kind = REPLY_RANGES, .ranges = {places, generations, 2}};
        peer_send(fd, &reply, NULL, 0);
        reply.id = peer_read(fd)->id; /* the same names for other ranges are a lie */
        peer_send(fd, &reply, NULL, 0);
        peer_wait_close(fd);
}

Test(channel, given_ranges_get_their_new_names) {
        struct peer peer = peer_start(renames);
        struct buddyclient *client = peer_connected(&peer, PATIENCE_MS);
        struct buddyclient_range ranges[] = {{PAGE, PAGE, 1}, {2 * PAGE, PAGE, 1}};
        struct buddyclient_range others[] = {{3 * PAGE, PAGE, 1}, {2 * PAGE, PAGE, 1}};
        cr_assert_eq(buddyclient_give_many(client, ranges, 2, 9), 0);
        cr_assert_eq(ranges[0].generation, 11);
        cr_assert_eq(ranges[1].generation, 12);
        cr_assert_eq(buddyclient_give_many(client, others, 2, 9), -EPROTO);
        cr_assert_eq(others[1].generation, 1);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* ---- Many threads, answers in any order ---- */

/* Answers four at a time, backwards, each with an offset that tells which length was asked for. */
static void answers_backwards(int fd) {
        struct {
                uint64_t id, length;
        } asked[4];
        peer_greet(fd);
        for (int i = 0; i < 4; i++) {
                const struct request *request = peer_read(fd);
                asked[i].id = request->id;
                asked[i].length = request->alloc.length;
        }
        for (int i = 3; i >= 0; i--)
                peer_send_range(fd, asked[i].id, asked[i].length * PAGE, 1);
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

Test(channel, gives_each_thread_its_own_reply) {
        struct peer peer = peer_start(answers_backwards);
        struct buddyclient *client = peer_connected(&peer, PATIENCE_MS);
        struct asker askers[4];
        pthread_t threads[4];
        for (unsigned i = 0; i < 4; i++) {
                askers[i] = (struct asker){.client = client, .length = i + 1};
                cr_assert_eq(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
        }
        for (unsigned i = 0; i < 4; i++) {
                pthread_join(threads[i], NULL);
                cr_assert_eq(askers[i].rc, 0);
                cr_assert_eq(askers[i].range.offset, (i + 1) * PAGE);
        }
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* ---- Ends and lies ---- */

/* Two allocations fail: the one under way, and one after it; nothing is written. */
static void expect_end(peer_script *script, int error, const char *reason) {
        struct peer peer = peer_start(script);
        struct buddyclient *client = peer_connected(&peer, PATIENCE_MS);
        struct buddyclient_range range = {.offset = 1};
        cr_assert_eq(buddyclient_alloc(client, 2 * PAGE, &range), error);
        cr_assert_not_null(
                strstr(buddyclient_detail(client), reason), "%s", buddyclient_detail(client));
        cr_assert_eq(buddyclient_alloc(client, 2 * PAGE, &range), -ENOTCONN);
        cr_assert_eq(range.offset, 1);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

#define ENDS(name, error, reason)                                                                  \
        Test(channel, name) {                                                                      \
                expect_end(name, error, reason);                                                   \
        }

PEER_LIES(ENDS)

/* The same block twice to one client is a lie, too, and the first grant stays as it was. */
static void grants_one_block_twice(int fd) {
        peer_greet(fd);
        peer_send_range(fd, peer_read(fd)->id, PAGE, 1);
        peer_send_range(fd, peer_read(fd)->id, PAGE, 2);
        peer_wait_close(fd);
}

Test(channel, grants_one_block_twice) {
        struct peer peer = peer_start(grants_one_block_twice);
        struct buddyclient *client = peer_connected(&peer, PATIENCE_MS);
        struct buddyclient_range range, other;
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        cr_assert_eq(buddyclient_alloc(client, 1, &other), -EPROTO);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* All who wait learn of the end, not only the one who reads. */
static void closes_on_the_fourth_request(int fd) {
        if (!greets_first(fd))
                return;
        for (int i = 0; i < 4; i++)
                peer_read(fd);
}

Test(channel, end_reaches_every_thread) {
        struct peer peer = peer_start(closes_on_the_fourth_request);
        struct buddyclient *client = peer_connected(&peer, -1);
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, alloc_one, client), 0);
        for (int i = 0; i < 4; i++) {
                void *result;
                pthread_join(threads[i], &result);
                cr_assert_eq((intptr_t)result, -ENOTCONN);
        }
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* ---- Statistics ---- */

static void sends_statistics(int fd) {
        static struct reply_order orders[MESSAGE_ORDERS_MAX];
        for (unsigned i = 0; i < MESSAGE_ORDERS_MAX; i++)
                orders[i] = (struct reply_order){.order = i, .free_blocks = 100 + i};
        peer_greet(fd);
        struct reply reply = {
                .id = peer_read(fd)->id,
                .kind = REPLY_STATS,
                .stats =
                        {
                                .pool = "a name that is much longer than the field it is copied "
                                        "into, to see",
                                .backing = "memfd",
                                .size_bytes = UINT64_C(1) << 60,
                                .held_bytes = 11,
                                .reclaimed_bytes_total = 12,
                                .orphans = 13,
                                .oldest_waiter_ms = 14,
                                .alloc = {1, 2, 3, 4},
                                .orders = orders,
                                .order_count = MESSAGE_ORDERS_MAX,
                        },
        };
        peer_send(fd, &reply, NULL, 0);
        peer_part(fd);
}

Test(channel, statistics_fit_their_struct) {
        struct peer peer = peer_start(sends_statistics);
        struct buddyclient *client = peer_connected(&peer, PATIENCE_MS);
        const size_t first = offsetof(struct buddyclient_stats, orphans);
        struct buddyclient_stats stats = {.struct_size = first - 1};
        cr_assert_eq(buddyclient_stats(client, &stats), -EINVAL);
        cr_assert_eq(buddyclient_stats(client, NULL), -EINVAL);
        stats.struct_size = sizeof(stats);
        cr_assert_eq(buddyclient_stats(client, &stats), 0);
        cr_assert_eq(strlen(stats.pool), sizeof(stats.pool) - 1);
        cr_assert_str_eq(stats.backing, "memfd");
        cr_assert_eq(stats.held_bytes, 11);
        cr_assert_eq(stats.reclaimed_bytes_total, 12);
        cr_assert_eq(stats.orphans, 13);
        cr_assert_eq(stats.oldest_waiter_ms, 14);
        cr_assert_eq(stats.alloc_us.max, 4);
        cr_assert_eq(stats.order_count, 64);
        cr_assert_eq(stats.orders[63].free_blocks, 163);
        cr_assert_eq(buddyclient_size(client), 1 << 20);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

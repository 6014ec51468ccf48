/* What clients and uids may use, what they are told when it is too much, and that nobody is charged for another. */
#include <criterion/criterion.h>
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bystander.h"

TestSuite(quota, .timeout = 120);

enum { ALICE = 12345, BOB = 12346 };

/* Refused for its quota, with these words, and nothing has changed. */
static void expect_over(
        struct buddyclient *client, int result, const char *detail, uint64_t held_bytes) {
        cr_expect_eq(result, -EDQUOT, "%d: %s", result, buddyclient_detail(client));
        cr_expect(strstr(buddyclient_detail(client), detail), "%s", buddyclient_detail(client));
        cr_expect(has_digit(buddyclient_detail(client)));
        expect_held(client, held_bytes);
}

Test(quota, bytes_and_ranges_of_a_client_are_bounded) {
        struct scene scene;
        struct buddyclient_range ranges[4], more;
        scene_open(&scene);
        scene_start_limited(&scene, "", "client-bytes = 64K\nclient-ranges = 3\n");
        struct buddyclient *client = client_new(&scene), *other = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, 16384, 3, ranges), 0);
        expect_over(client, buddyclient_alloc(client, 16384, &more), "3 of its 3 ranges", 49152);
        cr_assert_eq(buddyclient_release(client, &ranges[2]), 0);
        expect_over(client, buddyclient_alloc(client, 65536, &more), "32 KiB of its 64 KiB", 32768);
        expect_over(client, buddyclient_alloc_wait(client, 65536, -1, &more),
                "32 KiB of its 64 KiB", 32768);
        cr_assert_eq(stats_of(client).waiters, 0);
        cr_assert_eq(buddyclient_alloc(other, 65536, &more), 0);
        expect_over(other, buddyclient_attach(other, &ranges[0]), "64 KiB of its 64 KiB", 98304);
        cr_assert_eq(stats_of(client).quota_refusals_total, 4);
        cr_assert_eq(scene_figure(&scene, "quota_refusals_total"), 4);
        buddyclient_destroy(client);
        buddyclient_destroy(other);
        scene_close(&scene);
}

Test(quota, bytes_of_a_uid_are_of_all_its_clients) {
        struct scene scene;
        struct buddyclient_range half, rest, more;
        scene_open(&scene);
        scene_start_limited(&scene, "", "user-bytes = 1M\n");
        struct buddyclient *one = client_new(&scene), *two = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(one, MIB / 2, &half), 0);
        cr_assert_eq(buddyclient_alloc(two, MIB / 2, &rest), 0);
        expect_over(two, buddyclient_alloc(two, 1, &more),
                "uid 0 holds 1 MiB of its 1 MiB (user-bytes)", MIB);
        /* Given within the uid it is the same bytes. */
        cr_assert_eq(buddyclient_give(one, &half, buddyclient_id(two)), 0);
        expect_over(one, buddyclient_alloc(one, 1, &more), "1 MiB of its 1 MiB", MIB);
        /* A key holds for its uid, also when no client does. */
        cr_assert_eq(buddyclient_publish(two, "kept", &half), 0);
        cr_assert_eq(buddyclient_release(two, &half), 0);
        expect_over(two, buddyclient_alloc(two, 1, &more), "1 MiB of its 1 MiB", MIB);
        /* Also after a crash. */
        scene_kill(&scene);
        scene_start_limited(&scene, "", "user-bytes = 1M\n");
        expect_over(two, buddyclient_alloc(two, 1, &more), "1 MiB of its 1 MiB", MIB);
        cr_assert_eq(buddyclient_unpublish(two, "kept"), 0);
        cr_assert_eq(buddyclient_alloc(two, MIB / 2, &more), 0);
        buddyclient_destroy(one);
        buddyclient_destroy(two);
        scene_close(&scene);
}

/* A lookup holds, too, and says what is in the way of that. */
Test(quota, a_lookup_is_told_the_limit_and_the_figures) {
        struct scene scene;
        struct buddyclient_range half, found;
        scene_open(&scene);
        scene_start_limited(&scene, "", "client-bytes = 64K\nuser-bytes = 128K\n");
        struct buddyclient *one = client_new(&scene), *two = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(one, 32768, &half), 0);
        cr_assert_eq(buddyclient_publish(one, "half", &half), 0);
        cr_assert_eq(buddyclient_lookup(one, "half", &found), 0);
        expect_over(one, buddyclient_lookup(one, "half", &found),
                "client 2 holds 64 KiB of its 64 KiB (client-bytes)", 32768);
        cr_assert_eq(buddyclient_lookup(two, "half", &found), 0);
        expect_over(two, buddyclient_lookup(two, "half", &found),
                "uid 0 holds 128 KiB of its 128 KiB (user-bytes)", 32768);
        cr_assert_eq(buddyclient_unpublish(one, "half"), 0);
        buddyclient_destroy(one);
        buddyclient_destroy(two);
        scene_close(&scene);
}

/* What is only at hand in its own caches is given back before it is refused. */
Test(quota, cached_ranges_make_room) {
        struct scene scene;
        struct buddyclient_range pages[16], whole;
        scene_open(&scene);
        scene_start_limited(&scene, "", "user-bytes = 64K\n");
        struct buddyclient *caching = client_caching(&scene), *other = client_new(&scene);
        for (int round = 0; round < 50; round++) {
                size_t count = 0;
                while (count < 16 && buddyclient_alloc(caching, SCENE_PAGE, &pages[count]) == 0)
                        count++;
                cr_assert_eq(count, 16, "round %d: only %zu", round, count);
                for (size_t each = 0; each < count; each++)
                        cr_assert_eq(buddyclient_release(caching, &pages[each]), 0);
                cr_assert_eq(buddyclient_alloc(round % 2 ? other : caching, 65536, &whole), 0);
                cr_assert_eq(buddyclient_release(round % 2 ? other : caching, &whole), 0);
        }
        buddyclient_destroy(caching);
        buddyclient_destroy(other);
        scene_close(&scene);
}

static void cache_pages(struct buddyclient *client, size_t count) {
        struct buddyclient_range pages[16];
        for (size_t each = 0; each < count; each++)
                cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &pages[each]), 0);
        for (size_t each = 0; each < count; each++)
                cr_assert_eq(buddyclient_release(client, &pages[each]), 0);
}

/* Who is given something has what he only keeps at hand taken back for it, too. */
Test(quota, cached_ranges_make_room_for_gifts) {
        struct scene scene;
        struct buddyclient_range gift;
        scene_open(&scene);
        scene_start_limited(&scene, "", "client-bytes = 64K\n");
        struct buddyclient *caching = client_caching(&scene), *giver = client_new(&scene);
        cache_pages(caching, 16);
        cr_assert_gt(stats_of(giver).cached_bytes, 0);
        cr_assert_eq(buddyclient_alloc(giver, 65536, &gift), 0);
        cr_expect_eq(buddyclient_give(giver, &gift, buddyclient_id(caching)), 0, "%s",
                buddyclient_detail(giver));
        expect_held(giver, 65536);
        buddyclient_destroy(caching);
        buddyclient_destroy(giver);
        scene_close(&scene);
}

/* Also what lies in the cache of one who has not come back to this daemon yet. */
Test(quota, cached_ranges_of_one_who_is_away_make_room) {
        struct scene scene;
        struct buddyclient_range whole;
        scene_open(&scene);
        scene_start_limited(&scene, "", "user-bytes = 64K\n");
        struct buddyclient *caching = client_caching(&scene);
        cache_pages(caching, 16);
        scene_kill(&scene);
        scene_start_limited(&scene, "", "user-bytes = 64K\n");
        struct buddyclient *other = client_new(&scene);
        cr_expect_eq(buddyclient_alloc(other, 65536, &whole), 0, "%s", buddyclient_detail(other));
        buddyclient_destroy(caching);
        buddyclient_destroy(other);
        scene_close(&scene);
}

/* Runs as another user; its exit status is what the test is told. */
#define AS_USER(user, scene, client, code)                                                         \
        do {                                                                                       \
                pid_t process_ = process_fork();                                                   \
                if (process_ == 0) {                                                               \
                        if (setgid(user) != 0 || setuid(user) != 0)                                \
                                _exit(99);                                                         \
                        struct buddyclient *client = client_try(scene);                            \
                        if (!client)                                                               \
                                _exit(98);                                                         \
                        code _exit(0);                                                             \
                }                                                                                  \
                cr_expect_eq(process_wait(process_), 0);                                           \
        } while (0)
#define MUST(condition)                                                                            \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        _exit(__LINE__ % 97 + 1);                                                  \
        } while (0)

Test(quota, gifts_leave_their_receiver_half_of_what_it_has_left) {
        struct scene scene;
        if (geteuid() != 0)
                cr_skip_test("needs to become other users");
        scene_open(&scene);
        scene_start_limited(&scene, "", "user-bytes = 1M\n");
        struct buddyclient *victim = client_new(&scene);
        uint32_t peer = buddyclient_id(victim);
        AS_USER(ALICE, &scene, client, {
                struct buddyclient_range range;
                for (int each = 0; each < 8; each++) {
                        MUST(buddyclient_alloc(client, 65536, &range) == 0);
                        MUST(buddyclient_give(client, &range, peer) == 0);
                }
                MUST(buddyclient_alloc(client, 65536, &range) == 0);
                MUST(buddyclient_give(client, &range, peer) == -EDQUOT);
                MUST(strstr(buddyclient_detail(client), "uid 0 holds 512 KiB of its 512 KiB"));
                MUST(buddyclient_release(client, &range) == 0);
        });
        struct buddyclient_range own;
        cr_expect_eq(buddyclient_alloc(victim, MIB / 2, &own), 0);
        expect_held(victim, MIB);
        buddyclient_destroy(victim);
        scene_close(&scene);
}

/* By default nobody is bounded while nobody else waits; then those who do not wait get no more than a share. */
Test(quota, alone_a_uid_may_take_everything) {
        struct scene scene;
        if (geteuid() != 0)
                cr_skip_test("needs to become other users");
        scene_open(&scene);
        scene_start_limited(&scene, "", "");
        AS_USER(ALICE, &scene, client, {
                static struct buddyclient_range pages[1024];
                struct buddyclient_range more;
                MUST(buddyclient_alloc_many(client, SCENE_PAGE, 1024, pages) == 0);
                MUST(buddyclient_alloc(client, 1, &more) == -ENOMEM);
        });
        struct buddyclient *observer = client_new(&scene);
        await_held(observer, 0);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

Test(quota, while_others_wait_bytes_have_a_share) {
        struct scene scene;
        int ends[2];
        if (geteuid() != 0)
                cr_skip_test("needs to become other users");
        scene_open(&scene);
        scene_start_limited(&scene, "", "");
        cr_assert_eq(pipe(ends), 0);
        struct buddyclient *observer = client_new(&scene);
        pid_t waiter = process_fork();
        if (waiter == 0) {
                struct buddyclient_range range;
                if (byte_read(ends[0]) != 'w' || setgid(BOB) != 0 || setuid(BOB) != 0)
                        _exit(3);
                struct buddyclient *client = client_try(&scene);
                _exit(!client || buddyclient_alloc_wait(client, 4 * MIB, -1, &range) != 0);
        }
        AS_USER(ALICE, &scene, client, {
                struct buddyclient_range range;
                struct buddyclient_stats stats = {.struct_size = sizeof stats};
                MUST(buddyclient_alloc(client, 2 * MIB, &range) == 0);
                byte_write(ends[1], 'w');
                do
                        MUST(buddyclient_stats(client, &stats) == 0);
                while (stats.waiters == 0);
                MUST(buddyclient_alloc(client, MIB, &range) == -EDQUOT);
                MUST(strstr(buddyclient_detail(client),
                        "uid 12345 holds 2 MiB of its 2 MiB while others wait"));
                /* Waiting for no time is not waiting. */
                MUST(buddyclient_alloc_wait(client, MIB, 0, &range) == -EDQUOT);
                MUST(strstr(buddyclient_detail(client),
                        "uid 12345 holds 2 MiB of its 2 MiB while others wait"));
        });
        cr_expect_eq(process_wait(waiter), 0);
        await_held(observer, 0);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

Test(quota, keys_waits_and_clients_are_bounded) {
        struct scene scene;
        struct buddyclient_range range, all;
        scene_open(&scene);
        scene_start_limited(&scene, "", "user-keys = 2\nclient-waits = 1\nuser-clients = 2\n");
        struct buddyclient *client = client_new(&scene), *second = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        cr_assert_eq(buddyclient_publish(client, "a", &range), 0);
        cr_assert_eq(buddyclient_publish(second, "b", &range), -ESTALE);
        cr_assert_eq(buddyclient_publish(client, "b", &range), 0);
        expect_over(
                client, buddyclient_publish(client, "c", &range), "2 of its 2 keys", SCENE_PAGE);
        cr_assert_eq(buddyclient_unpublish(client, "a"), 0);
        cr_assert_eq(buddyclient_publish(client, "c", &range), 0);
        cr_assert_null(client_try(&scene));
        scene_await_line(&scene, "uid 0 has 2 of its 2 clients");
        buddyclient_destroy(second);
        struct wire wire;
        struct reply reply;
        for (uint64_t deadline = now_ms() + PATIENCE_MS; scene_figure(&scene, "clients") > 1;)
                cr_assert_lt(now_ms(), deadline);
        wire_open(&wire, &scene);
        wire_hello(&wire, &scene);
        cr_assert_eq(buddyclient_alloc_many(client, 2 * MIB, 1, &all), 0);
        struct request wait = alloc_request(4 * MIB, 1);
        wait.alloc.wait = true;
        wait.alloc.timeout_ms = -1;
        wire_request(&wire, wait);
        uint64_t refused = wire_request(&wire, wait);
        cr_assert(wire_reply(&wire, &reply));
        cr_expect_eq(reply.id, refused);
        cr_expect_eq(reply.refused.status, STATUS_QUOTA);
        cr_expect(strstr(reply.refused.detail, "(client-waits)"), "%s", reply.refused.detail);
        wire_close(&wire);
        await_waiters(client, 0);
        cr_assert_eq(buddyclient_unpublish(client, "b"), 0);
        cr_assert_eq(buddyclient_unpublish(client, "c"), 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* Whoever loses its connection on purpose keeps its session, and that counts, too. */
Test(quota, connections_are_bounded_also_those_that_are_lost) {
        struct scene scene;
        scene_open(&scene);
        scene_start_limited(&scene, "user-connections = 4\n", "");
        for (int each = 0; each < 3; each++) {
                struct wire wire;
                struct reply reply;
                wire_open(&wire, &scene);
                struct request hello = {.kind = REQUEST_HELLO};
                hello.hello = (struct request_hello){.version = PROTOCOL_VERSION,
                        .features = FEATURE_RESUMES,
                        .pool = scene.pool,
                        .name = "comes back"};
                wire_request(&wire, hello);
                cr_assert(wire_reply(&wire, &reply) && reply.kind == REPLY_WELCOME);
                wire_expect_alive(&wire);
                wire_close(&wire);
        }
        struct buddyclient *client = client_new(&scene), *more = NULL;
        cr_assert_eq(buddyclient_new(&more), 0);
        buddyclient_set_socket(more, scene.socket);
        buddyclient_set_pool(more, scene.pool);
        cr_expect_eq(buddyclient_connect(more), -EDQUOT);
        cr_expect(strstr(buddyclient_detail(more), "uid 0 has 4 of its 4 connections"), "%s",
                buddyclient_detail(more));
        buddyclient_destroy(more);
        scene_await_line(&scene, "closed: uid 0 has 4 of its 4 connections");
        buddyclient_destroy(client);
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
}

/* One user's connections, as many as there are descriptors, leave some for others. */
Test(quota, a_crowd_of_one_uid_leaves_descriptors_for_another) {
        struct scene scene;
        int pipe_ends[2];
        if (geteuid() != 0)
                cr_skip_test("needs to become other users");
        scene_open(&scene);
        scene.fd_limit = 256;
        scene_start_limited(&scene, "", "");
        cr_assert_eq(pipe(pipe_ends), 0);
        pid_t crowd = process_fork();
        if (crowd == 0) {
                if (setgid(ALICE) != 0 || setuid(ALICE) != 0)
                        _exit(3);
                for (int each = 0; each < 200; each++) {
                        struct wire *wire = calloc(1, sizeof *wire);
                        wire_open(wire, &scene);
                }
                byte_write(pipe_ends[1], 'c');
                for (;;)
                        pause();
        }
        cr_assert_eq(byte_read(pipe_ends[0]), 'c');
        scene_await_line(&scene, "(uid 12345) closed: uid 12345 has ");
        AS_USER(BOB, &scene, client, {
                struct buddyclient_range range;
                MUST(buddyclient_alloc(client, 1, &range) == 0);
        });
        process_kill(crowd);
        scene_close(&scene);
}

/* Who does not read is not served on: of its requests so many are run as there is room for unread replies in its socket, and the others
 * once it reads. Each of these allocs shows in the pool when it is run. */
static void expect_paced(const char *limits) {
        enum { COUNT = 1000 };
        static uint8_t frames[COUNT * 32];
        struct scene scene;
        struct wire wire;
        struct reply reply;
        size_t length = 0;
        char keys[96];
        scene_open(&scene);
        snprintf(keys, sizeof keys, "workers = 1\n%s", limits);
        scene_start_limited(&scene, keys, "");
        struct buddyclient *other = client_new(&scene);
        wire_open(&wire, &scene);
        wire_hello(&wire, &scene);
        for (unsigned each = 0; each < COUNT; each++) {
                struct request request = alloc_request(SCENE_PAGE, 1);
                request.id = 1000 + each;
                ptrdiff_t frame = request_encode(&request, frames + length, sizeof frames - length);
                cr_assert_gt(frame, 0);
                length += (size_t)frame;
        }
        wire_send(&wire, frames, length);
        for (uint64_t deadline = now_ms() + PATIENCE_MS; stats_of(other).held_bytes == 0;)
                cr_assert_lt(now_ms(), deadline);
        /* The worker has been through all of it, and beyond, by the time that it has answered these. */
        for (unsigned each = 0; each < 100; each++)
                stats_of(other);
        uint64_t run = stats_of(other).held_bytes / SCENE_PAGE;
        cr_expect_lt(run, COUNT, "%s: all %lu are run", limits, run);
        for (unsigned each = 0; each < COUNT; each++) {
                cr_assert(wire_reply(&wire, &reply), "closed after %u replies", each);
                cr_assert_eq(reply.id, 1000 + each);
                cr_assert_eq(reply.kind, REPLY_RANGES);
        }
        wire_expect_alive(&wire);
        wire_close(&wire);
        buddyclient_destroy(other);
        scene_close(&scene);
}

Test(quota, requests_in_flight_of_a_client_are_bounded) {
        expect_paced("client-requests = 1\n");
}

Test(quota, replies_that_wait_for_a_client_are_bounded) {
        expect_paced("client-output = 0\n");
}

/* Whoever reads gets the largest replies also where next to nothing may wait. */
Test(quota, a_reader_is_not_closed_for_large_replies) {
        struct scene scene;
        struct wire wire;
        struct reply reply;
        scene_open(&scene);
        scene_start_limited(&scene, "client-output = 0\nclient-requests = 1\n", "");
        wire_open(&wire, &scene);
        wire_hello(&wire, &scene);
        for (unsigned each = 0; each < 64; each++)
                wire_request(&wire, (struct request){.kind = REQUEST_MAP,
                                            .map = {.cell_bytes = SCENE_PAGE, .cells = 4096}});
        for (unsigned each = 0; each < 64; each++)
                cr_assert(wire_reply(&wire, &reply) && reply.kind == REPLY_MAP, "reply %u", each);
        wire_expect_alive(&wire);
        wire_close(&wire);
        scene_close(&scene);
}

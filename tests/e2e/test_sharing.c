/* Ranges with several holders: attach and find, read-only clients, and what a death or a refusal leaves of it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(sharing, .timeout = 60);

static const struct buddyclient_range UNTOUCHED = {0x1111, 0x2222, 0x3333};

static bool same_range(const struct buddyclient_range *one, const struct buddyclient_range *other) {
        return memcmp(one, other, sizeof *one) == 0;
}

/* Two clients of one pool. */
struct duo {
        struct scene scene;
        struct buddyclient *one, *other;
};

static void duo_open(struct duo *duo) {
        scene_open(&duo->scene);
        scene_start(&duo->scene, "--size", "32M", NULL);
        duo->one = client_new(&duo->scene);
        duo->other = client_new(&duo->scene);
        cr_assert_neq(buddyclient_id(duo->one), 0);
        cr_assert_neq(buddyclient_id(duo->one), buddyclient_id(duo->other));
}

/* Nothing may be held any more. */
static void duo_close(struct duo *duo) {
        expect_held(duo->one, 0);
        cr_assert_eq(stats_of(duo->one).largest_free_bytes, 32 * MIB, "not merged");
        buddyclient_destroy(duo->one);
        buddyclient_destroy(duo->other);
        scene_close(&duo->scene);
}

static struct buddyclient_range taken(struct buddyclient *client, uint64_t length, int stamp) {
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, length, &range), 0);
        memset(buddyclient_pointer(client, &range), stamp, range.length);
        return range;
}

static void expect_bytes(
        struct buddyclient *client, const struct buddyclient_range *range, int stamp) {
        const unsigned char *bytes = buddyclient_pointer(client, range);
        for (uint64_t at = 0; at < range->length; at++)
                cr_assert_eq(bytes[at], stamp, "byte %lu is %d", at, bytes[at]);
}

/* ---- attach ---- */

Test(sharing, as_many_releases_as_holds) {
        struct duo duo;
        duo_open(&duo);
        struct buddyclient_range range = taken(duo.one, 3 * SCENE_PAGE, 7);
        for (int times = 0; times < 3; times++)
                cr_assert_eq(buddyclient_attach(duo.other, &range), 0);
        expect_held(duo.one, 4 * SCENE_PAGE);
        cr_assert_eq(buddyclient_release(duo.one, &range), 0);
        cr_assert_eq(buddyclient_release(duo.one, &range), -ESTALE);
        expect_bytes(duo.other, &range, 7);
        for (int times = 0; times < 3; times++) {
                expect_held(duo.one, 4 * SCENE_PAGE);
                cr_assert_eq(buddyclient_release(duo.other, &range), 0);
        }
        cr_assert_eq(buddyclient_release(duo.other, &range), -ESTALE);
        duo_close(&duo);
}

Test(sharing, the_owner_may_attach_too) {
        struct duo duo;
        duo_open(&duo);
        struct buddyclient_range range = taken(duo.one, SCENE_PAGE, 1);
        cr_assert_eq(buddyclient_attach(duo.one, &range), 0);
        cr_assert_eq(buddyclient_attach(duo.one, &range), 0);
        cr_assert_eq(buddyclient_release(duo.other, &range), -ESTALE);
        cr_assert_eq(buddyclient_release(duo.one, &range), 0);
        struct buddyclient_range twice[3] = {range, range, range};
        cr_assert_eq(buddyclient_release_many(duo.one, twice, 3), -ESTALE);
        expect_held(duo.one, SCENE_PAGE);
        cr_assert_eq(buddyclient_release_many(duo.one, twice, 2), 0);
        duo_close(&duo);
}

Test(sharing, an_owner_that_was_outlived_may_come_back) {
        struct duo duo;
        duo_open(&duo);
        struct buddyclient_range range = taken(duo.one, SCENE_PAGE, 9);
        for (int round = 0; round < 20; round++) {
                struct buddyclient *stays = round % 2 ? duo.one : duo.other;
                struct buddyclient *leaves = round % 2 ? duo.other : duo.one;
                cr_assert_eq(buddyclient_attach(stays, &range), 0);
                cr_assert_eq(buddyclient_release(leaves, &range), 0);
                cr_assert_eq(buddyclient_release(leaves, &range), -ESTALE);
        }
        expect_bytes(duo.one, &range, 9);
        cr_assert_eq(buddyclient_release(duo.one, &range), 0);
        duo_close(&duo);
}

Test(sharing, attach_is_refused_for_what_nobody_holds) {
        struct duo duo;
        duo_open(&duo);
        struct buddyclient_range range = taken(duo.one, 4 * SCENE_PAGE, 1), bad = range;
        bad.offset += SCENE_PAGE;
        cr_assert_eq(buddyclient_attach(duo.other, &bad), -EINVAL, "an interior offset");
        bad = range, bad.offset = 33 * MIB;
        cr_assert_eq(buddyclient_attach(duo.other, &bad), -EINVAL, "beyond the pool");
        bad = range, bad.length = 0;
        cr_assert_eq(buddyclient_attach(duo.other, &bad), -EINVAL, "no length");
        bad = range, bad.offset = 16 * MIB;
        cr_assert_lt(buddyclient_attach(duo.other, &bad), 0, "never granted");
        bad = range, bad.generation += 1;
        cr_assert_lt(buddyclient_attach(duo.other, &bad), 0, "another life");
        bad = range, bad.length *= 2;
        cr_assert_lt(buddyclient_attach(duo.other, &bad), 0, "another length");
        expect_held(duo.one, 4 * SCENE_PAGE);
        cr_assert_eq(buddyclient_release(duo.one, &range), 0);
        cr_assert_eq(buddyclient_attach(duo.other, &range), -ESTALE);
        cr_assert_eq(buddyclient_attach(duo.one, &range), -ESTALE);
        struct buddyclient_range next = taken(duo.one, 4 * SCENE_PAGE, 2);
        cr_assert_eq(next.offset, range.offset, "the lowest address is free");
        cr_assert_eq(buddyclient_attach(duo.other, &range), -ESTALE, "an old generation");
        cr_assert_eq(buddyclient_release(duo.one, &next), 0);
        duo_close(&duo);
}

/* A returned range may be kept for this client's next request, but not while somebody else holds it. */
Test(sharing, a_cache_does_not_hand_out_what_another_holds) {
        struct duo duo;
        struct buddyclient *client = NULL;
        struct buddyclient_range again[64];
        duo_open(&duo);
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, duo.scene.socket), 0);
        cr_assert_eq(buddyclient_set_pool(client, duo.scene.pool), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(client, MIB), 0);
        cr_assert_eq(buddyclient_connect(client), 0);
        struct buddyclient_range range = taken(client, SCENE_PAGE, 3);
        cr_assert_eq(buddyclient_attach(duo.other, &range), 0);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        for (int each = 0; each < 64; each++) {
                again[each] = taken(client, SCENE_PAGE, 4);
                cr_assert_neq(again[each].offset, range.offset, "granted beside a holder");
        }
        expect_bytes(duo.other, &range, 3);
        cr_assert_eq(buddyclient_release_many(client, again, 64), 0);
        for (int each = 0; each < 64; each++)
                cr_assert_eq(buddyclient_attach(duo.other, &again[each]), -ESTALE,
                        "what nobody uses can be attached");
        cr_assert_eq(buddyclient_release(duo.other, &range), 0);
        buddyclient_destroy(client);
        await_held(duo.one, 0);
        duo_close(&duo);
}

/* ---- Deaths ---- */

/* A process that attaches to a range and says so; it stays until it is killed. */
static pid_t attacher(const struct scene *scene, const struct buddyclient_range *range, int fd) {
        pid_t process = process_fork();
        if (process != 0)
                return process;
        struct buddyclient *client = client_try(scene);
        if (!client || buddyclient_attach(client, range) != 0 ||
                buddyclient_attach(client, range) != 0)
                _exit(1);
        byte_write(fd, 'A');
        for (;;)
                pause();
}

Test(sharing, a_death_takes_only_its_own_holds) {
        struct duo duo;
        int ends[2];
        duo_open(&duo);
        cr_assert_eq(pipe(ends), 0);
        struct buddyclient_range range = taken(duo.one, 2 * SCENE_PAGE, 5);
        pid_t first = attacher(&duo.scene, &range, ends[1]);
        cr_assert_eq(byte_read(ends[0]), 'A');
        pid_t second = attacher(&duo.scene, &range, ends[1]);
        cr_assert_eq(byte_read(ends[0]), 'A');
        process_kill(first);
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (stats_of(duo.one).clients != 3)
                cr_assert_lt(now_ms(), deadline, "a dead client is still there");
        expect_held(duo.one, 2 * SCENE_PAGE);
        cr_assert_eq(buddyclient_release(duo.one, &range), 0);
        expect_held(duo.one, 2 * SCENE_PAGE);
        expect_bytes(duo.one, &range, 5);
        process_kill(second);
        await_held(duo.one, 0);
        duo_close(&duo);
}

Test(sharing, what_the_owners_death_leaves_is_the_attachers) {
        struct duo duo;
        int ends[2];
        duo_open(&duo);
        cr_assert_eq(pipe(ends), 0);
        pid_t owner = process_fork();
        if (owner == 0) {
                struct buddyclient *client = client_try(&duo.scene);
                struct buddyclient_range range;
                if (!client || buddyclient_alloc(client, 8 * SCENE_PAGE, &range) != 0)
                        _exit(1);
                memset(buddyclient_pointer(client, &range), 6, range.length);
                if (write(ends[1], &range, sizeof range) != sizeof range)
                        _exit(2);
                for (;;)
                        pause();
        }
        struct buddyclient_range range;
        cr_assert_eq(read(ends[0], &range, sizeof range), sizeof range);
        cr_assert_eq(buddyclient_attach(duo.one, &range), 0);
        process_kill(owner);
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (stats_of(duo.one).clients != 2)
                cr_assert_lt(now_ms(), deadline, "a dead client is still there");
        expect_held(duo.one, 8 * SCENE_PAGE);
        expect_bytes(duo.one, &range, 6);
        expect_sound(&duo.scene);
        cr_assert_eq(buddyclient_release(duo.one, &range), 0);
        duo_close(&duo);
}

/* ---- find ---- */

static struct buddyclient *client_called(const struct scene *scene, const char *name) {
        struct buddyclient *client = NULL;
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, scene->socket), 0);
        cr_assert_eq(buddyclient_set_pool(client, scene->pool), 0);
        cr_assert_eq(buddyclient_set_name(client, name), 0);
        cr_assert_eq(buddyclient_connect(client), 0);
        return client;
}

Test(sharing, find_knows_the_living_by_name) {
        struct duo duo;
        uint32_t peer = 4711;
        duo_open(&duo);
        cr_assert_eq(buddyclient_find(duo.one, "worker", &peer), -ENOENT);
        cr_assert_eq(buddyclient_find(duo.one, "", &peer), -EINVAL);
        cr_assert_eq(peer, 4711, "a refusal wrote");
        struct buddyclient *worker = client_called(&duo.scene, "worker");
        struct buddyclient *later = client_called(&duo.scene, "worker");
        cr_assert_eq(buddyclient_find(duo.one, "worker", &peer), 0);
        cr_assert_eq(peer, buddyclient_id(worker), "not the first");
        cr_assert_eq(buddyclient_find(worker, "worker", &peer), 0);
        cr_assert_eq(buddyclient_find(duo.one, "worke", &peer), -ENOENT, "half a name");
        buddyclient_destroy(worker);
        cr_assert_eq(buddyclient_find(duo.one, "worker", &peer), 0);
        cr_assert_eq(peer, buddyclient_id(later));
        struct buddyclient_range range = taken(duo.one, 1, 1);
        cr_assert_eq(buddyclient_give(duo.one, &range, peer), 0);
        cr_assert_eq(buddyclient_release(later, &range), 0);
        buddyclient_destroy(later);
        cr_assert_eq(buddyclient_find(duo.one, "worker", &peer), -ENOENT);
        duo_close(&duo);
}

/* ---- Read-only, and forked ---- */

Test(sharing, read_only_may_attach_and_look_up) {
        struct duo duo;
        struct buddyclient *reader = NULL;
        struct buddyclient_range found = UNTOUCHED;
        uint32_t peer = 0;
        duo_open(&duo);
        struct buddyclient_range range = taken(duo.one, SCENE_PAGE, 9), tried = range;
        cr_assert_eq(buddyclient_publish(duo.one, "model", &range), 0);
        cr_assert_eq(buddyclient_new(&reader), 0);
        buddyclient_set_socket(reader, duo.scene.socket);
        buddyclient_set_pool(reader, duo.scene.pool);
        buddyclient_set_name(reader, "reader");
        buddyclient_set_read_only(reader, true);
        cr_assert_eq(buddyclient_connect(reader), 0);
        cr_assert_eq(buddyclient_attach(reader, &range), 0);
        cr_assert_eq(buddyclient_alloc(reader, 1, &found), -EACCES);
        cr_assert_eq(buddyclient_give(reader, &tried, buddyclient_id(duo.one)), -EACCES);
        cr_assert_eq(buddyclient_give_many(reader, &tried, 1, buddyclient_id(duo.one)), -EACCES);
        cr_assert_eq(buddyclient_publish(reader, "mine", &range), -EACCES);
        cr_assert_eq(buddyclient_unpublish(reader, "model"), -EACCES);
        cr_assert(same_range(&found, &UNTOUCHED) && same_range(&tried, &range));
        cr_assert_eq(buddyclient_find(reader, "reader", &peer), 0);
        cr_assert_eq(peer, buddyclient_id(reader));
        cr_assert_eq(buddyclient_lookup(reader, "model", &found), 0);
        cr_assert(same_range(&found, &range));
        cr_assert_eq(buddyclient_release(duo.one, &range), 0);
        cr_assert_eq(buddyclient_unpublish(duo.one, "model"), 0);
        expect_bytes(reader, &range, 9);
        pid_t process = process_fork();
        if (process == 0) {
                signal(SIGSEGV, SIG_DFL);
                *(volatile char *)buddyclient_pointer(reader, &range) = 1;
                _exit(0);
        }
        cr_assert_eq(process_wait(process), -SIGSEGV, "a read-only client can write");
        cr_assert_eq(buddyclient_release(reader, &range), 0);
        expect_held(duo.one, SCENE_PAGE);
        cr_assert_eq(buddyclient_release(reader, &range), 0);
        cr_assert_eq(buddyclient_release(reader, &range), -ESTALE);
        buddyclient_destroy(reader);
        duo_close(&duo);
}

static int child_calls(struct buddyclient *client, struct buddyclient_range range) {
        struct buddyclient_range found;
        uint32_t peer;
        int results[] = {buddyclient_attach(client, &range),
                buddyclient_give(client, &range, buddyclient_id(client)),
                buddyclient_give_many(client, &range, 1, buddyclient_id(client)),
                buddyclient_publish(client, "key", &range), buddyclient_unpublish(client, "key"),
                buddyclient_lookup(client, "key", &found), buddyclient_find(client, "e2e", &peer)};
        for (int each = 0; each < 7; each++)
                if (results[each] != -ENOTCONN)
                        return each + 1;
        return 0;
}

Test(sharing, a_forked_child_shares_nothing) {
        struct duo duo;
        duo_open(&duo);
        struct buddyclient_range range = taken(duo.one, SCENE_PAGE, 9);
        cr_assert_eq(buddyclient_publish(duo.one, "key", &range), 0);
        pid_t process = process_fork();
        if (process == 0)
                _exit(child_calls(duo.one, range));
        cr_assert_eq(process_wait(process), 0);
        cr_assert_eq(buddyclient_unpublish(duo.one, "key"), 0);
        cr_assert_eq(buddyclient_release(duo.one, &range), 0);
        duo_close(&duo);
}

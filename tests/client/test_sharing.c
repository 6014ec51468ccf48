/* Sharing between clients of a real daemon: who holds what, and when it is free. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "client/buddyclient.h"
#include "daemon.h"

#define PAGE       UINT64_C(4096)
#define POOL_BYTES (UINT64_C(64) << 20)

static struct daemon_process daemon_process;
static struct buddyclient *client, *peer;

static struct buddyclient *named(const char *name, bool read_only) {
        struct buddyclient *made = daemon_process_client(&daemon_process);
        cr_assert_eq(buddyclient_set_name(made, name), 0);
        cr_assert_eq(buddyclient_set_read_only(made, read_only), 0);
        cr_assert_eq(buddyclient_connect(made), 0, "%s", buddyclient_detail(made));
        return made;
}

static void setup(void) {
        cr_assert_eq(daemon_process_start(&daemon_process, BUDDYD, POOL_BYTES), 0);
        client = named("first", false);
        peer = named("second", false);
}

static void teardown(void) {
        buddyclient_destroy(client);
        buddyclient_destroy(peer);
        cr_assert_eq(daemon_process_stop(&daemon_process), 0);
}

TestSuite(sharing, .init = setup, .fini = teardown, .timeout = 120);

static uint64_t held_bytes(void) {
        struct buddyclient_stats stats = {.struct_size = sizeof(stats)};
        cr_assert_eq(buddyclient_stats(client, &stats), 0, "%s", buddyclient_detail(client));
        return stats.held_bytes;
}

static struct buddyclient_range taken(uint64_t length) {
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, length, &range), 0);
        return range;
}

/* ---- Peers ---- */

Test(sharing, finds_a_peer_by_its_name) {
        uint32_t id = 1;
        cr_assert_eq(buddyclient_find(client, "second", &id), 0);
        cr_assert_eq(id, buddyclient_id(peer));
        cr_assert_eq(buddyclient_find(client, "third", &id), -ENOENT);
        cr_assert_eq(buddyclient_find(client, "", &id), -EINVAL);
        cr_assert_eq(buddyclient_find(client, NULL, &id), -EINVAL);
        cr_assert_eq(buddyclient_find(client, "second", NULL), -EINVAL);
        cr_assert_eq(id, buddyclient_id(peer));
}

/* ---- Attaching ---- */

Test(sharing, a_range_lives_while_anyone_holds_it) {
        struct buddyclient_range range = taken(PAGE);
        strcpy(buddyclient_pointer(client, &range), "shared");
        cr_assert_eq(buddyclient_attach(peer, &range), 0);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(buddyclient_release(client, &range), -ESTALE);
        cr_assert_eq(held_bytes(), PAGE);
        cr_assert_str_eq(buddyclient_pointer(peer, &range), "shared");
        cr_assert_eq(buddyclient_release(peer, &range), 0);
        cr_assert_eq(held_bytes(), 0);
        cr_assert_eq(buddyclient_attach(peer, &range), -ESTALE);
        cr_assert_eq(buddyclient_attach(peer, NULL), -EINVAL);
        range.offset += 1;
        cr_assert_eq(buddyclient_attach(peer, &range), -EINVAL);
}

Test(sharing, holds_are_counted) {
        struct buddyclient_range range = taken(2 * PAGE);
        for (int i = 0; i < 3; i++)
                cr_assert_eq(buddyclient_attach(client, &range), 0);
        for (int i = 0; i < 4; i++) {
                cr_assert_eq(held_bytes(), 2 * PAGE);
                cr_assert_eq(buddyclient_release(client, &range), 0);
        }
        cr_assert_eq(held_bytes(), 0);
        cr_assert_eq(buddyclient_release(client, &range), -ESTALE);
}

/* ---- Giving ---- */

Test(sharing, what_is_given_is_the_peers) {
        struct buddyclient_range range = taken(PAGE);
        cr_assert_eq(buddyclient_give(client, &range, buddyclient_id(peer)), 0);
        cr_assert_eq(buddyclient_release(client, &range), -ESTALE);
        cr_assert_eq(held_bytes(), PAGE);
        cr_assert_eq(buddyclient_release(peer, &range), 0);
        cr_assert_eq(held_bytes(), 0);
}

Test(sharing, what_was_given_can_go_on) {
        struct buddyclient_range range = taken(PAGE);
        uint32_t self = buddyclient_id(client), other = buddyclient_id(peer);
        cr_assert_eq(buddyclient_give(client, &range, other), 0);
        cr_assert_eq(buddyclient_attach(peer, &range), 0);
        cr_assert_eq(buddyclient_publish(peer, "went on", &range), 0);
        cr_assert_eq(buddyclient_give(peer, &range, self), 0);
        cr_assert_eq(buddyclient_give(peer, &range, self), 0);
        cr_assert_eq(buddyclient_give(peer, &range, self), -ESTALE);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(buddyclient_release(client, &range), -ESTALE);
        cr_assert_eq(held_bytes(), PAGE);
        cr_assert_eq(buddyclient_unpublish(peer, "went on"), 0);
        cr_assert_eq(held_bytes(), 0);
}

Test(sharing, a_give_to_nobody_changes_nothing) {
        struct buddyclient_range range = taken(PAGE), before = range;
        cr_assert_eq(buddyclient_give(client, &range, 0), -ENOENT);
        cr_assert_eq(buddyclient_give(client, &range, 999999), -ENOENT);
        cr_assert_eq(memcmp(&range, &before, sizeof(range)), 0);
        cr_assert_eq(buddyclient_give(client, NULL, buddyclient_id(peer)), -EINVAL);
        cr_assert_eq(buddyclient_release(client, &range), 0);
}

Test(sharing, a_give_to_oneself_changes_nothing) {
        struct buddyclient_range range = taken(PAGE);
        cr_assert_eq(buddyclient_give(client, &range, buddyclient_id(client)), 0);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(held_bytes(), 0);
}

Test(sharing, gives_many_or_none) {
        static struct buddyclient_range ranges[4097];
        uint32_t to = buddyclient_id(peer);
        cr_assert_eq(buddyclient_alloc_many(client, PAGE, 4096, ranges), 0);
        struct buddyclient_range right = ranges[4095];
        ranges[4095] = ranges[0];
        cr_assert_eq(buddyclient_give_many(client, ranges, 4096, to), -ESTALE);
        ranges[4095] = right;
        ranges[4095].offset += 1;
        cr_assert_eq(buddyclient_give_many(client, ranges, 4096, to), -EINVAL);
        ranges[4095] = right;
        cr_assert_eq(buddyclient_give_many(client, ranges, 4097, to), -EINVAL);
        cr_assert_eq(buddyclient_give_many(client, ranges, 0, to), -EINVAL);
        cr_assert_eq(buddyclient_give_many(client, NULL, 1, to), -EINVAL);
        cr_assert_eq(buddyclient_release_many(peer, ranges, 1), -ESTALE);
        cr_assert_eq(buddyclient_give_many(client, ranges, 4096, to), 0);
        cr_assert_eq(buddyclient_release_many(client, ranges, 4096), -ESTALE);
        cr_assert_eq(held_bytes(), 4096 * PAGE);
        cr_assert_eq(buddyclient_release_many(peer, ranges, 4096), 0);
        cr_assert_eq(held_bytes(), 0);
}

/* error: of a range that was never granted, of which the client's own table knows no more than that it does not hold it. */
static void release_more_gifts_than_one_batch(struct buddyclient *receiver, int error) {
        enum { COUNT = 4096 + 10 };
        static struct buddyclient_range ranges[COUNT + 1];
        cr_assert_eq(buddyclient_alloc_many(client, PAGE, 4096, ranges), 0);
        cr_assert_eq(buddyclient_give_many(client, ranges, 4096, buddyclient_id(receiver)), 0);
        cr_assert_eq(buddyclient_alloc_many(receiver, PAGE, 10, ranges + 4096), 0);
        ranges[COUNT] = ranges[4];
        cr_assert_eq(buddyclient_release_many(receiver, ranges, COUNT + 1), -ESTALE);
        ranges[COUNT - 1].generation++;
        cr_assert_eq(buddyclient_release_many(receiver, ranges, COUNT), error);
        ranges[COUNT - 1].generation--;
        cr_assert_eq(held_bytes(), COUNT * PAGE);
        cr_assert_eq(buddyclient_attach(receiver, &ranges[4]), 0);
        cr_assert_eq(buddyclient_release_many(receiver, ranges, COUNT + 1), 0);
        cr_assert_eq(held_bytes(), 0);
}

Test(sharing, releases_more_gifts_than_one_batch_or_none) {
        release_more_gifts_than_one_batch(peer, -EINVAL);
}

/* The table does not know gifts: the daemon is asked before the first of several requests. */
Test(sharing, releases_more_gifts_than_one_batch_or_none_without_cache) {
        struct buddyclient *plain = daemon_process_client(&daemon_process);
        cr_assert_eq(buddyclient_set_cache_bytes(plain, 0), 0);
        cr_assert_eq(buddyclient_connect(plain), 0, "%s", buddyclient_detail(plain));
        release_more_gifts_than_one_batch(plain, -ESTALE);
        buddyclient_destroy(plain);
}

Test(sharing, a_holders_end_takes_only_its_own_hold) {
        struct buddyclient_range given = taken(PAGE), kept = taken(PAGE);
        cr_assert_eq(buddyclient_attach(peer, &kept), 0);
        cr_assert_eq(buddyclient_give(client, &given, buddyclient_id(peer)), 0);
        buddyclient_destroy(peer);
        peer = NULL;
        cr_assert_eq(held_bytes(), PAGE);
        cr_assert_eq(buddyclient_release(client, &kept), 0);
}

/* ---- Keys ---- */

Test(sharing, a_key_outlives_its_publisher) {
        struct buddyclient *publisher = named("publisher", false);
        struct buddyclient_range range, found;
        cr_assert_eq(buddyclient_alloc(publisher, PAGE, &range), 0);
        strcpy(buddyclient_pointer(publisher, &range), "model");
        cr_assert_eq(buddyclient_publish(publisher, "models/α", &range), 0);
        buddyclient_destroy(publisher);
        cr_assert_eq(held_bytes(), PAGE);
        cr_assert_eq(buddyclient_lookup(client, "models/α", &found), 0);
        cr_assert_eq(memcmp(&found, &range, sizeof(range)), 0);
        cr_assert_str_eq(buddyclient_pointer(client, &found), "model");
        cr_assert_eq(buddyclient_unpublish(peer, "models/α"), 0);
        cr_assert_eq(held_bytes(), PAGE);
        cr_assert_eq(buddyclient_release(client, &found), 0);
        cr_assert_eq(held_bytes(), 0);
}

Test(sharing, a_key_moves_at_once) {
        struct buddyclient_range first = taken(PAGE), second = taken(2 * PAGE), found;
        cr_assert_eq(buddyclient_publish(client, "key", &first), 0);
        cr_assert_eq(buddyclient_release(client, &first), 0);
        cr_assert_eq(buddyclient_publish(client, "key", &second), 0);
        cr_assert_eq(held_bytes(), 2 * PAGE);
        cr_assert_eq(buddyclient_lookup(peer, "key", &found), 0);
        cr_assert_eq(found.offset, second.offset);
        cr_assert_eq(buddyclient_unpublish(client, "key"), 0);
        cr_assert_eq(buddyclient_unpublish(client, "key"), -ENOENT);
}

Test(sharing, keys_that_are_none_are_refused) {
        struct buddyclient_range range = taken(PAGE), found = {.offset = 1};
        char longest[241];
        memset(longest, 'k', sizeof(longest));
        longest[239] = '\0';
        cr_assert_eq(buddyclient_publish(client, longest, &range), 0);
        cr_assert_eq(buddyclient_unpublish(client, longest), 0);
        longest[239] = 'k', longest[240] = '\0';
        const char *const wrong[] = {
                NULL, "", longest, "\xff", "a\xc0\x80", "\xed\xa0\x80", "\xe2\x82"};
        for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
                cr_assert_eq(buddyclient_publish(client, wrong[i], &range), -EINVAL);
                cr_assert_eq(buddyclient_lookup(client, wrong[i], &found), -EINVAL);
                cr_assert_eq(buddyclient_unpublish(client, wrong[i]), -EINVAL);
        }
        cr_assert_eq(buddyclient_lookup(client, "nothing", &found), -ENOENT);
        cr_assert_eq(found.offset, 1);
        cr_assert_eq(buddyclient_publish(client, "key", NULL), -EINVAL);
        cr_assert_eq(buddyclient_lookup(client, "key", NULL), -EINVAL);
        cr_assert_eq(buddyclient_publish(peer, "key", &range), -ESTALE);
}

/* ---- Read-only clients ---- */

Test(sharing, a_reader_attaches_looks_up_finds_and_releases) {
        struct buddyclient *reader = named("reader", true);
        struct buddyclient_range range = taken(PAGE), found, copy = range;
        uint32_t id;
        cr_assert_eq(buddyclient_publish(client, "key", &range), 0);
        cr_assert_eq(buddyclient_find(reader, "first", &id), 0);
        cr_assert_eq(buddyclient_attach(reader, &range), 0);
        cr_assert_eq(buddyclient_lookup(reader, "key", &found), 0);
        cr_assert_eq(buddyclient_alloc(reader, PAGE, &copy), -EACCES);
        cr_assert_eq(buddyclient_give(reader, &copy, id), -EACCES);
        cr_assert_eq(buddyclient_publish(reader, "key", &range), -EACCES);
        cr_assert_eq(buddyclient_unpublish(reader, "key"), -EACCES);
        cr_assert_eq(memcmp(&copy, &range, sizeof(range)), 0);
        cr_assert_eq(buddyclient_release(reader, &range), 0);
        cr_assert_eq(buddyclient_release(reader, &found), 0);
        cr_assert_eq(buddyclient_release(reader, &found), -ESTALE);
        cr_assert_eq(buddyclient_unpublish(client, "key"), 0);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(held_bytes(), 0);
        buddyclient_destroy(reader);
}

/* Whose cache is rearranged while the connection is busy or its daemon stands keeps within its bytes all the same. */
#include <criterion/criterion.h>
#include <string.h>

#include "outcome.h"

TestSuite(cache_busy, .timeout = 120);

#define BATCH   4096
#define BATCHES 12
#define KEPT    (64 * 1024ull)
#define ASKED   12

static struct buddyclient_range batches[BATCHES][BATCH];
static struct outcome crowd[BATCHES], asked[ASKED];

static void fill(struct buddyclient *client, uint64_t length, size_t count) {
        struct buddyclient_range ranges[64];
        for (size_t round = 0; round < 8; round++) {
                for (size_t each = 0; each < count; each++)
                        cr_assert_eq(buddyclient_alloc(client, length, &ranges[each]), 0);
                for (size_t each = 0; each < count; each++)
                        cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
        }
}

/* The socket is full, so that what an order has to give up cannot be told to the daemon when it is decided. */
Test(cache_busy, an_order_that_loses_its_slots_while_the_socket_is_full_is_emptied) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "512M", "--commit", "lazy", NULL);
        struct buddyclient *observer = client_new(&scene);
        struct buddyclient *client = client_with(&scene, KEPT, 60000);
        for (int each = 0; each < BATCHES; each++)
                cr_assert_eq(buddyclient_alloc_many(client, 1, BATCH, batches[each]), 0);
        fill(client, SCENE_PAGE, 16);
        uint64_t before = stats_of(observer).cached_bytes;
        cr_assert_gt(before, KEPT / 2, "only %lu bytes are cached", before);
        scene_freeze(&scene);
        for (int each = 0; each < BATCHES; each++) {
                cr_assert_eq(buddyclient_submit_release_many(
                                     client, batches[each], BATCH, outcome_note, &crowd[each]),
                        0);
                cr_assert_geq(buddyclient_dispatch(client), 0);
        }
        for (int each = 0; each < ASKED; each++)
                cr_assert_eq(buddyclient_submit_alloc(
                                     client, 2 * SCENE_PAGE, outcome_note, &asked[each]),
                        0);
        scene_thaw(&scene);
        for (int each = 0; each < BATCHES; each++)
                outcome_await(client, &crowd[each], 0);
        for (int each = 0; each < ASKED; each++)
                outcome_await(client, &asked[each], 0);
        for (int each = 0; each < ASKED; each++)
                cr_assert_eq(buddyclient_release(client, asked[each].ranges), 0);
        client_settle(client, 50);
        cr_assert_eq(stats_of(client).clients, 2);
        struct buddyclient_stats stats = stats_of(observer);
        cr_assert_leq(stats.cached_bytes, KEPT, "%lu bytes are cached", stats.cached_bytes);
        cr_assert_eq(stats.held_bytes, 0);
        buddyclient_destroy(client);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

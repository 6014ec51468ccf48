/* Ranges that threads of this process are about to put into the cache, or have put there, when the daemon dies and others become
 * holders of them before the next daemon meets the cache: at each step at which a thread may be stopped. */
#include <criterion/criterion.h>

#include "client/cache_slot.h"
#include "client/client.h"
#include "client/deadline.h"
#include "daemon.h"

TestSuite(claimed, .timeout = 60);

#define PAGE  4096ull
#define TAKEN 200 /* more than slots */

struct stage {
        struct daemon_process daemon;
        struct buddyclient *client, *observer;
        struct buddyclient_range range;
};

static uint64_t held_bytes(struct buddyclient *client) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        cr_assert_eq(buddyclient_stats(client, &stats), 0);
        return stats.held_bytes;
}

/* What is told without a reply is done some time soon. */
static void await_held(struct buddyclient *observer, uint64_t bytes) {
        int64_t deadline = deadline_after(20000);
        while (held_bytes(observer) != bytes)
                cr_assert_gt(deadline_left_ms(deadline), 0, "%llu bytes are held",
                        (unsigned long long)held_bytes(observer));
}

/* A range that was in the cache before. */
static void stage_open(struct stage *stage) {
        cr_assert_eq(daemon_process_start(&stage->daemon, BUDDYD, 1 << 26), 0);
        stage->client = daemon_process_connect(&stage->daemon);
        stage->observer = daemon_process_connect(&stage->daemon);
        cr_assert(stage->client && stage->observer);
        for (int times = 0; times < 2; times++) {
                cr_assert_eq(buddyclient_alloc(stage->client, PAGE, &stage->range), 0);
                cr_assert_eq(buddyclient_release(stage->client, &stage->range), 0);
        }
        cr_assert_eq(buddyclient_alloc(stage->client, PAGE, &stage->range), 0);
}

static void stage_close(struct stage *stage) {
        await_held(stage->observer, 0);
        buddyclient_destroy(stage->client);
        buddyclient_destroy(stage->observer);
        cr_assert_eq(daemon_process_stop(&stage->daemon), 0);
}

static _Atomic uint64_t *word(struct stage *stage) {
        return cache_word_of(&stage->client->cache, &stage->range);
}

/* As the next daemon does it with what has got other holders. */
static void share(struct stage *stage) {
        atomic_fetch_or(word(stage), CACHE_SHARED);
}

static void crash(struct stage *stage) {
        daemon_process_kill(&stage->daemon);
        cr_assert_eq(daemon_process_restart(&stage->daemon, BUDDYD), 0);
        held_bytes(stage->client); /* it has come back */
        cr_assert(cache_is_open(&stage->client->cache));
}

/* The slot that the range is in; CACHE_SLOTS: none. */
static unsigned slot_of(struct stage *stage) {
        struct cache *cache = &stage->client->cache;
        uint64_t value = cache_slot_pack(
                cache_page(cache, &stage->range), (uint32_t)stage->range.generation);
        unsigned slot = 0;
        while (slot < CACHE_SLOTS && atomic_load(&cache->area->slots[0][slot]) != value)
                slot++;
        return slot;
}

/* Takes all that the cache has, and more: none is ours. Then the range is held no more, without another word from the client. */
static void take_all(struct stage *stage) {
        static struct buddyclient_range taken[TAKEN];
        for (size_t each = 0; each < TAKEN; each++) {
                cr_assert_eq(buddyclient_alloc(stage->client, PAGE, &taken[each]), 0);
                cr_assert(taken[each].offset != stage->range.offset ||
                          taken[each].generation != stage->range.generation);
        }
        await_held(stage->observer, TAKEN * PAGE);
        for (size_t each = 0; each < TAKEN; each++)
                cr_assert_eq(buddyclient_release(stage->client, &taken[each]), 0);
}

/* A thread is stopped between claiming and putting. */
Test(claimed, goes_by_a_request_when_another_daemon_is_there) {
        struct stage stage;
        stage_open(&stage);
        struct cache *cache = &stage.client->cache;
        struct cache_putting putting = {.pulse = cache_pulse_of(cache)};
        cr_assert(cache_claim(word(&stage), atomic_load(word(&stage))));
        crash(&stage);
        share(&stage);
        cr_assert_eq(cache_put(cache, &stage.range, &putting), CACHE_BY_REQUEST);
        cr_assert_eq(slot_of(&stage), CACHE_SLOTS);
        cache_unclaim(cache, &stage.range);
        cr_assert_eq(buddyclient_release(stage.client, &stage.range), 0);
        cr_assert_eq(buddyclient_release(stage.client, &stage.range), -ESTALE);
        take_all(&stage);
        stage_close(&stage);
}

/* A thread is stopped when it has put it, and another one takes it out before the first looks whether it may stay. */
Test(claimed, goes_back_when_it_was_put_and_others_hold_it) {
        struct stage stage;
        stage_open(&stage);
        cr_assert_eq(buddyclient_release(stage.client, &stage.range), 0);
        cr_assert_lt(slot_of(&stage), CACHE_SLOTS);
        share(&stage);
        take_all(&stage);
        cr_assert_eq(slot_of(&stage), CACHE_SLOTS);
        cr_assert_eq(buddyclient_release(stage.client, &stage.range), -ESTALE);
        stage_close(&stage);
}

/* The same, and the daemon is away again. */
Test(claimed, is_owed_when_the_daemon_is_away) {
        struct stage stage;
        struct buddyclient_range large;
        stage_open(&stage);
        cr_assert_eq(buddyclient_release(stage.client, &stage.range), 0);
        share(&stage);
        daemon_process_kill(&stage.daemon);
        struct cache *cache = &stage.client->cache;
        uint64_t value;
        cr_assert(cache_empty_slot(&cache->area->slots[0][slot_of(&stage)], &value));
        cr_assert_eq(cache_take_others(cache, 0, value, 1, &large), 0);
        cr_assert_eq(slot_of(&stage), CACHE_SLOTS);
        cr_assert_eq(daemon_process_restart(&stage.daemon, BUDDYD), 0);
        cr_assert_eq(buddyclient_alloc(stage.client, 64 * PAGE, &large), 0);
        cr_assert_eq(buddyclient_release(stage.client, &large), 0);
        stage_close(&stage);
}

/* Each callback runs exactly once: in crowds, in chains, with and without a cache, beside and inside of calls that wait. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "outcome.h"

TestSuite(submit_once, .timeout = 240);

#define CROWD 10000
#define SIZE  "16M"

static const uint64_t cache_sizes[] = {0, 256 * 1024};

/* ---- Crowds ---- */

static struct outcome crowd[CROWD];
static struct buddyclient_range granted[CROWD];

static unsigned runs_of(const struct outcome *outcomes, size_t count) {
        unsigned runs = 0;
        for (size_t each = 0; each < count; each++)
                runs += outcomes[each].runs;
        return runs;
}

/* The sum of what dispatch says is how many it ran. */
static void serve_all(struct buddyclient *client, struct outcome *outcomes, size_t count) {
        uint64_t deadline = now_ms() + 6 * PATIENCE_MS;
        size_t told = 0;
        while (told < count) {
                cr_assert(client_readable(client, PATIENCE_MS), "%zu of %zu, then nothing", told,
                        count);
                int rc = buddyclient_dispatch(client);
                cr_assert_geq(rc, 0, "dispatch: %d", rc);
                told += (size_t)rc;
                cr_assert_lt(now_ms(), deadline, "%zu of %zu", told, count);
        }
        cr_assert_eq(told, count);
        cr_assert_eq(runs_of(outcomes, count), count);
        cr_assert_eq(buddyclient_dispatch(client), 0);
        for (size_t each = 0; each < count; each++)
                cr_assert_eq(outcomes[each].runs, 1, "callback %zu: %u times", each,
                        outcomes[each].runs);
}

static size_t collect(size_t count, int otherwise) {
        size_t have = 0;
        for (size_t each = 0; each < count; each++) {
                cr_assert(crowd[each].result == 0 || crowd[each].result == otherwise, "%zu: %d %s",
                        each, crowd[each].result, crowd[each].detail);
                if (crowd[each].result == 0)
                        granted[have++] = crowd[each].ranges[0];
        }
        return have;
}

static void expect_distinct(size_t count) {
        static unsigned char seen[4096];
        memset(seen, 0, sizeof seen);
        for (size_t each = 0; each < count; each++) {
                uint64_t page = granted[each].offset / SCENE_PAGE;
                cr_assert_eq(seen[page], 0, "page %lu was granted twice", page);
                seen[page] = 1;
        }
}

static void crowd_come_and_go(uint64_t cache_bytes) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        struct buddyclient *client = client_with(&scene, cache_bytes, 20000);
        struct buddyclient *observer = client_new(&scene);
        memset(crowd, 0, sizeof crowd);
        for (size_t each = 0; each < CROWD; each++)
                cr_assert_eq(buddyclient_submit_alloc(client, 1, outcome_note, &crowd[each]), 0);
        serve_all(client, crowd, CROWD);
        size_t have = collect(CROWD, -ENOMEM);
        cr_assert_eq(have, 4096, "%zu pages granted", have);
        expect_distinct(have);
        expect_held(observer, have * SCENE_PAGE);
        memset(crowd, 0, sizeof crowd);
        for (size_t each = 0; each < have; each++)
                cr_assert_eq(buddyclient_submit_release(
                                     client, &granted[each], outcome_note, &crowd[each]),
                        0);
        serve_all(client, crowd, have);
        cr_assert_eq(collect(have, 0), have);
        expect_held(observer, 0);
        buddyclient_destroy(client);
        cr_assert_eq(stats_of(observer).largest_free_bytes, 16 * MIB, "not merged");
        buddyclient_destroy(observer);
        scene_close(&scene);
}

Test(submit_once, a_crowd_without_a_cache) {
        crowd_come_and_go(cache_sizes[0]);
}

Test(submit_once, a_crowd_with_a_cache) {
        crowd_come_and_go(cache_sizes[1]);
}

/* ---- Chains: what a callback submits itself ---- */

struct chain {
        unsigned links; /* still to be submitted */
        unsigned runs, refusals;
        struct buddyclient_range range;
};

static void chain_release(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data);

static void chain_alloc(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct chain *chain = data;
        chain->runs++;
        chain->refusals += completion->result != 0;
        if (completion->result == 0)
                chain->range = completion->ranges[0];
        if (completion->result == 0 &&
                buddyclient_submit_release(client, &chain->range, chain_release, chain) != 0)
                chain->refusals++;
}

static void chain_release(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct chain *chain = data;
        chain->runs++;
        chain->refusals += completion->result != 0;
        if (chain->links == 0)
                return;
        chain->links--;
        if (buddyclient_submit_alloc(client, 1, chain_alloc, chain) != 0)
                chain->refusals++;
}

static void chains_run(uint64_t cache_bytes) {
        enum { CHAINS = 50, LINKS = 100 };
        static struct chain chains[CHAINS];
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        struct buddyclient *client = client_with(&scene, cache_bytes, 20000);
        for (int each = 0; each < CHAINS; each++) {
                chains[each] = (struct chain){.links = LINKS - 1};
                cr_assert_eq(buddyclient_submit_alloc(client, 1, chain_alloc, &chains[each]), 0);
        }
        for (int each = 0; each < CHAINS; each++)
                client_serve(client, &chains[each].runs, 2 * LINKS);
        cr_assert_eq(client_settle(client, 50), 0);
        for (int each = 0; each < CHAINS; each++) {
                cr_assert_eq(chains[each].runs, 2 * LINKS);
                cr_assert_eq(chains[each].refusals, 0);
        }
        expect_held(client, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(submit_once, chains_without_a_cache) {
        chains_run(cache_sizes[0]);
}

Test(submit_once, chains_with_a_cache) {
        chains_run(cache_sizes[1]);
}

/* One dispatch ends, also when each callback submits what is had at once. */
static void endless(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct chain *chain = data;
        chain->runs++;
        if (chain->links == 0)
                return;
        chain->links--;
        if (completion->count > 0)
                chain->range = completion->ranges[0];
        if (buddyclient_release(client, &chain->range) != 0 ||
                buddyclient_submit_alloc(client, 1, endless, chain) != 0)
                chain->refusals++;
}

Test(submit_once, a_chain_out_of_the_cache) {
        struct scene scene;
        struct chain chain = {.links = 20000};
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        struct buddyclient *client = client_with(&scene, cache_sizes[1], 20000);
        cr_assert_eq(buddyclient_submit_alloc(client, 1, endless, &chain), 0);
        client_serve(client, &chain.runs, 20001);
        cr_assert_eq(chain.runs, 20001);
        cr_assert_eq(chain.refusals, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* ---- Calls that wait, inside of a callback and beside a crowd ---- */

struct inside {
        struct scene *scene;
        unsigned runs;
        int alloc, release, dispatch, stats;
};

static void calls_inside(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct inside *inside = data;
        struct buddyclient_range range;
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        (void)completion;
        inside->runs++;
        inside->alloc |= buddyclient_alloc(client, 1, &range);
        inside->release |= buddyclient_release(client, &range);
        inside->stats |= buddyclient_stats(client, &stats);
        if (buddyclient_dispatch(client) != -EBUSY)
                inside->dispatch = 1;
}

Test(submit_once, a_callback_may_wait_and_may_not_dispatch) {
        struct scene scene;
        struct inside inside = {.scene = &scene};
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        for (int each = 0; each < 100; each++)
                cr_assert_eq(buddyclient_submit_find(client, "nobody", calls_inside, &inside), 0);
        client_serve(client, &inside.runs, 100);
        cr_assert_eq(inside.runs, 100);
        cr_assert_eq(inside.alloc, 0);
        cr_assert_eq(inside.release, 0);
        cr_assert_eq(inside.stats, 0);
        cr_assert_eq(inside.dispatch, 0, "dispatch inside of a callback is not -EBUSY");
        expect_held(client, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* What is submitted and not dispatched, and answers that nobody takes, stand in no call's way. */
static void calls_beside_a_crowd(bool sent) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        uint64_t begin = now_ms();
        for (int each = 0; each < CROWD; each++) {
                cr_assert_eq(
                        buddyclient_submit_alloc_many(client, 1, 256, outcome_note, &crowd[each]),
                        0);
                if (each % 1000 == 0) {
                        cr_assert_eq(buddyclient_attach(client, &range), 0);
                        cr_assert_eq(buddyclient_release(client, &range), 0);
                }
        }
        unsigned told = 0;
        if (sent) {
                int rc = buddyclient_dispatch(client);
                cr_assert_geq(rc, 0);
                told = (unsigned)rc;
                for (int each = 0; each < 1000; each++) {
                        cr_assert_eq(buddyclient_attach(client, &range), 0);
                        cr_assert_eq(buddyclient_release(client, &range), 0);
                }
        }
        cr_assert_leq(now_ms() - begin, 15000);
        cr_assert_eq(runs_of(crowd, CROWD), told, "a callback outside of dispatch");
        while (told < CROWD) {
                cr_assert(client_readable(client, PATIENCE_MS), "%u told, then nothing", told);
                int rc = buddyclient_dispatch(client);
                cr_assert_geq(rc, 0);
                told += (unsigned)rc;
        }
        cr_assert_eq(runs_of(crowd, CROWD), CROWD);
        unsigned grants = 0;
        for (int each = 0; each < CROWD; each++) {
                cr_assert_eq(crowd[each].runs, 1);
                grants += crowd[each].result == 0;
        }
        cr_assert_eq(grants, 15, "%u", grants);
        expect_held(client, (15 * 256 + 1) * SCENE_PAGE);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(submit_once, calls_go_on_beside_what_is_not_sent) {
        calls_beside_a_crowd(false);
}

Test(submit_once, calls_go_on_beside_what_nobody_dispatches) {
        calls_beside_a_crowd(true);
}

/* ---- Two who dispatch ---- */

struct held_up {
        int entered[2], leave[2]; /* pipes */
        unsigned runs;
};

static void holds_up(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct held_up *held_up = data;
        (void)client;
        (void)completion;
        held_up->runs++;
        byte_write(held_up->entered[1], 'e');
        byte_read(held_up->leave[0]);
}

static void *dispatch_once(void *argument) {
        struct buddyclient *client = argument;
        while (client_readable(client, PATIENCE_MS) && buddyclient_dispatch(client) == 0)
                continue;
        return NULL;
}

Test(submit_once, another_thread_is_told_that_one_dispatches) {
        struct scene scene;
        struct held_up held_up = {0};
        struct outcome find = {0};
        pthread_t thread;
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        cr_assert(pipe(held_up.entered) == 0 && pipe(held_up.leave) == 0);
        cr_assert_eq(buddyclient_submit_find(client, "nobody", holds_up, &held_up), 0);
        cr_assert_eq(pthread_create(&thread, NULL, dispatch_once, client), 0);
        cr_assert_eq(byte_read(held_up.entered[0]), 'e');
        cr_assert_eq(buddyclient_dispatch(client), -EBUSY);
        cr_assert_eq(buddyclient_submit_find(client, "nobody", outcome_note, &find), 0);
        cr_assert_eq(stats_of(client).held_bytes, 0, "calls go on");
        byte_write(held_up.leave[1], 'l');
        pthread_join(thread, NULL);
        outcome_await(client, &find, -ENOENT);
        cr_assert_eq(held_up.runs, 1);
        buddyclient_destroy(client);
        scene_close(&scene);
}

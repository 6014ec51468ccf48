/* What clients keep for reuse is nobody's: it is counted exactly, bounded, and at hand for whoever needs it, also when
 * its client sleeps or never calls again. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

TestSuite(cache, .timeout = 120);

#define POOL       "64M"
#define POOL_BYTES (64 * MIB)
#define CACHE_SIZE MIB /* of a client, unless set; and 1/64 of the pool */
#define PAGES      (POOL_BYTES / SCENE_PAGE)

static void stage(struct scene *scene) {
        scene_open(scene);
        scene_start(scene, "--size", POOL, NULL);
}

static struct buddyclient *cached_new(const struct scene *scene) {
        struct buddyclient *client = client_caching(scene);
        cr_assert_not_null(client);
        return client;
}

/* Nothing may be held or cached any more, and everything merged. */
static void unstage(struct scene *scene, struct buddyclient *observer) {
        await_held(observer, 0);
        struct buddyclient_stats stats = stats_of(observer);
        cr_assert_eq(stats.cached_bytes, 0, "%lu bytes cached by nobody", stats.cached_bytes);
        cr_assert_eq(stats.largest_free_bytes, POOL_BYTES, "not merged");
        buddyclient_destroy(observer);
        scene_close(scene);
}

/* Takes count ranges one by one and returns them one by one. 0, or what was refused. */
static int churn(struct buddyclient *client, uint64_t length, size_t count) {
        struct buddyclient_range ranges[256];
        for (size_t each = 0; each < count; each++) {
                int result = buddyclient_alloc(client, length, &ranges[each]);
                if (result != 0)
                        return result;
                *(char *)buddyclient_pointer(client, &ranges[each]) = 1;
        }
        for (size_t each = 0; each < count; each++) {
                int result = buddyclient_release(client, &ranges[each]);
                if (result != 0)
                        return result;
        }
        return 0;
}

/* Works so that the client keeps as much as it may. */
static int fill(struct buddyclient *client) {
        for (int round = 0; round < 4; round++) {
                for (uint64_t length = SCENE_PAGE; length <= 64 * SCENE_PAGE; length *= 2) {
                        int result = churn(client, length, length < 16 * SCENE_PAGE ? 64 : 16);
                        if (result != 0)
                                return result;
                }
        }
        return 0;
}

/* Takes pages until there are none, and expects that no two are the same. How many. */
static size_t take_all(struct buddyclient *client) {
        unsigned char *seen = calloc(1, PAGES);
        struct buddyclient_range range;
        size_t taken = 0;
        int result;
        while ((result = buddyclient_alloc(client, 1, &range)) == 0) {
                size_t page = range.offset / SCENE_PAGE;
                cr_assert(page < PAGES && !seen[page], "page %lu granted twice", page);
                seen[page] = 1;
                taken++;
        }
        cr_assert_eq(result, -ENOMEM, "%d", result);
        free(seen);
        return taken;
}

/* ---- Counting ---- */

Test(cache, what_is_returned_is_cached_and_taken_again) {
        struct scene scene;
        struct buddyclient_range ranges[32];
        stage(&scene);
        struct buddyclient *client = cached_new(&scene), *observer = client_new(&scene);
        cr_assert_eq(stats_of(observer).cached_bytes, 0);
        for (size_t each = 0; each < 32; each++) {
                cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &ranges[each]), 0);
                expect_held(observer, (each + 1) * SCENE_PAGE);
        }
        for (size_t each = 0; each < 32; each++) {
                cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
                expect_held(observer, (31 - each) * SCENE_PAGE);
        }
        struct buddyclient_stats before = stats_of(observer);
        cr_assert_gt(before.cached_bytes, 0, "nothing is kept");
        for (int round = 0; round < 1000; round++)
                cr_assert_eq(churn(client, SCENE_PAGE, 1), 0);
        struct buddyclient_stats after = stats_of(observer);
        cr_assert_geq(after.cache_hits_total, before.cache_hits_total + 1000);
        cr_assert_eq(after.held_bytes, 0);
        expect_sound(&scene);
        buddyclient_destroy(client);
        cr_assert_eq(stats_of(observer).cached_bytes, 0, "destroy has left something");
        unstage(&scene, observer);
}

/* Sizes of every order, in an order of their own: the held bytes are known at every step. */
Test(cache, held_bytes_are_exact_whatever_is_cached) {
        struct scene scene;
        struct buddyclient_range ranges[48];
        size_t count = 0;
        uint64_t held = 0;
        unsigned seed = 3;
        stage(&scene);
        struct buddyclient *client = cached_new(&scene), *observer = client_new(&scene);
        for (int step = 0; step < 3000; step++) {
                if (count < 48 && rand_r(&seed) % 2) {
                        uint64_t length = SCENE_PAGE << rand_r(&seed) % 10;
                        cr_assert_eq(buddyclient_alloc(client, length, &ranges[count]), 0);
                        cr_assert_eq(ranges[count].length, length);
                        cr_assert_eq(ranges[count].offset % length, 0);
                        held += length;
                        count++;
                } else if (count > 0) {
                        size_t which = (size_t)rand_r(&seed) % count;
                        cr_assert_eq(buddyclient_release(client, &ranges[which]), 0);
                        held -= ranges[which].length;
                        ranges[which] = ranges[--count];
                }
                if (step % 7 == 0)
                        expect_held(observer, held);
                cr_assert_leq(stats_of(observer).cached_bytes, CACHE_SIZE);
        }
        expect_held(observer, held);
        expect_sound(&scene);
        buddyclient_destroy(client);
        unstage(&scene, observer);
}

static void expect_kept(struct scene *scene, struct buddyclient *observer, uint64_t set,
        uint64_t least, uint64_t most) {
        struct buddyclient *client = client_caching_bytes(scene, set);
        for (int round = 0; round < 3; round++) {
                cr_assert_eq(fill(client), 0);
                uint64_t cached = stats_of(observer).cached_bytes;
                cr_assert(cached >= least && cached <= most, "%lu cached where %lu were set",
                        cached, set);
        }
        buddyclient_destroy(client);
        cr_assert_eq(stats_of(observer).cached_bytes, 0);
}

Test(cache, keeps_no_more_than_was_set) {
        struct scene scene;
        stage(&scene);
        struct buddyclient *observer = client_new(&scene);
        expect_kept(&scene, observer, 0, 0, 0);
        expect_kept(&scene, observer, 65536, 1, 65536);
        expect_kept(&scene, observer, CACHE_SIZE, 1, CACHE_SIZE);
        expect_kept(&scene, observer, 1024 * MIB, 1, POOL_BYTES / 64);
        expect_kept(&scene, observer, UINT64_MAX, 1, POOL_BYTES / 64);
        unstage(&scene, observer);
}

Test(cache, a_range_as_long_as_all_that_may_be_kept_is_kept) {
        struct scene scene;
        stage(&scene);
        struct buddyclient *client = cached_new(&scene), *observer = client_new(&scene);
        cr_assert_eq(churn(client, MIB, 16), 0);
        cr_assert_eq(stats_of(observer).cached_bytes, MIB);
        uint64_t hits = stats_of(observer).cache_hits_total;
        for (int round = 0; round < 100; round++)
                cr_assert_eq(churn(client, MIB, 1), 0);
        cr_assert_eq(stats_of(observer).cache_hits_total, hits + 100);
        cr_assert_eq(churn(client, 2 * MIB, 4), 0);
        struct buddyclient_stats stats = stats_of(observer);
        cr_assert_eq(stats.cached_bytes, MIB, "more is kept than may be: %lu", stats.cached_bytes);
        cr_assert_eq(stats.held_bytes, 0);
        buddyclient_destroy(client);
        unstage(&scene, observer);
}

/* How many of so many pairs came out of the cache. */
static uint64_t hits_of_pairs(struct buddyclient *client, struct buddyclient *observer,
        const uint64_t *lengths, int count, int rounds) {
        uint64_t before = stats_of(observer).cache_hits_total;
        for (int round = 0; round < rounds; round++)
                for (int each = 0; each < count; each++)
                        cr_assert_eq(churn(client, lengths[each], 1), 0);
        return stats_of(observer).cache_hits_total - before;
}

Test(cache, who_works_gets_the_slots_whatever_had_them_before) {
        struct scene scene;
        const uint64_t large = MIB, small = SCENE_PAGE, both[2] = {SCENE_PAGE, MIB};
        stage(&scene);
        struct buddyclient *client = cached_new(&scene), *observer = client_new(&scene);
        for (int turn = 0; turn < 3; turn++) {
                uint64_t hits = hits_of_pairs(client, observer, &large, 1, 100);
                cr_assert_geq(hits, 80, "large: %lu", hits);
                hits = hits_of_pairs(client, observer, &small, 1, 100);
                cr_assert_geq(hits, 80, "small: %lu", hits);
        }
        cr_assert_eq(fill(client), 0);
        uint64_t hits = hits_of_pairs(client, observer, &large, 1, 100);
        cr_assert_geq(hits, 80, "large after all others: %lu", hits);
        /* There is room for one of the two: for the one that needs less. */
        hits = hits_of_pairs(client, observer, both, 2, 100);
        cr_assert_geq(hits, 80, "in turns: %lu", hits);
        buddyclient_destroy(client);
        unstage(&scene, observer);
}

static void expect_batches_cached(struct buddyclient *client, struct buddyclient *observer) {
        struct buddyclient_range ranges[64];
        uint64_t hits = 0;
        for (int round = 0; round < 20; round++) {
                uint64_t before = stats_of(observer).cache_hits_total;
                cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 64, ranges), 0);
                expect_held(observer, 64 * SCENE_PAGE);
                for (size_t each = 1; each < 64; each++)
                        for (size_t other = 0; other < each; other++)
                                cr_assert_neq(ranges[each].offset, ranges[other].offset);
                cr_assert_eq(buddyclient_release_many(client, ranges, 64), 0);
                expect_held(observer, 0);
                hits = stats_of(observer).cache_hits_total - before;
        }
        cr_assert_eq(hits, 64, "%lu of a batch were cached", hits);
}

Test(cache, batches_come_out_of_it_and_go_back) {
        struct scene scene;
        struct buddyclient_range ranges[65], again[64];
        stage(&scene);
        struct buddyclient *client = cached_new(&scene), *observer = client_new(&scene);
        expect_batches_cached(client, observer);
        /* A part of it comes out of the cache. */
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 65, ranges), 0);
        expect_held(observer, 65 * SCENE_PAGE);
        cr_assert_eq(buddyclient_release_many(client, ranges, 65), 0);
        expect_held(observer, 0);
        /* All or none: what is stale is refused, and the rest stays held. */
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 64, ranges), 0);
        memcpy(again, ranges, sizeof(again));
        again[63] = again[0];
        cr_assert_eq(buddyclient_release_many(client, again, 64), -ESTALE);
        expect_held(observer, 64 * SCENE_PAGE);
        cr_assert_eq(buddyclient_release_many(client, ranges, 64), 0);
        cr_assert_eq(buddyclient_release_many(client, ranges, 64), -ESTALE);
        expect_held(observer, 0);
        /* What cannot be had: what was taken out of the cache for it is free again. */
        static struct buddyclient_range most[4096];
        struct buddyclient_range rest;
        cr_assert_eq(buddyclient_alloc(observer, POOL_BYTES / 2, &rest), 0);
        cr_assert_eq(buddyclient_alloc_many(observer, SCENE_PAGE, 4096, most), 0);
        static struct buddyclient_range more[4096];
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 4096, more), 0);
        cr_assert_eq(buddyclient_release(client, &more[0]), 0);
        expect_held(observer, POOL_BYTES - SCENE_PAGE);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 2, ranges), -ENOMEM);
        expect_held(observer, POOL_BYTES - SCENE_PAGE);
        cr_assert_eq(buddyclient_release_many(client, more + 1, 4095), 0);
        cr_assert_eq(buddyclient_release_many(observer, most, 4096), 0);
        cr_assert_eq(buddyclient_release(observer, &rest), 0);
        expect_sound(&scene);
        buddyclient_destroy(client);
        unstage(&scene, observer);
}

/* ---- Nobody starves ---- */

/* A process whose clients keep all they can, and then do nothing until told: then each takes and returns a page. */
struct keeper {
        pid_t process;
        int orders[2], answers[2];
};

static int keep(const struct scene *scene, struct keeper *keeper, size_t count) {
        struct buddyclient *clients[64];
        for (size_t each = 0; each < count; each++) {
                clients[each] = client_caching(scene);
                if (!clients[each] || fill(clients[each]) != 0)
                        return 1;
        }
        byte_write(keeper->answers[1], 'K');
        while (byte_read(keeper->orders[0]) == 'C') {
                int worst = 0;
                for (size_t each = 0; each < count; each++) {
                        int result = churn(clients[each], SCENE_PAGE, 1);
                        worst = result < worst ? result : worst;
                }
                byte_write(keeper->answers[1], -worst);
        }
        for (size_t each = 0; each < count; each++)
                buddyclient_destroy(clients[each]);
        return 0;
}

static void keeper_start(struct keeper *keeper, const struct scene *scene, size_t count) {
        cr_assert(pipe(keeper->orders) == 0 && pipe(keeper->answers) == 0);
        keeper->process = process_fork();
        if (keeper->process == 0)
                _exit(keep(scene, keeper, count));
        cr_assert_eq(byte_read(keeper->answers[0]), 'K');
}

static void keeper_stop(struct keeper *keeper) {
        siginfo_t info;
        cr_assert_eq(kill(keeper->process, SIGSTOP), 0);
        cr_assert_eq(waitid(P_PID, (id_t)keeper->process, &info, WSTOPPED), 0);
}

static int keeper_call(struct keeper *keeper) {
        byte_write(keeper->orders[1], 'C');
        return -byte_read(keeper->answers[0]);
}

static void keeper_end(struct keeper *keeper) {
        byte_write(keeper->orders[1], 'E');
        cr_assert_eq(process_wait(keeper->process), 0);
}

Test(cache, a_pool_cached_by_stopped_clients_is_allocated_to_the_last_page) {
        struct scene scene;
        struct keeper keeper;
        stage(&scene);
        struct buddyclient *taker = client_new(&scene);
        keeper_start(&keeper, &scene, 64);
        keeper_stop(&keeper);
        struct buddyclient_stats stats = stats_of(taker);
        cr_assert_eq(stats.held_bytes, 0);
        cr_assert_geq(stats.cached_bytes, POOL_BYTES / 2, "too little for this test: %lu",
                stats.cached_bytes);
        size_t taken = take_all(taker);
        cr_assert_eq(taken, PAGES, "%lu pages of %llu", taken, PAGES);
        stats = stats_of(taker);
        cr_assert_eq(stats.cached_bytes, 0);
        cr_assert_eq(stats.held_bytes, POOL_BYTES);
        expect_sound(&scene);

        cr_assert_eq(kill(keeper.process, SIGCONT), 0);
        cr_assert_eq(keeper_call(&keeper), -ENOMEM, "a client has what was taken out of its cache");
        buddyclient_destroy(taker);
        cr_assert_eq(keeper_call(&keeper), 0);
        keeper_end(&keeper);
        unstage(&scene, client_new(&scene));
}

/* The same in one piece: every range that is cached anywhere stands in its way. */
Test(cache, the_whole_pool_in_one_range_though_all_cache_it) {
        struct scene scene;
        struct keeper keeper;
        struct buddyclient_range all;
        stage(&scene);
        struct buddyclient *taker = client_new(&scene);
        keeper_start(&keeper, &scene, 60);
        keeper_stop(&keeper);
        cr_assert_eq(
                buddyclient_alloc(taker, POOL_BYTES, &all), 0, "%s", buddyclient_detail(taker));
        cr_assert_eq(stats_of(taker).cached_bytes, 0);
        cr_assert_eq(buddyclient_release(taker, &all), 0);
        process_kill(keeper.process);
        unstage(&scene, taker);
}

Test(cache, a_batch_takes_what_idle_clients_cache) {
        struct scene scene;
        static struct buddyclient_range ranges[4096];
        stage(&scene);
        struct buddyclient *idle[8], *taker = client_new(&scene);
        for (int each = 0; each < 8; each++) {
                idle[each] = cached_new(&scene);
                cr_assert_eq(fill(idle[each]), 0);
        }
        cr_assert_gt(stats_of(taker).cached_bytes, 0);
        for (int batch = 0; batch < 4; batch++)
                cr_assert_eq(buddyclient_alloc_many(taker, 1, 4096, ranges), 0, "batch %d: %s",
                        batch, buddyclient_detail(taker));
        expect_held(taker, POOL_BYTES);
        for (int each = 0; each < 8; each++)
                buddyclient_destroy(idle[each]);
        buddyclient_destroy(taker);
        unstage(&scene, client_new(&scene));
}

/* Takers of a part each, for which there is room: none may be told that there is none. */
struct part {
        pthread_t thread;
        struct buddyclient *client;
        size_t count;
        int result;
};

static void *take_part(void *argument) {
        struct part *part = argument;
        struct buddyclient_range range;
        part->result = 0;
        for (size_t each = 0; each < part->count && part->result == 0; each++)
                part->result = buddyclient_alloc(part->client, 1, &range);
        return NULL;
}

Test(cache, of_several_who_take_back_at_once_none_is_refused) {
        enum { TAKERS = 4 };
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", POOL, "--workers", "4", NULL);
        struct buddyclient *idle[16];
        for (int each = 0; each < 16; each++)
                idle[each] = cached_new(&scene);
        for (int round = 0; round < 10; round++) {
                struct part parts[TAKERS];
                for (int each = 0; each < 16; each++)
                        cr_assert_eq(fill(idle[each]), 0);
                for (int each = 0; each < TAKERS; each++) {
                        parts[each] = (struct part){
                                .client = client_new(&scene), .count = PAGES / TAKERS};
                        cr_assert_eq(
                                pthread_create(&parts[each].thread, NULL, take_part, &parts[each]),
                                0);
                }
                for (int each = 0; each < TAKERS; each++)
                        pthread_join(parts[each].thread, NULL);
                for (int each = 0; each < TAKERS; each++) {
                        cr_assert_eq(
                                parts[each].result, 0, "round %d: %d", round, parts[each].result);
                        buddyclient_destroy(parts[each].client);
                }
        }
        for (int each = 0; each < 16; each++)
                buddyclient_destroy(idle[each]);
        unstage(&scene, client_new(&scene));
}

/* A client's own cache is no obstacle to itself, either. */
Test(cache, what_a_client_caches_itself_is_in_its_own_reach) {
        struct scene scene;
        struct buddyclient_range all;
        stage(&scene);
        struct buddyclient *client = cached_new(&scene), *observer = client_new(&scene);
        for (int round = 0; round < 5; round++) {
                cr_assert_eq(fill(client), 0);
                cr_assert_gt(stats_of(observer).cached_bytes, 0);
                cr_assert_eq(buddyclient_alloc(client, POOL_BYTES, &all), 0);
                expect_held(observer, POOL_BYTES);
                cr_assert_eq(buddyclient_release(client, &all), 0);
        }
        size_t taken = take_all(client);
        cr_assert_eq(taken, PAGES, "%lu pages of %llu", taken, PAGES);
        buddyclient_destroy(client);
        unstage(&scene, observer);
}

/* Two who take everything in turn: each time what the other has just returned. */
Test(cache, one_takes_what_the_other_has_returned) {
        struct scene scene;
        static struct buddyclient_range ranges[PAGES / 16];
        stage(&scene);
        struct buddyclient *clients[2] = {cached_new(&scene), cached_new(&scene)};
        for (int round = 0; round < 10; round++) {
                struct buddyclient *client = clients[round % 2];
                for (size_t each = 0; each < PAGES / 16; each++)
                        cr_assert_eq(buddyclient_alloc(client, 16 * SCENE_PAGE, &ranges[each]), 0);
                for (size_t each = 0; each < PAGES / 16; each++)
                        cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
        }
        buddyclient_destroy(clients[0]);
        buddyclient_destroy(clients[1]);
        unstage(&scene, client_new(&scene));
}

Test(cache, nobody_waits_for_what_is_cached) {
        struct scene scene;
        struct keeper keeper;
        struct buddyclient_range range;
        stage(&scene);
        struct buddyclient *taker = client_new(&scene);
        keeper_start(&keeper, &scene, 4);
        keeper_stop(&keeper);
        cr_assert_eq(buddyclient_alloc_wait(taker, POOL_BYTES, 0, &range), 0);
        cr_assert_eq(buddyclient_release(taker, &range), 0);
        cr_assert_eq(stats_of(taker).waiters, 0);
        process_kill(keeper.process);
        unstage(&scene, taker);
}

/* The daemon dies under submissions, at many points, and comes back: each callback still runs once, and what the callbacks said is the truth:
 * nothing more and nothing less is held afterwards. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outcome.h"

TestSuite(submit_crash, .timeout = 240);

#define SIZE "16M"

static const uint64_t cache_sizes[] = {0, 256 * 1024};

#define BUSY     300 /* submissions of a round */
#define HELD_MAX 512

enum act {
        ALLOC,
        ALLOC_MANY,
        ALLOC_WAIT,
        RELEASE,
        RELEASE_MANY,
        ATTACH,
        GIVE,
        PUBLISH,
        LOOKUP,
        UNPUBLISH,
        FIND,
        ACTS
};

struct deed {
        enum act act;
        unsigned runs, number;
        struct world *world;
        struct buddyclient_range ranges[4]; /* of which it is submitted */
        size_t count;
};

/* What the callbacks said. */
struct world {
        struct scene scene;
        struct buddyclient *client, *peer;
        struct buddyclient_range held[HELD_MAX]; /* once per hold */
        size_t held_count;
        struct buddyclient_range gifts[BUSY];
        size_t gift_count;
        struct deed deeds[BUSY];
        unsigned runs, refused, seed;
        int error;
        char reason[200];
};

static void world_hold(struct world *world, const struct buddyclient_range *ranges, size_t count) {
        for (size_t each = 0; each < count && world->held_count < HELD_MAX; each++)
                world->held[world->held_count++] = ranges[each];
}

static void deed_done(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct deed *deed = data;
        struct world *world = deed->world;
        deed->runs++;
        world->runs++;
        if (completion->result != 0) {
                bool may = (deed->act == LOOKUP || deed->act == UNPUBLISH) &&
                           completion->result == -ENOENT;
                if (!may) {
                        world->error = completion->result;
                        snprintf(world->reason, sizeof world->reason, "act %d: %s", deed->act,
                                buddyclient_detail(client));
                        world->refused++;
                }
        } else if (deed->act == GIVE) {
                world->gifts[world->gift_count++] = completion->ranges[0];
        } else {
                world_hold(world, completion->ranges, completion->count);
        }
}

/* Takes one hold out of the books, for a submission that gives it away. */
static struct buddyclient_range world_take(struct world *world) {
        size_t which = (size_t)rand_r(&world->seed) % world->held_count;
        struct buddyclient_range range = world->held[which];
        world->held[which] = world->held[--world->held_count];
        return range;
}

static int deed_submit(struct deed *deed) {
        struct world *world = deed->world;
        struct buddyclient *client = world->client;
        char key[32];
        snprintf(key, sizeof key, "key %u", deed->number % 8);
        switch (deed->act) {
        case ALLOC:
                return buddyclient_submit_alloc(
                        client, SCENE_PAGE << deed->number % 3, deed_done, deed);
        case ALLOC_MANY:
                return buddyclient_submit_alloc_many(client, 1, 3, deed_done, deed);
        case ALLOC_WAIT:
                return buddyclient_submit_alloc_wait(client, 1, -1, deed_done, deed);
        case RELEASE:
                return buddyclient_submit_release(client, deed->ranges, deed_done, deed);
        case RELEASE_MANY:
                return buddyclient_submit_release_many(
                        client, deed->ranges, deed->count, deed_done, deed);
        case ATTACH:
                return buddyclient_submit_attach(client, deed->ranges, deed_done, deed);
        case GIVE:
                return buddyclient_submit_give(
                        client, deed->ranges, buddyclient_id(world->peer), deed_done, deed);
        case PUBLISH:
                return buddyclient_submit_publish(client, key, deed->ranges, deed_done, deed);
        case LOOKUP:
                return buddyclient_submit_lookup(client, key, deed_done, deed);
        case UNPUBLISH:
                return buddyclient_submit_unpublish(client, key, deed_done, deed);
        default:
                return buddyclient_submit_find(client, "peer of all", deed_done, deed);
        }
}

static void deed_prepare(struct world *world, unsigned number) {
        struct deed *deed = &world->deeds[number];
        *deed = (struct deed){.world = world, .number = number};
        deed->act = (enum act)(rand_r(&world->seed) % ACTS);
        if (world->held_count < 40 && deed->act >= RELEASE && deed->act <= PUBLISH)
                deed->act = (enum act)(number % 2); /* first there must be some */
        if (world->held_count > HELD_MAX - 4 * BUSY / ACTS * 4 && deed->act <= ALLOC_WAIT)
                deed->act = world->held_count > 40 ? RELEASE : FIND;
        deed->count = deed->act == RELEASE_MANY ? 4 : 1;
        if (deed->act == RELEASE || deed->act == RELEASE_MANY || deed->act == GIVE)
                for (size_t each = 0; each < deed->count; each++)
                        deed->ranges[each] = world_take(world);
        else if (deed->act == ATTACH || deed->act == PUBLISH)
                deed->ranges[0] = world->gifts[0]; /* held by the peer all the while */
}

/* Distinct blocks that are held by the client, the peer or a key: what the daemon must say is held. */
static uint64_t world_bytes(struct world *world) {
        static unsigned char pages[4096];
        uint64_t bytes = 0;
        memset(pages, 0, sizeof pages);
        for (size_t each = 0; each < world->held_count + world->gift_count; each++) {
                struct buddyclient_range *range = each < world->held_count
                                                          ? &world->held[each]
                                                          : &world->gifts[each - world->held_count];
                if (pages[range->offset / SCENE_PAGE]++ == 0)
                        bytes += range->length;
        }
        return bytes;
}

static void world_open(struct world *world, uint64_t cache_bytes) {
        memset(world, 0, sizeof *world);
        scene_open(&world->scene);
        scene_start(&world->scene, "--size", SIZE, NULL);
        world->peer = NULL;
        cr_assert_eq(buddyclient_new(&world->peer), 0);
        cr_assert_eq(buddyclient_set_socket(world->peer, world->scene.socket), 0);
        cr_assert_eq(buddyclient_set_pool(world->peer, world->scene.pool), 0);
        cr_assert_eq(buddyclient_set_name(world->peer, "peer of all"), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(world->peer, 0), 0);
        cr_assert_eq(buddyclient_set_timeout_ms(world->peer, 20000), 0);
        cr_assert_eq(buddyclient_connect(world->peer), 0);
        world->client = client_with(&world->scene, cache_bytes, 20000);
        cr_assert_eq(buddyclient_alloc(world->peer, 1, &world->gifts[world->gift_count++]), 0);
        cr_assert_eq(buddyclient_attach(world->client, &world->gifts[0]), 0); /* to publish it */
}

/* Some hundreds of submissions; the daemon dies when so many have been told, and comes back. */
static void world_round(struct world *world, unsigned told_before, bool late) {
        world->runs = 0;
        for (unsigned each = 0; each < BUSY; each++) {
                deed_prepare(world, each);
                int rc = deed_submit(&world->deeds[each]);
                cr_assert_eq(rc, 0, "act %d: %d %s", world->deeds[each].act, rc,
                        buddyclient_detail(world->client));
                if (late)
                        continue;
                rc = buddyclient_dispatch(world->client);
                cr_assert_geq(rc, 0);
        }
        if (told_before > 0)
                client_serve(world->client, &world->runs, told_before);
        else
                buddyclient_dispatch(world->client);
        scene_kill(&world->scene);
        for (int each = 0; each < 3; each++)
                cr_assert_geq(buddyclient_dispatch(world->client), 0);
        scene_start(&world->scene, "--size", SIZE, NULL);
        client_serve(world->client, &world->runs, BUSY);
        cr_assert_eq(client_settle(world->client, 20), 0, "more callbacks than submissions");
        for (unsigned each = 0; each < BUSY; each++)
                cr_assert_eq(world->deeds[each].runs, 1, "act %d: %u times", world->deeds[each].act,
                        world->deeds[each].runs);
        cr_assert_eq(world->refused, 0, "%u refusals, the last %d: %s", world->refused,
                world->error, world->reason);
}

/* The client asks: on its connection, what it gave back of its cache comes before. */
static void world_audit(struct world *world, const char *what) {
        uint64_t held = stats_of(world->client).held_bytes, expected = world_bytes(world);
        cr_assert_eq(
                held, expected, "%s: %lu bytes held, callbacks said %lu", what, held, expected);
        const struct run *run = ctl(&world->scene, "check", NULL);
        cr_assert_eq(run->status, 0, "%s: %s%s", what, run->out, run->err);
        while (world->gift_count > 1) {
                int rc = buddyclient_release(world->peer, &world->gifts[--world->gift_count]);
                cr_assert_eq(rc, 0, "%s: gift %zu: %d", what, world->gift_count, rc);
        }
}

/* Each hold is there once: it can be released, and then nothing is left. */
static void world_close(struct world *world) {
        for (int key = 0; key < 8; key++) {
                char name[32];
                snprintf(name, sizeof name, "key %d", key);
                buddyclient_unpublish(world->peer, name);
        }
        for (size_t each = 0; each < world->held_count; each++) {
                int rc = buddyclient_release(world->client, &world->held[each]);
                cr_assert_eq(rc, 0, "hold %zu: %d %s", each, rc, buddyclient_detail(world->client));
        }
        cr_assert_eq(buddyclient_release(world->client, &world->gifts[0]), 0);
        int rc = buddyclient_release(world->client, &world->gifts[0]);
        cr_assert_eq(rc, -ESTALE, "an attach or lookup too many is left: %d", rc);
        cr_assert_eq(buddyclient_release(world->peer, &world->gifts[0]), 0);
        expect_held(world->client, 0);
        buddyclient_destroy(world->client);
        cr_assert_eq(stats_of(world->peer).largest_free_bytes, 16 * MIB);
        buddyclient_destroy(world->peer);
        scene_close(&world->scene);
}

static void world_run(uint64_t cache_bytes, bool late) {
        static struct world world;
        static const unsigned points[] = {0, 1, 7, 20, 50, 100, 150, 200, 250, 280, 295, 299};
        char what[64];
        world_open(&world, cache_bytes);
        for (size_t each = 0; each < sizeof points / sizeof *points; each++) {
                world.seed = (unsigned)each + 1;
                snprintf(what, sizeof what, "killed after %u", points[each]);
                world_round(&world, points[each], late);
                world_audit(&world, what);
        }
        world_close(&world);
}

Test(submit_crash, told_without_a_cache) {
        world_run(cache_sizes[0], true);
}

Test(submit_crash, told_with_a_cache) {
        world_run(cache_sizes[1], true);
}

Test(submit_crash, while_all_is_under_way) {
        world_run(cache_sizes[0], false);
}

Test(submit_crash, while_all_is_under_way_with_a_cache) {
        world_run(cache_sizes[1], false);
}

/* Those who wait for memory go on waiting, in their order. */
Test(submit_crash, waiters_outlast_crashes) {
        enum { WAITERS = 100 };
        static struct outcome waiters[WAITERS];
        static struct buddyclient_range all[4096];
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        struct buddyclient *owner = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_many(owner, 1, 4096, all), 0);
        for (int each = 0; each < WAITERS; each++)
                cr_assert_eq(
                        buddyclient_submit_alloc_wait(client, 1, -1, outcome_note, &waiters[each]),
                        0);
        for (int round = 0; round < 3; round++) {
                client_settle(client, 20);
                scene_kill(&scene);
                scene_start(&scene, "--size", SIZE, NULL);
                uint64_t deadline = now_ms() + PATIENCE_MS;
                while (stats_of(owner).waiters != WAITERS) {
                        cr_assert_lt(now_ms(), deadline, "%lu wait", stats_of(owner).waiters);
                        if (client_readable(client, 5))
                                cr_assert_eq(buddyclient_dispatch(client), 0);
                }
        }
        for (int each = 0; each < WAITERS; each++) {
                cr_assert_eq(buddyclient_release(owner, &all[each]), 0);
                outcome_await(client, &waiters[each], 0);
                cr_assert_eq(waiters[each].ranges[0].offset, all[each].offset);
        }
        expect_held(owner, 16 * MIB);
        cr_assert_eq(client_settle(client, 20), 0);
        buddyclient_destroy(client);
        buddyclient_destroy(owner);
        scene_close(&scene);
}

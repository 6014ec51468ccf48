/* Every call, cut off by a crash of the daemon at a chosen reply: the call's own, one of those that tell a client that comes back what it
 * holds, or before the daemon saw the request at all. Whichever it is, the call happens once. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lossy.h"

TestSuite(lost_reply, .timeout = 120);

enum act {
        ALLOC,
        ALLOC_MANY,
        ALLOC_WAIT,
        RELEASE,
        RELEASE_ONE_OF_TWO,
        RELEASE_GIFT,
        RELEASE_ONE_OF_TWO_GIFTS,
        RELEASE_GIFT_HELD_TOO,
        RELEASE_MANY,
        RELEASE_MANY_WITH_GIFTS,
        ATTACH,
        ATTACH_AGAIN,
        ATTACH_GIFT,
        GIVE,
        GIVE_ONE_OF_TWO,
        GIVE_GIFT_ON,
        GIVE_ONE_OF_TWO_GIFTS,
        GIVE_MANY,
        PUBLISH,
        PUBLISH_OVER,
        LOOKUP,
        UNPUBLISH,
        ACTS,
};

/* What is there before, and what must be there after: holds of one range, and of eight more. */
static const struct {
        const char *name;
        int own, gifts, peers; /* holds of the range before: the client's two kinds, the peer's */
        int many, gifts_many;  /* how many of the eight the client holds, and as gifts */
        bool published;
        int own_after, peers_after, many_after, peers_many_after;
        bool published_after;
        int granted; /* pages beside */
} acts[ACTS] = {
        [ALLOC] = {.name = "alloc", .granted = 1},
        [ALLOC_MANY] = {.name = "alloc_many", .granted = 8},
        [ALLOC_WAIT] = {.name = "alloc_wait", .granted = 1},
        [RELEASE] = {.name = "release", .own = 1, .peers = 1, .peers_after = 1},
        [RELEASE_ONE_OF_TWO] = {.name = "release, one of two", .own = 2, .own_after = 1},
        [RELEASE_GIFT] = {.name = "release of a gift", .gifts = 1, .peers = 1, .peers_after = 1},
        [RELEASE_ONE_OF_TWO_GIFTS] = {.name = "release, one of two gifts",
                .gifts = 2,
                .own_after = 1},
        [RELEASE_GIFT_HELD_TOO] = {.name = "release, given and held",
                .own = 1,
                .gifts = 1,
                .own_after = 1},
        [RELEASE_MANY] = {.name = "release_many", .many = 8},
        [RELEASE_MANY_WITH_GIFTS] = {.name = "release_many with gifts", .many = 4, .gifts_many = 4},
        [ATTACH] = {.name = "attach", .peers = 1, .own_after = 1, .peers_after = 1},
        [ATTACH_AGAIN] =
                {.name = "attach again", .own = 1, .peers = 1, .own_after = 2, .peers_after = 1},
        [ATTACH_GIFT] = {.name = "attach of a gift", .gifts = 1, .own_after = 2},
        [GIVE] = {.name = "give", .own = 1, .peers_after = 1},
        [GIVE_ONE_OF_TWO] = {.name = "give, one of two",
                .own = 2,
                .own_after = 1,
                .peers_after = 1},
        [GIVE_GIFT_ON] = {.name = "give of a gift", .gifts = 1, .peers = 1, .peers_after = 2},
        [GIVE_ONE_OF_TWO_GIFTS] = {.name = "give, one of two gifts",
                .gifts = 2,
                .own_after = 1,
                .peers_after = 1},
        [GIVE_MANY] = {.name = "give_many", .many = 8, .peers_many_after = 8},
        [PUBLISH] = {.name = "publish", .own = 1, .own_after = 1, .published_after = true},
        [PUBLISH_OVER] = {.name = "publish over a key",
                .own = 1,
                .published = true,
                .own_after = 1,
                .published_after = true},
        [LOOKUP] = {.name = "lookup",
                .peers = 1,
                .published = true,
                .own_after = 1,
                .peers_after = 1,
                .published_after = true},
        [UNPUBLISH] = {.name = "unpublish", .peers = 1, .published = true, .peers_after = 1},
};

struct play {
        struct scene scene;
        struct lossy lossy;
        struct buddyclient *client, *peer; /* the client's way is lossy, the peer's is not */
        enum act act;
        int result;
        struct buddyclient_range range, many[8], found[8];
        size_t count;
};

/* ---- On the client's thread ---- */

static void do_connect(void *argument) {
        struct play *play = argument;
        play->result = buddyclient_connect(play->client);
}

static void do_destroy(void *argument) {
        struct play *play = argument;
        buddyclient_destroy(play->client);
}

static void do_act(void *argument) {
        struct play *play = argument;
        struct buddyclient *client = play->client;
        uint32_t peer = buddyclient_id(play->peer);
        switch (play->act) {
        case ALLOC:
                play->result = buddyclient_alloc(client, 1, play->found);
                break;
        case ALLOC_MANY:
                play->result = buddyclient_alloc_many(client, 1, 8, play->found);
                break;
        case ALLOC_WAIT:
                play->result = buddyclient_alloc_wait(client, 1, 5000, play->found);
                break;
        case RELEASE:
        case RELEASE_ONE_OF_TWO:
        case RELEASE_GIFT:
        case RELEASE_ONE_OF_TWO_GIFTS:
        case RELEASE_GIFT_HELD_TOO:
                play->result = buddyclient_release(client, &play->range);
                break;
        case RELEASE_MANY:
        case RELEASE_MANY_WITH_GIFTS:
                play->result = buddyclient_release_many(client, play->many, 8);
                break;
        case ATTACH:
        case ATTACH_AGAIN:
        case ATTACH_GIFT:
                play->result = buddyclient_attach(client, &play->range);
                break;
        case GIVE:
        case GIVE_ONE_OF_TWO:
        case GIVE_GIFT_ON:
        case GIVE_ONE_OF_TWO_GIFTS:
                play->result = buddyclient_give(client, &play->range, peer);
                break;
        case GIVE_MANY:
                play->result = buddyclient_give_many(client, play->many, 8, peer);
                break;
        case PUBLISH:
        case PUBLISH_OVER:
                play->result = buddyclient_publish(client, "key", &play->range);
                break;
        case LOOKUP:
                play->result = buddyclient_lookup(client, "key", play->found);
                break;
        case UNPUBLISH:
                play->result = buddyclient_unpublish(client, "key");
                break;
        case ACTS:
                break;
        }
}

/* How many holds of the range, and of how many of the eight, there were to return. */
static void do_return(void *argument) {
        struct play *play = argument;
        play->result = 0;
        while (buddyclient_release(play->client, &play->range) == 0)
                play->result++;
        play->count = 0;
        for (int each = 0; each < 8; each++)
                play->count += buddyclient_release(play->client, &play->many[each]) == 0;
}

static void do_setup(void *argument) {
        struct play *play = argument;
        for (int each = 0; each < acts[play->act].own; each++)
                play->result |= buddyclient_attach(play->client, &play->range);
        for (int each = 0; each < acts[play->act].many; each++)
                play->result |= buddyclient_attach(play->client, &play->many[each]);
}

/* ---- On the test's ---- */

/* All ranges are the peer's first; it keeps as many holds as it is to have. */
static void setup(struct play *play) {
        uint32_t id = buddyclient_id(play->client);
        cr_assert_eq(buddyclient_alloc(play->peer, 1, &play->range), 0);
        cr_assert_eq(buddyclient_alloc_many(play->peer, 1, 8, play->many), 0);
        play->result = 0;
        lossy_run(&play->lossy, do_setup, play);
        cr_assert_eq(play->result, 0);
        for (int each = 0; each < acts[play->act].gifts; each++) {
                struct buddyclient_range gift = play->range;
                cr_assert_eq(buddyclient_attach(play->peer, &gift), 0);
                cr_assert_eq(buddyclient_give(play->peer, &gift, id), 0);
        }
        for (int each = 0; each < acts[play->act].gifts_many; each++) {
                struct buddyclient_range gift = play->many[acts[play->act].many + each];
                cr_assert_eq(buddyclient_attach(play->peer, &gift), 0);
                cr_assert_eq(buddyclient_give(play->peer, &gift, id), 0);
        }
        if (acts[play->act].published)
                cr_assert_eq(buddyclient_publish(play->peer, "key", &play->range), 0);
        cr_assert_eq(buddyclient_release_many(play->peer, play->many, 8), 0);
        if (acts[play->act].peers == 0)
                cr_assert_eq(buddyclient_release(play->peer, &play->range), 0);
}

static uint64_t pages_after(const struct play *play) {
        int pages = acts[play->act].granted + acts[play->act].many_after +
                    acts[play->act].peers_many_after;
        pages += acts[play->act].own_after + acts[play->act].peers_after > 0 ||
                 acts[play->act].published_after;
        return (unsigned)pages * SCENE_PAGE;
}

static void verify(struct play *play, const char *what) {
        struct buddyclient_range found;
        cr_assert_eq(play->result, 0, "%s: %d", what, play->result);
        uint64_t held = stats_of(play->peer).held_bytes;
        cr_expect_eq(held, pages_after(play), "%s: %lu bytes held, expected %lu", what, held,
                pages_after(play));
        expect_sound(&play->scene);
        int result = buddyclient_lookup(play->peer, "key", &found);
        cr_expect_eq(result, acts[play->act].published_after ? 0 : -ENOENT, "%s: lookup %d", what,
                result);
        if (result == 0) {
                cr_assert_eq(buddyclient_release(play->peer, &found), 0);
                cr_assert_eq(buddyclient_unpublish(play->peer, "key"), 0);
        }
        for (int each = 0; each < acts[play->act].granted; each++)
                cr_assert_neq(buddyclient_pointer(play->client, &play->found[each]), NULL);
        lossy_run(&play->lossy, do_return, play);
        cr_expect_eq(play->result, acts[play->act].own_after,
                "%s: %d holds of its own left, expected %d", what, play->result,
                acts[play->act].own_after);
        cr_expect_eq(play->count, (size_t)acts[play->act].many_after, "%s: %zu of eight", what,
                play->count);
        int peers = 0, peers_many = 0;
        while (buddyclient_release(play->peer, &play->range) == 0)
                peers++;
        for (int each = 0; each < 8; each++)
                peers_many += buddyclient_release(play->peer, &play->many[each]) == 0;
        cr_expect_eq(peers, acts[play->act].peers_after, "%s: the peer had %d", what, peers);
        cr_expect_eq(peers_many, acts[play->act].peers_many_after, "%s: the peer had %d of eight",
                what, peers_many);
        expect_held(play->peer, (unsigned)acts[play->act].granted * SCENE_PAGE);
}

static void play_run(struct play *play, enum act act, bool request, const int losses[3]) {
        char what[100];
        play->act = act;
        snprintf(what, sizeof what, "%s, %s %d, %d, %d", acts[act].name,
                request ? "request lost, then reply" : "reply lost", losses[0], losses[1],
                losses[2]);
        lossy_open(&play->lossy, &play->scene, "1M");
        cr_assert_eq(buddyclient_new(&play->client), 0);
        cr_assert_eq(buddyclient_set_socket(play->client, play->lossy.path), 0);
        cr_assert_eq(buddyclient_set_pool(play->client, play->scene.pool), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(play->client, 0), 0);
        lossy_run(&play->lossy, do_connect, play);
        cr_assert_eq(play->result, 0);
        setup(play);
        play->lossy.request = request;
        memcpy(play->lossy.losses, losses, sizeof play->lossy.losses);
        unsigned before = play->lossy.crashes;
        lossy_run(&play->lossy, do_act, play);
        cr_assert_gt(play->lossy.crashes, before, "%s: nothing was lost", what);
        memset(play->lossy.losses, 0, sizeof play->lossy.losses);
        verify(play, what);
        lossy_run(&play->lossy, do_destroy, play);
        expect_held(play->peer, 0);
        lossy_close(&play->lossy);
}

static void acts_run(enum act first, enum act last) {
        static const int losses[][3] = {{1, 0, 0}, {1, 1, 0}, {1, 2, 0}, {1, 3, 0}, {1, 3, 3}};
        struct play play;
        scene_open(&play.scene);
        scene_start(&play.scene, "--size", "1M", NULL);
        play.peer = client_new(&play.scene);
        for (enum act act = first; act <= last; act++) {
                play_run(&play, act, true, losses[0]);
                for (size_t each = 0; each < sizeof losses / sizeof *losses; each++)
                        play_run(&play, act, false, losses[each]);
        }
        buddyclient_destroy(play.peer);
        scene_close(&play.scene);
}

Test(lost_reply, of_grants) {
        acts_run(ALLOC, ALLOC_WAIT);
}

Test(lost_reply, of_returns) {
        acts_run(RELEASE, RELEASE_GIFT);
}

Test(lost_reply, of_returns_of_several_gifts) {
        acts_run(RELEASE_ONE_OF_TWO_GIFTS, RELEASE_ONE_OF_TWO_GIFTS);
}

Test(lost_reply, of_batches) {
        acts_run(RELEASE_GIFT_HELD_TOO, RELEASE_MANY_WITH_GIFTS);
}

Test(lost_reply, of_attaching) {
        acts_run(ATTACH, ATTACH_GIFT);
}

Test(lost_reply, of_giving) {
        acts_run(GIVE, GIVE_GIFT_ON);
}

Test(lost_reply, of_giving_one_of_several_gifts) {
        acts_run(GIVE_ONE_OF_TWO_GIFTS, GIVE_MANY);
}

Test(lost_reply, of_keys) {
        acts_run(PUBLISH, UNPUBLISH);
}

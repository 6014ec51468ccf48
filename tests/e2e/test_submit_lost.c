/* Submissions whose request or reply is lost with the daemon: what was done is not done again, what was not is done, and the callback
 * hears of it once. Each kind is cut off at its own request and reply, without luck. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "lossy.h"
#include "outcome.h"

TestSuite(submit_lost, .timeout = 240);

#define SIZE  "1M"
#define OWNED 3

enum kind {
        ALLOC,
        ALLOC_WAIT,
        ALLOC_MANY,
        RELEASE,
        RELEASE_MANY,
        ATTACH,
        GIVE,
        GIVE_MANY,
        PUBLISH,
        LOOKUP,
        UNPUBLISH,
        FIND,
        KINDS
};

static const struct {
        const char *name;
        int pages;       /* that are held afterwards */
        int holds_first; /* that the client has of its first range afterwards */
        int count;       /* of ranges that the callback is shown */
} kinds[KINDS] = {
        [ALLOC] = {"alloc", OWNED + 1, 1, 1},
        [ALLOC_WAIT] = {"alloc_wait", OWNED + 1, 1, 1},
        [ALLOC_MANY] = {"alloc_many", OWNED + 5, 1, 5},
        [RELEASE] = {"release", OWNED - 1, 0, 0},
        [RELEASE_MANY] = {"release_many", OWNED - 2, 0, 0},
        [ATTACH] = {"attach", OWNED, 2, 1},
        [GIVE] = {"give", OWNED, 0, 1},
        [GIVE_MANY] = {"give_many", OWNED, 0, 2},
        [PUBLISH] = {"publish", OWNED, 1, 0},
        [LOOKUP] = {"lookup", OWNED, 2, 1},
        [UNPUBLISH] = {"unpublish", OWNED, 1, 0},
        [FIND] = {"find", OWNED, 1, 0},
};

struct play {
        struct scene scene;
        struct lossy lossy;
        struct buddyclient *client, *peer;
        enum kind kind;
        struct buddyclient_range owned[OWNED];
        struct outcome outcome;
        int result, holds;
};

/* ---- On the client's thread, where nothing may be expected ---- */

static void do_connect(void *argument) {
        struct play *play = argument;
        play->result = buddyclient_connect(play->client);
        if (play->result == 0)
                play->result = buddyclient_alloc_many(play->client, 1, OWNED, play->owned);
        if (play->result == 0 && (play->kind == LOOKUP || play->kind == UNPUBLISH))
                play->result = buddyclient_publish(play->client, "key", &play->owned[0]);
}

static int submit(struct play *play) {
        struct buddyclient *client = play->client;
        struct outcome *outcome = &play->outcome;
        uint32_t peer = buddyclient_id(play->peer);
        switch (play->kind) {
        case ALLOC:
                return buddyclient_submit_alloc(client, 1, outcome_note, outcome);
        case ALLOC_WAIT:
                return buddyclient_submit_alloc_wait(client, 1, -1, outcome_note, outcome);
        case ALLOC_MANY:
                return buddyclient_submit_alloc_many(client, 1, 5, outcome_note, outcome);
        case RELEASE:
                return buddyclient_submit_release(client, play->owned, outcome_note, outcome);
        case RELEASE_MANY:
                return buddyclient_submit_release_many(
                        client, play->owned, 2, outcome_note, outcome);
        case ATTACH:
                return buddyclient_submit_attach(client, play->owned, outcome_note, outcome);
        case GIVE:
                return buddyclient_submit_give(client, play->owned, peer, outcome_note, outcome);
        case GIVE_MANY:
                return buddyclient_submit_give_many(
                        client, play->owned, 2, peer, outcome_note, outcome);
        case PUBLISH:
                return buddyclient_submit_publish(
                        client, "key", play->owned, outcome_note, outcome);
        case LOOKUP:
                return buddyclient_submit_lookup(client, "key", outcome_note, outcome);
        case UNPUBLISH:
                return buddyclient_submit_unpublish(client, "key", outcome_note, outcome);
        default:
                return buddyclient_submit_find(client, "the peer", outcome_note, outcome);
        }
}

static void do_act(void *argument) {
        struct play *play = argument;
        struct pollfd ready = {.fd = buddyclient_fd(play->client), .events = POLLIN};
        uint64_t deadline = now_ms() + PATIENCE_MS;
        play->result = submit(play);
        while (play->result == 0 && play->outcome.runs == 0 && now_ms() < deadline) {
                if (poll(&ready, 1, PATIENCE_MS) <= 0)
                        break;
                int rc = buddyclient_dispatch(play->client);
                if (rc < 0)
                        play->result = rc;
        }
}

static void do_count(void *argument) {
        struct play *play = argument;
        for (play->holds = 0; play->holds < 5; play->holds++)
                if (buddyclient_release(play->client, &play->owned[0]) != 0)
                        break;
}

static void do_destroy(void *argument) {
        struct play *play = argument;
        buddyclient_destroy(play->client);
}

/* ---- On the test's ---- */

static void verify(struct play *play, const char *what) {
        const struct outcome *outcome = &play->outcome;
        cr_assert_eq(play->result, 0, "%s: %d", what, play->result);
        cr_assert_eq(outcome->runs, 1, "%s: %u times", what, outcome->runs);
        cr_assert_eq(outcome->result, 0, "%s: %d %s", what, outcome->result, outcome->detail);
        cr_assert_eq(outcome->count, (size_t)kinds[play->kind].count, "%s", what);
        if (play->kind == FIND)
                cr_assert_eq(outcome->peer, buddyclient_id(play->peer), "%s", what);
        uint64_t held = stats_of(play->peer).held_bytes;
        cr_assert_eq(held, (unsigned)kinds[play->kind].pages * SCENE_PAGE, "%s: %lu bytes held",
                what, held);
        lossy_run(&play->lossy, do_count, play);
        cr_assert_eq(play->holds, kinds[play->kind].holds_first, "%s: %d holds of the first range",
                what, play->holds);
        if (play->kind == GIVE || play->kind == GIVE_MANY)
                for (size_t each = 0; each < outcome->count; each++) {
                        cr_assert_eq(buddyclient_release(play->peer, &outcome->ranges[each]), 0,
                                "%s", what);
                        cr_assert_eq(buddyclient_release(play->peer, &outcome->ranges[each]),
                                -ESTALE, "%s", what);
                }
        int expected = play->kind == PUBLISH || play->kind == LOOKUP ? 0 : -ENOENT;
        cr_assert_eq(buddyclient_unpublish(play->peer, "key"), expected, "%s", what);
}

static void play_run(struct play *play, enum kind kind, bool request, const int losses[3]) {
        char what[80];
        snprintf(what, sizeof what, "%s, %s %d %d", kinds[kind].name, request ? "request" : "reply",
                losses[0], losses[1]);
        play->kind = kind;
        play->outcome = (struct outcome){0};
        lossy_open(&play->lossy, &play->scene, SIZE);
        cr_assert_eq(buddyclient_new(&play->client), 0);
        cr_assert_eq(buddyclient_set_socket(play->client, play->lossy.path), 0);
        cr_assert_eq(buddyclient_set_pool(play->client, play->scene.pool), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(play->client, 0), 0);
        lossy_run(&play->lossy, do_connect, play);
        cr_assert_eq(play->result, 0, "%s: %d", what, play->result);
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

static void kinds_run(enum kind first, enum kind last) {
        static const int losses[][3] = {{1, 0, 0}, {1, 1, 0}, {1, 2, 0}, {1, 3, 0}};
        static struct play play;
        scene_open(&play.scene);
        scene_start(&play.scene, "--size", SIZE, NULL);
        cr_assert_eq(buddyclient_new(&play.peer), 0);
        cr_assert_eq(buddyclient_set_socket(play.peer, play.scene.socket), 0);
        cr_assert_eq(buddyclient_set_pool(play.peer, play.scene.pool), 0);
        cr_assert_eq(buddyclient_set_name(play.peer, "the peer"), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(play.peer, 0), 0);
        cr_assert_eq(buddyclient_connect(play.peer), 0);
        for (enum kind kind = first; kind <= last; kind++) {
                play_run(&play, kind, true, losses[0]);
                for (size_t each = 0; each < sizeof losses / sizeof *losses; each++)
                        play_run(&play, kind, false, losses[each]);
        }
        buddyclient_destroy(play.peer);
        scene_close(&play.scene);
}

Test(submit_lost, of_grants) {
        kinds_run(ALLOC, ALLOC_MANY);
}

Test(submit_lost, of_releases_and_attaches) {
        kinds_run(RELEASE, ATTACH);
}

Test(submit_lost, of_gifts) {
        kinds_run(GIVE, GIVE_MANY);
}

Test(submit_lost, of_keys_and_names) {
        kinds_run(PUBLISH, FIND);
}

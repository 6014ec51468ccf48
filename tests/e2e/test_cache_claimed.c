/* A range on its way into the cache when the daemon dies: it is claimed, and in no slot yet. The next daemon may not look into the
 * client, and so grants others a hold of it by its right name before it meets the cache. Then the release goes by a
 * request: the range must be neither lost nor found in a slot. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lossy.h"

TestSuite(cache_claimed, .timeout = 60);

#define POOL      "64M"
#define STRANGER  12345 /* the daemon's user */
#define TAKEN_MAX 200

/* The client releases r and another range together. The other is one for the daemon, and that request never arrives: so r is
 * claimed meanwhile. */
struct play {
        struct scene scene;
        struct lossy lossy;
        struct buddyclient *client, *peer;
        uint32_t id; /* the client's */
        struct buddyclient_range ranges[2];
        bool gift; /* r is one of the peer's */
        int result;
        struct buddyclient_range taken[TAKEN_MAX];
        size_t taken_count;
};

/* ---- Of the client, behind the lossy way ---- */

static void do_connect(void *argument) {
        struct play *play = argument;
        struct buddyclient_range warm[4];
        if ((play->result = buddyclient_new(&play->client)) != 0 ||
                (play->result = buddyclient_set_socket(play->client, play->lossy.path)) != 0 ||
                (play->result = buddyclient_set_pool(play->client, play->scene.pool)) != 0 ||
                (play->result = buddyclient_set_timeout_ms(play->client, PATIENCE_MS)) != 0 ||
                (play->result = buddyclient_connect(play->client)) != 0)
                return;
        play->id = buddyclient_id(play->client);
        for (int each = 0; each < 4 && play->result == 0; each++)
                play->result = buddyclient_alloc(play->client, 1, &warm[each]);
        for (int each = 0; each < 4 && play->result == 0; each++)
                play->result = buddyclient_release(play->client, &warm[each]);
        if (play->result == 0 && !play->gift)
                play->result = buddyclient_alloc(play->client, 1, &play->ranges[0]);
        if (play->result == 0) /* behind r, which is so among the first that are granted again */
                play->result = buddyclient_alloc(play->client, 2 * MIB, &play->ranges[1]);
}

static void do_release_both(void *argument) {
        struct play *play = argument;
        play->result = buddyclient_release_many(play->client, play->ranges, 2);
}

static void do_release(void *argument) {
        struct play *play = argument;
        play->result = buddyclient_release(play->client, &play->ranges[0]);
}

/* More than the cache has, and back again. */
static void do_take(void *argument) {
        struct play *play = argument;
        play->result = 0;
        for (play->taken_count = 0; play->taken_count < TAKEN_MAX && play->result == 0;)
                play->result =
                        buddyclient_alloc(play->client, 1, &play->taken[play->taken_count++]);
}

static void do_return(void *argument) {
        struct play *play = argument;
        play->result = 0;
        for (size_t each = 0; each < play->taken_count && play->result == 0; each++)
                play->result = buddyclient_release(play->client, &play->taken[each]);
}

static void do_destroy(void *argument) {
        struct play *play = argument;
        buddyclient_destroy(play->client);
}

static void run(struct play *play, void (*function)(void *), const char *what) {
        play->result = 0;
        lossy_run(&play->lossy, function, play);
        cr_assert_eq(play->result, 0, "%s: %d", what, play->result);
}

/* ---- The play ---- */

static void attach(void *argument) {
        struct play *play = argument;
        int result = buddyclient_attach(play->peer, &play->ranges[0]);
        cr_assert_eq(result, 0, "the daemon has met the cache: %d", result);
        memset(buddyclient_pointer(play->peer, &play->ranges[0]), 77, SCENE_PAGE);
}

static void begin(struct play *play, bool gift) {
        *play = (struct play){.gift = gift};
        if (geteuid() != 0)
                cr_skip_test("needs a daemon of another user's");
        scene_open(&play->scene);
        play->scene.uid = STRANGER;
        cr_assert_eq(chown(play->scene.folder, STRANGER, STRANGER), 0);
        scene_start(&play->scene, "--size", POOL, NULL);
        lossy_open(&play->lossy, &play->scene, POOL);
        play->peer = client_new(&play->scene);
        run(play, do_connect, "connect");
        if (gift) {
                cr_assert_eq(buddyclient_alloc(play->peer, 1, &play->ranges[0]), 0);
                cr_assert_eq(buddyclient_give(play->peer, &play->ranges[0], play->id), 0);
        }
        play->lossy.request = true;
        play->lossy.absent = attach;
        play->lossy.context = play;
        run(play, do_release_both, "release_many");
        cr_assert_eq(play->lossy.crashes, 1);
}

static void end(struct play *play) {
        run(play, do_destroy, "destroy");
        expect_held(play->peer, 0);
        buddyclient_destroy(play->peer);
        lossy_close(&play->lossy);
        scene_close(&play->scene);
}

static bool was_taken(const struct play *play) {
        for (size_t each = 0; each < play->taken_count; each++)
                if (play->taken[each].offset == play->ranges[0].offset)
                        return true;
        return false;
}

static void is_not_lost(bool gift) {
        struct play play;
        begin(&play, gift);
        run(&play, do_take, "alloc");
        cr_assert_not(was_taken(&play), "granted while somebody holds it");
        cr_assert_eq(*(char *)buddyclient_pointer(play.peer, &play.ranges[0]), 77);
        cr_assert_eq(buddyclient_release(play.peer, &play.ranges[0]), 0);
        run(&play, do_return, "release");
        expect_held(play.peer, 0);
        run(&play, do_take, "alloc");
        cr_assert(was_taken(&play), "lost");
        run(&play, do_return, "release");
        end(&play);
}

Test(cache_claimed, is_not_lost_when_another_daemon_meets_it_late) {
        is_not_lost(false);
}

Test(cache_claimed, a_gift_is_not_lost_when_another_daemon_meets_it_late) {
        is_not_lost(true);
}

/* It has been released: so who gets it again can release it again, and only then. */
Test(cache_claimed, is_released_when_it_was_returned) {
        struct play play;
        begin(&play, false);
        expect_held(play.peer, SCENE_PAGE);
        lossy_run(&play.lossy, do_release, &play);
        cr_assert_eq(play.result, -ESTALE, "%d", play.result);
        cr_assert_eq(buddyclient_give(play.peer, &play.ranges[0], play.id), 0);
        expect_held(play.peer, SCENE_PAGE);
        run(&play, do_release, "the release of what came back");
        expect_held(play.peer, 0);
        end(&play);
}

/* Requests of which a daemon that dies has seen all, a part, or nothing, as its socket was full: each is done once, and told once. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "outcome.h"

TestSuite(submit_partly, .timeout = 240);

#define BATCH   1024
#define BATCHES 8
#define ROUNDS  12

static struct buddyclient_range held[BATCHES][BATCH], granted[BATCHES][BATCH];

struct batch {
        struct outcome outcome;
        struct buddyclient_range *ranges;
};

static struct batch releases[BATCHES], gifts[BATCHES], allocs[BATCHES];

/* Of a connection to the daemon's socket only so little is taken at once: frames go out in pieces. */
static void narrow(const struct scene *scene, int bytes) {
        int narrowed = 0;
        for (int fd = 3; fd < 256; fd++) {
                struct sockaddr_un peer = {0};
                socklen_t length = sizeof peer;
                if (getpeername(fd, (struct sockaddr *)&peer, &length) != 0 ||
                        strcmp(peer.sun_path, scene->socket) != 0)
                        continue;
                cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
                narrowed++;
        }
        cr_assert_gt(narrowed, 0);
}

static void note_batch(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct batch *batch = data;
        outcome_note(client, completion, &batch->outcome);
        if (completion->result == 0 && completion->count == BATCH)
                memcpy(batch->ranges, completion->ranges, BATCH * sizeof *batch->ranges);
}

static void submit_all(struct buddyclient *client, struct buddyclient *peer) {
        memset(releases, 0, sizeof releases);
        memset(gifts, 0, sizeof gifts);
        memset(allocs, 0, sizeof allocs);
        for (int each = 0; each < BATCHES; each++) {
                allocs[each].ranges = granted[each];
                gifts[each].ranges = held[each];
                struct buddyclient_range *half = &held[each][BATCH / 2];
                cr_assert_eq(buddyclient_submit_release_many(
                                     client, half, BATCH / 2, note_batch, &releases[each]),
                        0);
                cr_assert_eq(buddyclient_submit_give_many(client, held[each], BATCH / 2,
                                     buddyclient_id(peer), note_batch, &gifts[each]),
                        0);
                cr_assert_eq(
                        buddyclient_submit_alloc_many(client, 1, BATCH, note_batch, &allocs[each]),
                        0);
                cr_assert_geq(buddyclient_dispatch(client), 0);
        }
}

static void expect_told(struct buddyclient *client, struct batch *batches, const char *what) {
        for (int each = 0; each < BATCHES; each++) {
                outcome_await(client, &batches[each].outcome, 0);
                cr_assert_eq(batches[each].outcome.runs, 1, "%s %d", what, each);
        }
}

/* The daemon stands while all is submitted, goes on for so long, and dies. */
static void run_round(struct scene *scene, struct buddyclient *client, int bytes, long go_on_us) {
        struct buddyclient *peer = client_with(scene, 0, 20000);
        for (int each = 0; each < BATCHES; each++)
                cr_assert_eq(buddyclient_alloc_many(client, 1, BATCH, held[each]), 0);
        narrow(scene, bytes);
        scene_freeze(scene);
        submit_all(client, peer);
        if (go_on_us > 0) {
                scene_thaw(scene);
                for (uint64_t end = now_ms() + 1; now_ms() < end;)
                        buddyclient_dispatch(client);
                nanosleep(&(struct timespec){.tv_nsec = go_on_us * 1000}, NULL);
        }
        scene_kill(scene);
        scene_start(scene, "--size", "128M", "--commit", "lazy", NULL);
        expect_told(client, releases, "release");
        expect_told(client, gifts, "gift");
        expect_told(client, allocs, "alloc");
        cr_assert_eq(client_settle(client, 10), 0);
        expect_held(client, (BATCHES * BATCH + BATCHES * BATCH / 2) * SCENE_PAGE);
        for (int each = 0; each < BATCHES; each++) {
                cr_assert_eq(buddyclient_release_many(client, granted[each], BATCH), 0, "%s",
                        buddyclient_detail(client));
                cr_assert_eq(buddyclient_release_many(peer, held[each], BATCH / 2), 0, "%s",
                        buddyclient_detail(peer));
        }
        expect_held(client, 0);
        buddyclient_destroy(peer);
}

static void run(int bytes) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "128M", "--commit", "lazy", NULL);
        struct buddyclient *client = client_with(&scene, 0, 20000);
        for (int round = 0; round < ROUNDS; round++)
                run_round(&scene, client, bytes, round * 150L);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(submit_partly, a_frame_of_which_a_piece_was_sent) {
        run(4608);
}

Test(submit_partly, frames_that_were_not_sent) {
        run(40000);
}

/* A reply that is lost with its connection: the peer answers a call by closing, before it took effect
 * or after, is connected to again, says what is held, and sees what the client makes of it. Every
 * call has to succeed as if nothing had happened. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "client/buddyclient.h"
#include "peer.h"

#define PAGE      4096ull
#define RANGES    4
#define HOLDS_MAX 8

/* What is held, by page; the generation is 1 unless said otherwise. */
struct held {
        unsigned page;
        uint32_t generation;
        bool given;
};

struct scene {
        unsigned granted; /* ranges that are allocated before, from page 0 on */
        enum request_kind call;
        unsigned named; /* ranges that the call names, from page `from` on, or that it wants */
        unsigned from;
        unsigned done;  /* so many of them, when the connection broke */
        bool later;     /* a later request was done, too */
        unsigned found; /* page that a lookup found */
        struct held held
                [HOLDS_MAX]; /* what the daemon says that is held, asked if it is not as many as the table has */
        unsigned held_count;
        unsigned owed; /* ranges that come back one-way */
        bool repeated; /* the call comes again … */
        unsigned left; /* … with so many ranges */
        unsigned left_from;
        bool peer_gone; /* when it comes again, the peer that it gives to is gone: all it names goes back */
        bool twice;     /* the call names its first range twice and no other */
        bool regranted; /* page 0 is granted again in another life: the table must have forgotten it */
};

static const struct scene *scene; /* set before the peer is forked */

/* ---- The peer ---- */

static void send_ranges(int fd, uint64_t id, unsigned first, unsigned count) {
        uint64_t places[HOLDS_MAX];
        uint32_t generations[HOLDS_MAX];
        for (unsigned i = 0; i < count; i++) {
                places[i] = (first + i) * PAGE;
                generations[i] = 1;
        }
        struct reply reply = {
                .id = id, .kind = REPLY_RANGES, .ranges = {places, generations, count}};
        peer_send(fd, &reply, NULL, 0);
}

static void list_held(int fd) {
        struct reply_hold holds[HOLDS_MAX] = {0};
        for (unsigned i = 0; i < scene->held_count; i++) {
                const struct held *held = &scene->held[i];
                uint32_t generation = held->generation ? held->generation : 1;
                holds[i] = (struct reply_hold){.range = {held->page * PAGE, PAGE, generation},
                        .session = 7,
                        .given = held->given};
        }
        peer_expect_holds(fd, holds, scene->held_count);
}

static void expect_named(const struct message_ranges *ranges) {
        peer_need(ranges->count == scene->left);
        for (unsigned i = 0; i < scene->left; i++)
                peer_need(ranges->places[i] == (scene->left_from + (scene->twice ? 0 : i)) * PAGE);
}

static void refuse_gift(int fd, uint64_t id) {
        struct reply reply = {
                .id = id, .kind = REPLY_REFUSED, .refused = {STATUS_NOT_FOUND, "no client 9 here"}};
        peer_send(fd, &reply, NULL, 0);
}

static void answer_again(int fd) {
        const struct request *request = peer_read(fd);
        peer_need(request->kind == scene->call);
        switch (request->kind) {
        case REQUEST_ALLOC:
                peer_need(request->alloc.count == scene->named);
                send_ranges(fd, request->id, 100, scene->named);
                return;
        case REQUEST_LOOKUP: {
                struct reply reply = {
                        .id = request->id, .kind = REPLY_RANGE, .range = {100 * PAGE, PAGE, 1}};
                peer_send(fd, &reply, NULL, 0);
                return;
        }
        case REQUEST_FIND: {
                struct reply reply = {.id = request->id, .kind = REPLY_PEER, .peer = 9};
                peer_send(fd, &reply, NULL, 0);
                return;
        }
        case REQUEST_RELEASE:
                expect_named(&request->release.ranges);
                break;
        case REQUEST_GIVE:
                peer_need(request->give.peer == 9);
                expect_named(&request->give.ranges);
                if (scene->peer_gone) {
                        refuse_gift(fd, request->id);
                        return;
                }
                break;
        default:
                break;
        }
        peer_send_done(fd, request->id);
}

static void expect_owed(int fd, unsigned count) {
        if (count == 0)
                return;
        const struct request *request = peer_read(fd);
        peer_need(request->kind == REQUEST_RELEASE && request->release.one_way &&
                  request->release.ranges.count == count);
}

static void play(int fd) {
        static int connection;
        if (connection++ == 0) {
                peer_greet(fd);
                if (scene->granted > 0)
                        send_ranges(fd, peer_read(fd)->id, 0, scene->granted);
                const struct request *request = peer_read(fd);
                peer_need(request->kind == scene->call);
                if (scene->done > 0)
                        peer_done = (struct message_done){.request = request->id + scene->later,
                                .ranges = scene->done,
                                .place = scene->found * PAGE,
                                .generation = scene->found > 0};
                return;
        }
        for (unsigned i = 0; i < scene->held_count; i++)
                peer_granted += !scene->held[i].given;
        peer_expect_hello_again(fd);
        if (scene->call == REQUEST_ALLOC && peer_granted != scene->granted)
                list_held(fd);
        expect_owed(fd, scene->owed);
        if (scene->repeated)
                answer_again(fd);
        if (scene->peer_gone)
                expect_owed(fd, scene->left);
        /* Nothing else came: this is what the client asks at the end. */
        const struct request *request = peer_read(fd);
        peer_need(request->kind == REQUEST_PUBLISH && strcmp(request->publish.key, "end") == 0);
        peer_send_done(fd, request->id);
        if (scene->regranted)
                peer_send_range(fd, peer_read(fd)->id, 0, 9);
        peer_part(fd);
}

/* ---- The client ---- */

static int make_call(struct buddyclient *client, struct buddyclient_range *ranges) {
        struct buddyclient_range out[HOLDS_MAX];
        uint32_t id;
        int rc;
        switch (scene->call) {
        case REQUEST_ALLOC:
                rc = buddyclient_alloc_many(client, PAGE, scene->named, out);
                for (unsigned i = 0; rc == 0 && i < scene->named; i++)
                        cr_assert_eq(out[i].offset, (100 + i) * PAGE);
                return rc;
        case REQUEST_LOOKUP:
                rc = buddyclient_lookup(client, "key", out);
                cr_assert_eq(out[0].offset, (scene->found ? scene->found : 100) * PAGE);
                return rc;
        case REQUEST_FIND:
                return buddyclient_find(client, "name", &id);
        case REQUEST_ATTACH:
                return buddyclient_attach(client, ranges);
        case REQUEST_RELEASE:
                return buddyclient_release_many(client, ranges, scene->named);
        case REQUEST_GIVE:
                return buddyclient_give_many(client, ranges, scene->named, 9);
        case REQUEST_PUBLISH:
                return buddyclient_publish(client, "key", ranges);
        case REQUEST_UNPUBLISH:
                return buddyclient_unpublish(client, "key");
        default:
                return -EINVAL;
        }
}

static void expect_scene(const struct scene *played) {
        struct buddyclient *client;
        struct buddyclient_range granted[RANGES], ranges[RANGES];
        scene = played;
        struct peer peer = peer_start(play);
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, peer.path), 0);
        cr_assert_eq(buddyclient_set_timeout_ms(client, 20000), 0);
        cr_assert_eq(buddyclient_connect(client), 0, "%s", buddyclient_detail(client));
        if (scene->granted > 0)
                cr_assert_eq(buddyclient_alloc_many(client, PAGE, scene->granted, granted), 0);
        for (unsigned i = 0; i < RANGES; i++)
                ranges[i] = (struct buddyclient_range){
                        (scene->from + (scene->twice ? 0 : i)) * PAGE, PAGE, 1};
        int rc = make_call(client, ranges);
        cr_assert_eq(rc, 0, "%d: %s", rc, buddyclient_detail(client));
        cr_assert_eq(
                buddyclient_publish(client, "end", ranges), 0, "%s", buddyclient_detail(client));
        if (scene->regranted)
                cr_assert_eq(buddyclient_alloc(client, PAGE, ranges), 0);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

#define SCENE(name, ...)                                                                           \
        Test(reconcile, name) {                                                                    \
                expect_scene(&(const struct scene){__VA_ARGS__});                                  \
        }

/* ---- alloc ---- */

SCENE(alloc_that_did_not_happen, .call = REQUEST_ALLOC, .named = 1, .repeated = true)
SCENE(alloc_that_happened, .call = REQUEST_ALLOC, .named = 1, .held = {{.page = 5}},
        .held_count = 1, .owed = 1, .repeated = true)
SCENE(alloc_many_that_happened_in_part, .granted = 2, .call = REQUEST_ALLOC, .named = 3,
        .held = {{0}, {1}, {5}, {6}}, .held_count = 4, .owed = 2, .repeated = true)
SCENE(alloc_beside_what_a_peer_gave, .call = REQUEST_ALLOC, .named = 1,
        .held = {{5, 1, true}, {.page = 6}}, .held_count = 2, .owed = 1, .repeated = true)

SCENE(what_is_held_no_longer_is_forgotten, .granted = 1, .call = REQUEST_ALLOC, .named = 1,
        .repeated = true, .regranted = true)

/* ---- lookup, attach ---- */

SCENE(lookup_that_did_not_happen, .call = REQUEST_LOOKUP, .repeated = true)
SCENE(lookup_that_happened, .call = REQUEST_LOOKUP, .done = 1, .found = 7)
SCENE(lookup_that_happened_of_what_is_held, .granted = 1, .call = REQUEST_LOOKUP, .done = 1,
        .found = 1)
SCENE(attach_that_did_not_happen, .call = REQUEST_ATTACH, .repeated = true)
SCENE(attach_that_happened, .call = REQUEST_ATTACH, .done = 1)
SCENE(attach_that_happened_and_so_did_a_later_request, .call = REQUEST_ATTACH, .done = 1,
        .later = true)
SCENE(attach_of_what_is_held_that_did_not_happen, .granted = 1, .call = REQUEST_ATTACH,
        .repeated = true)
SCENE(attach_of_what_is_held_that_happened, .granted = 1, .call = REQUEST_ATTACH, .done = 1)

/* ---- release ---- */

SCENE(release_that_did_not_happen, .granted = 1, .call = REQUEST_RELEASE, .named = 1,
        .repeated = true, .left = 1)
SCENE(release_that_happened, .granted = 1, .call = REQUEST_RELEASE, .named = 1, .done = 1,
        .regranted = true)
SCENE(release_that_happened_and_so_did_a_later_request, .granted = 1, .call = REQUEST_RELEASE,
        .named = 1, .done = 1, .later = true, .regranted = true)
SCENE(release_many_that_did_not_happen, .granted = 3, .call = REQUEST_RELEASE, .named = 3,
        .repeated = true, .left = 3)
SCENE(release_many_that_happened_in_part, .granted = 4, .call = REQUEST_RELEASE, .named = 4,
        .done = 2, .repeated = true, .left = 2, .left_from = 2, .regranted = true)
SCENE(release_many_that_happened, .granted = 4, .call = REQUEST_RELEASE, .named = 4, .done = 4)
SCENE(release_many_before_a_later_request, .granted = 4, .call = REQUEST_RELEASE, .named = 4,
        .done = 1, .later = true, .regranted = true)
SCENE(release_of_a_gift_that_did_not_happen, .call = REQUEST_RELEASE, .named = 1, .repeated = true,
        .left = 1)
SCENE(release_of_a_gift_that_happened, .call = REQUEST_RELEASE, .named = 1, .done = 1)

/* The one that replies told of goes first, then the gift. */
SCENE(release_of_hold_and_gift_that_did_not_happen, .granted = 1, .call = REQUEST_RELEASE,
        .named = 2, .twice = true, .repeated = true, .left = 2)
SCENE(release_of_hold_and_gift_that_happened_in_part, .granted = 1, .call = REQUEST_RELEASE,
        .named = 2, .twice = true, .done = 1, .repeated = true, .left = 1, .regranted = true)
SCENE(release_of_hold_and_gift_that_happened, .granted = 1, .call = REQUEST_RELEASE, .named = 2,
        .twice = true, .done = 2, .regranted = true)

/* ---- give ---- */

SCENE(give_that_did_not_happen, .granted = 1, .call = REQUEST_GIVE, .named = 1, .repeated = true,
        .left = 1)
SCENE(give_that_happened, .granted = 1, .call = REQUEST_GIVE, .named = 1, .done = 1,
        .regranted = true)
SCENE(give_many_that_happened_in_part, .granted = 4, .call = REQUEST_GIVE, .named = 3, .from = 1,
        .done = 2, .repeated = true, .left = 1, .left_from = 3)
/* The peer had the others and is gone with them: so it is with the rest. */
SCENE(give_many_that_happened_in_part_to_who_died, .granted = 4, .call = REQUEST_GIVE, .named = 4,
        .done = 2, .repeated = true, .left = 2, .left_from = 2, .peer_gone = true)
SCENE(give_many_that_happened_but_for_one_to_who_died, .granted = 4, .call = REQUEST_GIVE,
        .named = 3, .done = 2, .repeated = true, .left = 1, .left_from = 2, .peer_gone = true)
SCENE(give_of_a_gift_that_did_not_happen, .call = REQUEST_GIVE, .named = 1, .repeated = true,
        .left = 1)
SCENE(give_of_a_gift_that_happened, .call = REQUEST_GIVE, .named = 1, .done = 1)

/* ---- keys, and what changes nothing ---- */

SCENE(publish_that_did_not_happen, .granted = 1, .call = REQUEST_PUBLISH, .repeated = true)
SCENE(publish_that_happened, .granted = 1, .call = REQUEST_PUBLISH, .done = 1)
SCENE(unpublish_that_did_not_happen, .call = REQUEST_UNPUBLISH, .repeated = true)
SCENE(unpublish_that_happened, .call = REQUEST_UNPUBLISH, .done = 1)
SCENE(find_is_repeated, .call = REQUEST_FIND, .repeated = true)
SCENE(gifts_stay, .call = REQUEST_ALLOC, .named = 1, .held = {{3, 1, true}}, .held_count = 1,
        .repeated = true)

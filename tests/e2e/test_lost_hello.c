/* Sessions whose clients never heard of them, because the daemon was killed over the welcome: they are nobody, and whoever connects
 * again is the one that is found by its name. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "lossy.h"
#include "ticket.h"

TestSuite(lost_hello, .timeout = 120);

static const struct ticket worker = {.name = "worker", .features = FEATURE_RESUMES},
                           asker = {.name = "asker", .features = FEATURE_RESUMES};

/* 0: nobody has that name. */
static uint32_t found(struct wire *wire, const char *name) {
        struct reply reply;
        wire_request(wire, (struct request){.kind = REQUEST_FIND, .find = {.name = name}});
        cr_assert(wire_reply(wire, &reply));
        return reply.kind == REPLY_PEER ? reply.peer : 0;
}

Test(lost_hello, leaves_no_session_behind) {
        struct scene scene;
        struct wire lost, wire;
        struct ticket unheard = worker, other = asker;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        ticket_open_unheard(&lost, &scene, &unheard);
        scene_kill(&scene);
        wire_close(&lost);
        scene_start(&scene, "--size", "4M", NULL);
        cr_assert_eq(scene_figure(&scene, "orphans"), 0);
        ticket_open(&wire, &scene, &other);
        cr_assert_eq(found(&wire, "worker"), 0);
        ticket_refused(&scene, &unheard, STATUS_NOT_FOUND);
        wire_close(&wire);
        scene_close(&scene);
}

/* Of two that have a name, whichever came first. */
Test(lost_hello, find_prefers_who_is_connected) {
        struct scene scene;
        struct wire wires[3], wire;
        struct ticket away[2] = {worker, worker}, here = worker, other = asker;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--workers", "2", NULL);
        ticket_open(&wires[0], &scene, &away[0]);
        ticket_open(&wires[1], &scene, &here);
        ticket_open(&wires[2], &scene, &away[1]);
        ticket_open(&wire, &scene, &other);
        cr_assert_eq(found(&wire, "worker"), away[0].session);
        wire_close(&wires[0]);
        wire_close(&wires[2]);
        scene_await_figure(&scene, "orphans", 2);
        cr_assert_eq(found(&wire, "worker"), here.session);
        wire_close(&wires[1]);
        scene_await_figure(&scene, "orphans", 3);
        cr_assert_eq(found(&wire, "worker"), away[1].session);
        ticket_resume(&wires[1], &scene, &here);
        cr_assert_eq(found(&wire, "worker"), here.session);

        scene_kill(&scene);
        wire_close(&wire);
        wire_close(&wires[1]);
        scene_start(&scene, "--size", "4M", "--workers", "2", NULL);
        ticket_resume(&wires[1], &scene, &here);
        ticket_resume(&wire, &scene, &other);
        cr_assert_eq(found(&wire, "worker"), here.session);
        wire_close(&wire);
        wire_close(&wires[1]);
        scene_close(&scene);
}

/* ---- With the library ---- */

struct joining {
        struct buddyclient *client;
        const struct lossy *lossy;
        int result;
};

static void join(void *argument) {
        struct joining *joining = argument;
        cr_assert_eq(buddyclient_new(&joining->client), 0);
        cr_assert_eq(buddyclient_set_socket(joining->client, joining->lossy->path), 0);
        cr_assert_eq(buddyclient_set_pool(joining->client, joining->lossy->scene->pool), 0);
        cr_assert_eq(buddyclient_set_name(joining->client, "worker"), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(joining->client, 0), 0);
        joining->result = buddyclient_connect(joining->client);
}

static void take_back(void *argument) {
        struct joining *joining = argument;
        struct buddyclient_range range;
        joining->result = buddyclient_lookup(joining->client, "gift", &range);
        if (joining->result == 0)
                joining->result = buddyclient_release(joining->client, &range); /* the lookup's */
        if (joining->result == 0)
                joining->result = buddyclient_release(joining->client, &range); /* the gift */
}

static void leave(void *argument) {
        buddyclient_destroy(((struct joining *)argument)->client);
}

/* The welcome gets lost, or what comes second; the client connects again, as any would, and gets what is given to its name. */
static void expect_gift_after(int loss) {
        struct scene scene;
        struct lossy lossy;
        uint32_t peer;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        lossy_open(&lossy, &scene, "4M");
        struct joining joining = {.lossy = &lossy};
        struct buddyclient *giver = client_new(&scene);
        struct buddyclient_range range;
        lossy.losses[0] = loss;
        lossy_run(&lossy, join, &joining);
        cr_assert_eq(joining.result, -ENOTCONN);
        cr_assert_eq(lossy.crashes, 1);
        lossy_run(&lossy, leave, &joining);
        lossy_run(&lossy, join, &joining);
        cr_assert_eq(joining.result, 0);
        uint64_t deadline = now_ms() + PATIENCE_MS;
        do /* the daemon may not have seen yet that the first one has hung up */
                cr_assert_eq(buddyclient_find(giver, "worker", &peer), 0);
        while (peer != buddyclient_id(joining.client) && now_ms() < deadline);
        cr_assert_eq(peer, buddyclient_id(joining.client));
        cr_assert_eq(buddyclient_alloc(giver, SCENE_PAGE, &range), 0);
        cr_assert_eq(buddyclient_publish(giver, "gift", &range), 0);
        cr_assert_eq(buddyclient_give(giver, &range, peer), 0);
        lossy_run(&lossy, take_back, &joining);
        cr_assert_eq(joining.result, 0);
        cr_assert_eq(buddyclient_unpublish(giver, "gift"), 0);
        expect_held(giver, 0);
        lossy_run(&lossy, leave, &joining);
        buddyclient_destroy(giver);
        lossy_close(&lossy);
        scene_close(&scene);
}

Test(lost_hello, whoever_connects_again_gets_the_gift) {
        expect_gift_after(1);
}

Test(lost_hello, whoever_connects_again_after_a_lost_confirmation_gets_the_gift) {
        expect_gift_after(2);
}

/* What the ledger cannot tell of a request, a refusal, is in the socket before anything behind it is run: so a client that comes back
 * after a kill never takes a refused request for one that was done. */
#include <criterion/criterion.h>
#include <string.h>

#include "ticket.h"

TestSuite(told, .timeout = 60);

#define RANGES 256

/* Asks for much, for what is refused, and to attach one more range. The refusal's id. */
static uint64_t ask_round(struct wire *wire, uint32_t owner, const struct message_range *range) {
        wire_request(wire, (struct request){.kind = REQUEST_HOLDS, .holds = {.session = owner}});
        uint64_t refused = wire_request(wire, (struct request){.kind = REQUEST_PUBLISH,
                                                      .publish = {.key = "key", .range = *range}});
        wire_request(wire, (struct request){.kind = REQUEST_ATTACH, .attach = {*range}});
        return refused;
}

/* One worker: it has run what others sent before a ping of ours when that is answered, or will not run it. */
static size_t holds_by_now(struct wire *observer, uint32_t session) {
        for (unsigned turn = 0; turn < 3; turn++)
                wire_expect_alive(observer);
        return wire_holds(observer, session);
}

/* The id of the first refusal that is not among the replies that came. */
static uint64_t first_untold(struct wire *wire, const uint64_t *refused, size_t rounds) {
        struct reply reply;
        size_t told = 0;
        while (wire_reply(wire, &reply)) {
                if (reply.kind != REPLY_REFUSED)
                        continue;
                cr_assert_eq(reply.refused.status, STATUS_DENIED);
                cr_assert_eq(reply.id, refused[told]);
                told++;
        }
        cr_assert_lt(told, rounds, "the socket took all");
        return refused[told];
}

Test(told, what_a_read_only_client_may_not_is_not_taken_for_done) {
        struct scene scene;
        struct wire owner, reader;
        struct ticket owning = {.name = "owner"},
                      reading = {.name = "reader", .access = ACCESS_READ_ONLY};
        static struct message_range ranges[RANGES];
        uint64_t refused[RANGES];
        size_t rounds = 0;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--workers", "1", NULL);
        ticket_open(&owner, &scene, &owning);
        ticket_open(&reader, &scene, &reading);
        wire_take(&owner, RANGES, ranges);
        do {
                cr_assert_lt(rounds, RANGES, "the socket takes all");
                refused[rounds] = ask_round(&reader, owning.session, &ranges[rounds]);
                rounds++;
        } while (holds_by_now(&owner, reading.session) == rounds);
        scene_kill(&scene);
        uint64_t untold = first_untold(&reader, refused, rounds);
        wire_close(&reader);
        wire_close(&owner);
        scene_start(&scene, "--size", "4M", "--workers", "1", NULL);
        struct message_done done = ticket_resume(&reader, &scene, &reading);
        cr_assert_lt(done.request, untold, "request %lu is done, %lu before it was refused unheard",
                (unsigned long)done.request, (unsigned long)untold);
        ticket_resume(&owner, &scene, &owning);
        wire_close(&reader);
        wire_close(&owner);
        scene_close(&scene);
}

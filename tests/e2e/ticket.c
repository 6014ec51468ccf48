#include "ticket.h"

#include <criterion/criterion.h>
#include <string.h>

struct reply ticket_say(struct wire *wire, const struct scene *scene, const struct ticket *ticket) {
        struct reply reply;
        struct request request = {.kind = REQUEST_HELLO};
        request.hello = (struct request_hello){.version = PROTOCOL_VERSION,
                .features = ticket->features,
                .pool = scene->pool,
                .name = ticket->name,
                .access = ticket->access,
                .session = ticket->session,
                .token = ticket->session ? ticket->token : NULL};
        wire_open(wire, scene);
        wire_request(wire, request);
        cr_assert(wire_reply(wire, &reply), "closed instead of a reply to hello");
        return reply;
}

void ticket_open_unheard(struct wire *wire, const struct scene *scene, struct ticket *ticket) {
        struct reply reply = ticket_say(wire, scene, ticket);
        cr_assert_eq(reply.kind, REPLY_WELCOME);
        ticket->session = reply.welcome.session;
        memcpy(ticket->token, reply.welcome.token, sizeof ticket->token);
}

void ticket_open(struct wire *wire, const struct scene *scene, struct ticket *ticket) {
        ticket_open_unheard(wire, scene, ticket);
        wire_expect_alive(wire);
}

struct message_done ticket_resume(
        struct wire *wire, const struct scene *scene, const struct ticket *ticket) {
        struct reply reply = ticket_say(wire, scene, ticket);
        cr_assert_eq(reply.kind, REPLY_WELCOME, "refused: %s",
                reply.kind == REPLY_REFUSED ? reply.refused.detail : "another reply");
        cr_assert(reply.welcome.resumed);
        cr_assert_eq(reply.welcome.session, ticket->session);
        return reply.welcome.done;
}

void ticket_refused(const struct scene *scene, const struct ticket *ticket, enum status status) {
        struct wire wire;
        struct reply reply = ticket_say(&wire, scene, ticket);
        cr_assert_eq(reply.kind, REPLY_REFUSED);
        cr_assert_eq(reply.refused.status, status, "%d: %s", (int)reply.refused.status,
                reply.refused.detail);
        wire_close(&wire);
}

void wire_take(struct wire *wire, uint32_t count, struct message_range *out) {
        struct request request = {.kind = REQUEST_ALLOC};
        struct reply reply;
        request.alloc = (struct request_alloc){.length = SCENE_PAGE, .count = count};
        wire_request(wire, request);
        cr_assert(wire_reply(wire, &reply) && reply.kind == REPLY_RANGES);
        cr_assert_eq(reply.ranges.count, count);
        for (uint32_t each = 0; out && each < count; each++)
                out[each] = (struct message_range){
                        reply.ranges.places[each], SCENE_PAGE, reply.ranges.generations[each]};
}

size_t wire_holds(struct wire *wire, uint32_t session) {
        struct request request = {.kind = REQUEST_HOLDS, .holds = {.session = session}};
        struct reply reply;
        size_t count = 0;
        do {
                wire_request(wire, request);
                cr_assert(wire_reply(wire, &reply) && reply.kind == REPLY_HOLDS);
                for (size_t each = 0; each < reply.holds.count; each++)
                        count += reply.holds.entries[each].session == session;
                request.holds.cursor = reply.holds.next_cursor;
        } while (reply.holds.next_cursor);
        return count;
}

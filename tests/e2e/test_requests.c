/* Frames that are no requests, and requests that cannot be. Whatever they send, they lose
 * their own connection at most: another client works on beside them, descriptors come back, and the pool is sound. */
#include <criterion/criterion.h>
#include <string.h>

#include "bystander.h"
#include "proto/frame.h"

TestSuite(requests, .timeout = 60);

Test(requests, unknown_requests_are_refused_and_not_fatal) {
        struct bystander by;
        struct wire wire;
        struct reply reply;
        uint8_t frame[64];
        bystander_open(&by);
        wire_open(&wire, &by.scene);
        wire_hello(&wire, &by.scene);
        static const uint8_t unknown[][8] = {{0x08, 77, 0x9a, 0x06, 0}, /* field 99, empty */
                {0x08, 77, 0xfa, 0x3f, 0},                              /* field 1023, empty */
                {0x08, 77, 0x9a, 0x06, 0}};                             /* field 99, empty */
        for (size_t each = 0; each < 3; each++) {
                wire_send(&wire, frame, wire_frame(frame, unknown[each], 5));
                cr_assert(wire_reply(&wire, &reply), "an unknown request was fatal");
                cr_assert_eq(reply.id, 77);
                cr_assert_eq(reply.kind, REPLY_REFUSED);
                cr_assert_eq(reply.refused.status, STATUS_UNKNOWN_REQUEST);
                wire_expect_alive(&wire);
        }
        wire_close(&wire);
        bystander_close(&by);
}

Test(requests, unknown_fields_are_ignored) {
        struct bystander by;
        struct wire wire;
        struct reply reply;
        bystander_open(&by);
        wire_open(&wire, &by.scene);
        wire_hello(&wire, &by.scene);
        static uint8_t message[FRAME_REQUEST_MAX], frame[FRAME_REQUEST_MAX + 4];
        struct request ping = {.id = 5, .kind = REQUEST_PING};
        uint8_t plain[64];
        size_t length = (size_t)request_encode(&ping, plain, sizeof plain) - FRAME_HEADER_BYTES;
        memcpy(message, plain + FRAME_HEADER_BYTES, length);
        /* One unknown field 1000 of bytes that fills the frame to its cap. */
        size_t fill = FRAME_REQUEST_MAX - length - 5;
        memcpy(message + length,
                (uint8_t[]){0xc2, 0x3e, (uint8_t)((fill & 0x7f) | 0x80),
                        (uint8_t)(((fill >> 7) & 0x7f) | 0x80), (uint8_t)(fill >> 14)},
                5);
        wire_send(&wire, frame, wire_frame(frame, message, FRAME_REQUEST_MAX));
        cr_assert(wire_reply(&wire, &reply) && reply.id == 5, "a request at the cap was refused");
        cr_assert_eq(reply.kind, REPLY_DONE);
        wire_expect_alive(&wire);
        wire_close(&wire);
        bystander_close(&by);
}

/* Tens of thousands of tiny unknown fields must cost a bounded amount of memory and nobody's time. */
Test(requests, a_frame_of_unknown_fields_costs_little) {
        struct bystander by;
        struct wire wire;
        bystander_open(&by);
        static uint8_t message[FRAME_REQUEST_MAX - 64], frame[FRAME_REQUEST_MAX];
        for (size_t at = 0; at + 3 <= sizeof message; at += 3)
                memcpy(message + at, (uint8_t[]){0xc0, 0x3e, 1}, 3);
        size_t whole = sizeof message / 3 * 3;
        wire_open(&wire, &by.scene);
        wire_hello(&wire, &by.scene);
        uint64_t resident = scene_daemon_resident(&by.scene);
        for (int each = 0; each < 100; each++) {
                wire_send(&wire, frame, wire_frame(frame, message, whole));
                bystander_works(&by);
        }
        cr_assert_lt(scene_daemon_resident(&by.scene), resident + 4 * MIB);
        wire_close(&wire);
        bystander_close(&by);
}

Test(requests, requests_before_hello_are_refused) {
        struct bystander by;
        struct reply reply;
        bystander_open(&by);
        struct buddyclient_range *range = &by.range;
        uint64_t place = range->offset | 4;
        uint32_t generation = (uint32_t)range->generation;
        struct request early[4] = {alloc_request(4096, 1), {.kind = REQUEST_RELEASE},
                {.kind = REQUEST_STATS}, {.kind = REQUEST_HOLDS}};
        early[1].release.ranges = (struct message_ranges){&place, &generation, 1};
        for (size_t each = 0; each < 4; each++) {
                struct wire wire;
                wire_open(&wire, &by.scene);
                wire_request(&wire, early[each]);
                if (wire_reply(&wire, &reply))
                        cr_assert_eq(reply.kind, REPLY_REFUSED, "case %zu was served", each);
                wire_close(&wire);
        }
        bystander_close(&by);
}

Test(requests, a_second_hello_changes_nothing) {
        struct bystander by;
        struct wire wire;
        struct reply reply;
        bystander_open(&by);
        wire_open(&wire, &by.scene);
        uint32_t session = wire_hello(&wire, &by.scene).session;
        wire_request(&wire, alloc_request(4096, 1));
        cr_assert(wire_reply(&wire, &reply) && reply.kind == REPLY_RANGES);
        struct request again = {.kind = REQUEST_HELLO};
        again.hello = (struct request_hello){
                .version = PROTOCOL_VERSION, .pool = by.scene.pool, .name = "again"};
        for (int round = 0; round < 20; round++) {
                wire_request(&wire, again);
                if (!wire_reply(&wire, &reply))
                        break;
                cr_assert_eq(reply.kind, REPLY_REFUSED, "a second welcome");
                cr_assert_eq(stats_of(by.client).clients, 2);
                expect_held(by.client, 65536 + 4096);
        }
        cr_assert_neq(session, 0);
        wire_close(&wire);
        bystander_close(&by);
}

Test(requests, hellos_that_cannot_be_are_refused) {
        struct bystander by;
        struct reply reply;
        static char long_text[200];
        static uint8_t token[MESSAGE_TOKEN_BYTES] = {1, 2, 3};
        memset(long_text, 'n', sizeof long_text - 1);
        bystander_open(&by);
        const char *pool = by.scene.pool;
        const struct {
                struct request_hello hello;
                enum status status;
        } cases[] = {{{.version = 99, .pool = pool, .name = "x"}, STATUS_PROTOCOL},
                {{.version = 0, .pool = pool, .name = "x"}, STATUS_PROTOCOL},
                {{.version = 1, .pool = "atlantis", .name = "x"}, STATUS_NOT_FOUND},
                {{.version = 1, .pool = long_text, .name = "x"}, STATUS_OK},
                {{.version = 1, .pool = pool, .name = long_text}, STATUS_OK},
                {{.version = 1, .pool = pool, .name = "x", .access = (enum hello_access)77},
                        STATUS_OK},
                {{.version = 1, .pool = pool, .name = "x", .session = 1, .token = token},
                        STATUS_OK}};
        for (size_t each = 0; each < sizeof cases / sizeof *cases; each++) {
                struct wire wire;
                struct request request = {.kind = REQUEST_HELLO, .hello = cases[each].hello};
                wire_open(&wire, &by.scene);
                wire_request(&wire, request);
                bool answered = wire_reply(&wire, &reply);
                if (cases[each].status != STATUS_OK) {
                        cr_assert(answered && reply.kind == REPLY_REFUSED, "case %zu", each);
                        cr_assert_eq(reply.refused.status, cases[each].status, "case %zu: %d", each,
                                (int)reply.refused.status);
                        cr_assert_str_not_empty(reply.refused.detail);
                } else if (answered && reply.kind == REPLY_WELCOME) {
                        cr_assert_not(reply.welcome.resumed, "resumed with a guessed token");
                        cr_assert(each >= 4, "case %zu was welcomed", each);
                }
                expect_sound(&by.scene);
                wire_close(&wire);
        }
        bystander_close(&by);
}

/* What a client says of others' ranges moves nothing, with and without a reply. */
Test(requests, others_ranges_are_out_of_reach) {
        struct bystander by;
        struct wire wire;
        struct reply reply;
        bystander_open(&by);
        wire_open(&wire, &by.scene);
        wire_hello(&wire, &by.scene);
        uint64_t place = by.range.offset | 4;
        uint32_t generation = (uint32_t)by.range.generation;
        struct request request = {.kind = REQUEST_RELEASE};
        request.release.ranges = (struct message_ranges){&place, &generation, 1};
        wire_request(&wire, request);
        cr_assert(wire_reply(&wire, &reply));
        cr_assert(reply.kind == REPLY_REFUSED && reply.refused.status == STATUS_STALE);
        request.release.one_way = true;
        wire_request(&wire, request);
        wire_expect_alive(&wire);
        request = (struct request){.kind = REQUEST_UNHOLD};
        request.unhold.offset = by.range.offset;
        wire_request(&wire, request);
        cr_assert(wire_reply(&wire, &reply) && reply.kind == REPLY_REFUSED);
        static const uint64_t places[] = {
                UINT64_MAX, 0xfff, 4096 | 63, 1ull << 62, (4ull << 20) | 1};
        for (size_t each = 0; each < sizeof places / sizeof *places; each++) {
                request = (struct request){.kind = REQUEST_RELEASE};
                request.release.ranges = (struct message_ranges){&places[each], &generation, 1};
                wire_request(&wire, request);
                cr_assert(wire_reply(&wire, &reply) && reply.kind == REPLY_REFUSED, "place %zu",
                        each);
        }
        expect_held(by.client, 65536);
        wire_close(&wire);
        bystander_close(&by);
}

Test(requests, allocs_that_cannot_be_are_refused) {
        struct bystander by;
        struct wire wire;
        struct reply reply;
        bystander_open(&by);
        wire_open(&wire, &by.scene);
        wire_hello(&wire, &by.scene);
        struct request bad[8] = {alloc_request(0, 1), alloc_request(4096, 0),
                alloc_request(4096, MESSAGE_BATCH_MAX + 1), alloc_request(4096, UINT32_MAX),
                alloc_request(UINT64_MAX, 1), alloc_request(1ull << 63, 4096),
                alloc_request(4096, 2), alloc_request(4096, 1)};
        bad[6].alloc.wait = true;
        bad[6].alloc.timeout_ms = 100;
        bad[7].alloc.wait = true;
        bad[7].alloc.length = 0;
        for (size_t each = 0; each < 8; each++) {
                wire_request(&wire, bad[each]);
                cr_assert(wire_reply(&wire, &reply), "case %zu was fatal", each);
                cr_assert_eq(reply.kind, REPLY_REFUSED, "case %zu was served", each);
                cr_assert_str_not_empty(reply.refused.detail);
        }
        expect_held(by.client, 65536);
        wire_expect_alive(&wire);
        wire_close(&wire);
        bystander_close(&by);
}

#include <criterion/criterion.h>
#include <errno.h>

#include "buddyd.pb-c.h"
#include "proto/frame.h"
#include "samples.h"
#include "wire_builder.h"

static struct arena arena;
static uint8_t frame[FRAME_HEADER_BYTES + FRAME_REPLY_MAX];

static void setup(void) {
        cr_assert_eq(arena_init(&arena, MESSAGE_ARENA_REPLY), 0);
}

static void teardown(void) {
        arena_deinit(&arena);
}

TestSuite(reply, .init = setup, .fini = teardown);

/* Decodes a body in an envelope with id 7; frees it. */
static int decode_body(uint32_t kind, struct wire *body, struct reply *out) {
        struct wire wire = {0};
        wire_message(&wire, 7, kind, body);
        arena_reset(&arena);
        int error = reply_decode(&arena, wire.bytes, wire.length, out);
        wire_clear(&wire);
        wire_clear(body);
        return error;
}

Test(reply, every_kind_comes_back) {
        size_t count;
        const struct reply *samples = sample_replies(&count);
        bool seen[REPLY_QUOTAS + 1] = {0};
        for (size_t i = 0; i < count; i++) {
                ptrdiff_t length = reply_encode(&samples[i], frame, sizeof(frame));
                cr_assert_gt(length, 0, "sample %zu", i);
                cr_assert_eq((size_t)length, reply_frame_bytes(&samples[i]));
                const uint8_t *message;
                size_t message_bytes, wanted;
                cr_assert_eq(frame_next(frame, (size_t)length, FRAME_REPLY_MAX, &message,
                                     &message_bytes, &wanted),
                        1);
                struct reply out;
                arena_reset(&arena);
                cr_assert_eq(reply_decode(&arena, message, message_bytes, &out), 0);
                cr_assert(replies_equal(&samples[i], &out), "sample %zu", i);
                seen[out.kind] = true;
        }
#define X(name, field, number) cr_assert(seen[number], #name);
        REPLY_LIST(X)
#undef X
}

Test(reply, bytes_are_those_of_protobuf) {
        size_t count;
        const struct reply *samples = sample_replies(&count);
        for (size_t i = 0; i < count; i++) {
                ptrdiff_t length = reply_encode(&samples[i], frame, sizeof(frame));
                size_t message_bytes = (size_t)length - FRAME_HEADER_BYTES;
                Buddyd__Reply *theirs =
                        buddyd__reply__unpack(NULL, message_bytes, frame + FRAME_HEADER_BYTES);
                cr_assert_not_null(theirs);
                cr_assert_eq(theirs->id, samples[i].id);
                cr_assert_eq((unsigned)theirs->body_case, (unsigned)samples[i].kind);
                cr_assert_eq(
                        buddyd__reply__get_packed_size(theirs), message_bytes, "sample %zu", i);
                uint8_t *again = malloc(message_bytes);
                buddyd__reply__pack(theirs, again);
                cr_assert_arr_eq(again, frame + FRAME_HEADER_BYTES, message_bytes);
                free(again);
                buddyd__reply__free_unpacked(theirs, NULL);
        }
}

Test(reply, example_of_the_documentation) {
        static const uint8_t expected[] = {0x14, 0, 0, 0, 0x08, 1, 0x22, 0x10, 0x0a, 8, 0, 0, 0x20,
                0, 0, 0, 0, 0, 0x12, 4, 1, 0, 0, 0};
        const uint64_t place = 2u << 20;
        const uint32_t generation = 1;
        const struct reply ranges = {
                .id = 1, .kind = REPLY_RANGES, .ranges = {&place, &generation, 1}};
        cr_assert_eq(reply_encode(&ranges, frame, sizeof(frame)), sizeof(expected));
        cr_assert_arr_eq(frame, expected, sizeof(expected));
}

Test(reply, encodes_into_just_enough_room) {
        size_t count;
        const struct reply *samples = sample_replies(&count);
        for (size_t i = 0; i < count; i++) {
                size_t bytes = reply_frame_bytes(&samples[i]);
                uint8_t *room = malloc(bytes);
                cr_assert_eq(reply_encode(&samples[i], room, bytes), (ptrdiff_t)bytes);
                cr_assert_eq(reply_encode(&samples[i], room, bytes - 1), -EMSGSIZE);
                free(room);
        }
}

Test(reply, refuses_to_encode_over_limits) {
        static const uint64_t places[MESSAGE_BATCH_MAX + 1];
        static const uint32_t numbers[MESSAGE_BATCH_MAX + 1];
        static const struct reply_order orders[MESSAGE_ORDERS_MAX + 1];
        static const struct reply_client clients[MESSAGE_ENTRIES_MAX + 1];
        static const struct reply_hold holds[MESSAGE_ENTRIES_MAX + 1];
        static char page[MESSAGE_PAGE_MAX + 2];
        memset(page, 'p', MESSAGE_PAGE_MAX + 1);
        char name[MESSAGE_NAME_MAX + 2];
        memset(name, 'n', sizeof(name));
        name[MESSAGE_NAME_MAX + 1] = '\0';
        struct reply_client named[40] = {[39] = {.name = name}};
        struct reply_hold keyed[40] = {[0] = {.key = name}};
        const struct reply replies[] = {
                {.kind = REPLY_RANGES, .ranges = {places, numbers, MESSAGE_BATCH_MAX + 1}},
                {.kind = REPLY_WELCOME,
                        .welcome = {.descriptors = numbers,
                                .descriptor_count = MESSAGE_DESCRIPTORS_MAX + 1}},
                {.kind = REPLY_STATS,
                        .stats = {.orders = orders, .order_count = MESSAGE_ORDERS_MAX + 1}},
                {.kind = REPLY_STATS, .stats = {.pool = name}},
                {.kind = REPLY_CLIENTS, .clients = {clients, MESSAGE_ENTRIES_MAX + 1, 0}},
                {.kind = REPLY_CLIENTS, .clients = {named, 40, 0}},
                {.kind = REPLY_HOLDS, .holds = {holds, MESSAGE_ENTRIES_MAX + 1, 0}},
                {.kind = REPLY_HOLDS, .holds = {keyed, 40, 0}},
                {.kind = REPLY_MAP,
                        .map = {.granted = places, .granted_count = MESSAGE_CELLS_MAX + 1}},
                {.kind = REPLY_MAP,
                        .map = {.cached = places, .cached_count = MESSAGE_CELLS_MAX + 1}},
                {.kind = REPLY_MAP,
                        .map = {.share_bytes = places,
                                .share_cells = numbers,
                                .share_sessions = numbers,
                                .share_count = MESSAGE_CELLS_MAX + 1}},
                {.kind = REPLY_TEXT, .text = {.text = page}},
                {.kind = REPLY_NONE},
                {.kind = (enum reply_kind)(REPLY_QUOTAS + 1)},
        };
        for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
                cr_assert_eq(reply_encode(&replies[i], frame, sizeof(frame)), -EMSGSIZE, "%zu", i);
                cr_assert_eq(reply_frame_bytes(&replies[i]), 0);
        }
}

Test(reply, long_detail_is_cut) {
        char detail[3000];
        memset(detail, 'd', sizeof(detail));
        detail[sizeof(detail) - 1] = '\0';
        struct reply reply = {.id = 1, .kind = REPLY_REFUSED, .refused = {STATUS_NO_SPACE, detail}};
        ptrdiff_t length = reply_encode(&reply, frame, sizeof(frame));
        struct reply out;
        cr_assert_gt(length, 0);
        cr_assert_eq(reply_decode(&arena, frame + 4, (size_t)length - 4, &out), 0);
        cr_assert_eq(strlen(out.refused.detail), MESSAGE_TEXT_MAX);
        cr_assert_eq(out.refused.status, STATUS_NO_SPACE);
}

Test(reply, unknown_status_is_a_protocol_error) {
        static const uint32_t statuses[] = {0, 13, 1000, UINT32_MAX};
        for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
                struct wire body = {0};
                struct reply out;
                wire_number(&body, 1, statuses[i]);
                cr_assert_eq(decode_body(REPLY_REFUSED, &body, &out), 0);
                cr_assert_eq(out.refused.status, STATUS_PROTOCOL);
                cr_assert_str_empty(out.refused.detail);
        }
}

Test(reply, unknown_body_is_none_with_the_id) {
        struct wire body = {0};
        struct reply out;
        const unsigned unknown[] = {
                REPLY_RETURNED + 1, REPLY_QUOTAS + 1}; /* one that was left out, and a later one */
        for (size_t i = 0; i < 2; i++) {
                cr_assert_eq(decode_body(unknown[i], &body, &out), 0);
                cr_assert_eq(out.kind, REPLY_NONE);
                cr_assert_eq(out.id, 7);
        }
}

Test(reply, refuses_too_many_entries) {
        static const struct {
                uint32_t kind, field, most;
        } limits[] = {{REPLY_STATS, 25, MESSAGE_ORDERS_MAX},
                {REPLY_CLIENTS, 1, MESSAGE_ENTRIES_MAX}, {REPLY_HOLDS, 1, MESSAGE_ENTRIES_MAX}};
        for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
                for (uint32_t over = 0; over < 2; over++) {
                        struct wire body = {0};
                        struct reply out;
                        for (uint32_t n = 0; n < limits[i].most + over; n++)
                                wire_bytes(&body, limits[i].field, "", 0);
                        cr_assert_eq(decode_body(limits[i].kind, &body, &out), over ? -EBADMSG : 0);
                }
}

Test(reply, refuses_too_many_descriptors_and_bad_tokens) {
        static const uint8_t bytes[17] = {1};
        struct reply out;
        struct wire body = {0};
        wire_bytes(&body, 9, bytes, MESSAGE_DESCRIPTORS_MAX);
        cr_assert_eq(decode_body(REPLY_WELCOME, &body, &out), 0);
        cr_assert_eq(out.welcome.descriptor_count, MESSAGE_DESCRIPTORS_MAX);
        wire_bytes(&body, 9, bytes, MESSAGE_DESCRIPTORS_MAX + 1);
        cr_assert_eq(decode_body(REPLY_WELCOME, &body, &out), -EBADMSG);
        wire_bytes(&body, 4, bytes, 17);
        cr_assert_eq(decode_body(REPLY_WELCOME, &body, &out), -EBADMSG);
        wire_bytes(&body, 4, bytes, 15);
        cr_assert_eq(decode_body(REPLY_WELCOME, &body, &out), -EBADMSG);
}

Test(reply, refuses_shares_that_do_not_pair) {
        for (unsigned left_out = 6; left_out <= 8; left_out++) {
                struct wire body = {0};
                struct reply out;
                uint64_t value = 1;
                for (unsigned field = 6; field <= 8; field++)
                        if (field != left_out)
                                wire_bytes(&body, field, (const char *)&value, field == 8 ? 8 : 4);
                cr_assert_eq(decode_body(REPLY_MAP, &body, &out), -EBADMSG, "%u", left_out);
        }
}

#include <criterion/criterion.h>
#include <errno.h>

#include "buddyd.pb-c.h"
#include "proto/frame.h"
#include "samples.h"
#include "wire_builder.h"

static struct arena arena;
static uint8_t frame[FRAME_HEADER_BYTES + FRAME_REQUEST_MAX];

static void setup(void) {
        cr_assert_eq(arena_init(&arena, MESSAGE_ARENA_REQUEST), 0);
}

static void teardown(void) {
        arena_deinit(&arena);
}

TestSuite(request, .init = setup, .fini = teardown);

static int decode(const struct wire *wire, struct request *out) {
        arena_reset(&arena);
        return request_decode(&arena, wire->bytes, wire->length, out);
}

/* Decodes a body in an envelope with id 7; frees it. */
static int decode_body(uint32_t kind, struct wire *body, struct request *out) {
        struct wire wire = {0};
        wire_message(&wire, 7, kind, body);
        int error = decode(&wire, out);
        wire_clear(&wire);
        wire_clear(body);
        return error;
}

Test(request, every_kind_comes_back) {
        size_t count;
        const struct request *samples = sample_requests(&count);
        bool seen[REQUEST_KIND_END] = {0};
        for (size_t i = 0; i < count; i++) {
                ptrdiff_t length = request_encode(&samples[i], frame, sizeof(frame));
                cr_assert_gt(length, 0, "sample %zu", i);
                cr_assert_eq((size_t)length, request_frame_bytes(&samples[i]));
                const uint8_t *message;
                size_t message_bytes, wanted;
                cr_assert_eq(frame_next(frame, (size_t)length, FRAME_REQUEST_MAX, &message,
                                     &message_bytes, &wanted),
                        1);
                cr_assert_eq(message_bytes + FRAME_HEADER_BYTES, (size_t)length);
                struct request out;
                arena_reset(&arena);
                cr_assert_eq(request_decode(&arena, message, message_bytes, &out), 0);
                cr_assert(requests_equal(&samples[i], &out), "sample %zu", i);
                seen[out.kind] = true;
        }
#define X(name, field, number) cr_assert(seen[number], #name);
        REQUEST_LIST(X)
#undef X
}

Test(request, bytes_are_those_of_protobuf) {
        size_t count;
        const struct request *samples = sample_requests(&count);
        for (size_t i = 0; i < count; i++) {
                ptrdiff_t length = request_encode(&samples[i], frame, sizeof(frame));
                size_t message_bytes = (size_t)length - FRAME_HEADER_BYTES;
                Buddyd__Request *theirs =
                        buddyd__request__unpack(NULL, message_bytes, frame + FRAME_HEADER_BYTES);
                cr_assert_not_null(theirs);
                cr_assert_eq(theirs->id, samples[i].id);
                cr_assert_eq((unsigned)theirs->body_case, (unsigned)samples[i].kind);
                cr_assert_eq(buddyd__request__get_packed_size(theirs), message_bytes);
                uint8_t *again = malloc(message_bytes);
                buddyd__request__pack(theirs, again);
                cr_assert_arr_eq(again, frame + FRAME_HEADER_BYTES, message_bytes);
                free(again);
                buddyd__request__free_unpacked(theirs, NULL);
        }
}

Test(request, example_of_the_documentation) {
        static const uint8_t expected[] = {9, 0, 0, 0, 0x08, 1, 0x1a, 5, 0x08, 0x80, 0x20, 0x10, 1};
        const struct request alloc = {
                .id = 1, .kind = REQUEST_ALLOC, .alloc = {.length = 4096, .count = 1}};
        cr_assert_eq(request_encode(&alloc, frame, sizeof(frame)), sizeof(expected));
        cr_assert_arr_eq(frame, expected, sizeof(expected));
}

Test(request, encodes_into_just_enough_room) {
        size_t count;
        const struct request *samples = sample_requests(&count);
        for (size_t i = 0; i < count; i++) {
                size_t bytes = request_frame_bytes(&samples[i]);
                uint8_t *room = malloc(bytes);
                cr_assert_eq(request_encode(&samples[i], room, bytes), (ptrdiff_t)bytes);
                cr_assert_eq(request_encode(&samples[i], room, bytes - 1), -EMSGSIZE);
                cr_assert_eq(request_encode(&samples[i], room, 0), -EMSGSIZE);
                free(room);
        }
}

Test(request, refuses_to_encode_over_limits) {
        static const uint64_t places[MESSAGE_BATCH_MAX + 1];
        static const uint32_t generations[MESSAGE_BATCH_MAX + 1];
        char name[MESSAGE_NAME_MAX + 2];
        memset(name, 'n', sizeof(name));
        name[MESSAGE_NAME_MAX + 1] = '\0';
        const struct request requests[] = {
                {.kind = REQUEST_RELEASE,
                        .release = {.ranges = {places, generations, MESSAGE_BATCH_MAX + 1}}},
                {.kind = REQUEST_GIVE,
                        .give = {.ranges = {places, generations, MESSAGE_BATCH_MAX + 1}}},
                {.kind = REQUEST_HELLO, .hello = {.pool = name}},
                {.kind = REQUEST_HELLO, .hello = {.name = name}},
                {.kind = REQUEST_FIND, .find = {name}},
                {.kind = REQUEST_PUBLISH, .publish = {.key = name}},
                {.kind = REQUEST_NONE},
                {.kind = (enum request_kind)1},
                {.kind = REQUEST_KIND_END},
        };
        for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
                cr_assert_eq(
                        request_encode(&requests[i], frame, sizeof(frame)), -EMSGSIZE, "%zu", i);
                cr_assert_eq(request_frame_bytes(&requests[i]), 0);
        }
}

Test(request, kinds_have_names) {
        cr_assert_str_eq(request_kind_name(REQUEST_HELLO), "HELLO");
        cr_assert_str_eq(request_kind_name(REQUEST_UNHOLD), "UNHOLD");
        cr_assert_str_eq(request_kind_name(0), "unknown");
        cr_assert_str_eq(request_kind_name(1), "unknown");
        cr_assert_str_eq(request_kind_name(REQUEST_KIND_END), "unknown");
        cr_assert_str_eq(request_kind_name(0xffffffff), "unknown");
}

Test(request, unknown_body_is_none_with_the_id) {
        struct request out;
        for (uint32_t kind = REQUEST_KIND_END; kind < 3000; kind += 7) {
                struct wire body = {0};
                wire_number(&body, 1, 99);
                cr_assert_eq(decode_body(kind, &body, &out), 0);
                cr_assert_eq(out.id, 7);
                cr_assert_eq(out.kind, REQUEST_NONE);
        }
        struct wire wire = {0};
        wire_number(&wire, 1, UINT64_MAX);
        cr_assert_eq(decode(&wire, &out), 0);
        cr_assert_eq(out.id, UINT64_MAX);
        cr_assert_eq(out.kind, REQUEST_NONE);
        wire_clear(&wire);
}

Test(request, unknown_fields_are_ignored) {
        struct request out;
        struct wire body = {0}, wire = {0};
        wire_number(&body, 1, 4096);
        wire_number(&body, 900, 1);
        wire_bytes(&body, 15, "new", 3);
        wire_number(&body, 2, 3);
        wire_number(&wire, 40, 5);
        wire_bytes(&wire, 41, "newer", 5);
        wire_message(&wire, 8, REQUEST_ALLOC, &body);
        wire_tag(&wire, 42, 1);
        wire_put(&wire, "12345678", 8);
        wire_tag(&wire, 43, 5);
        wire_put(&wire, "1234", 4);
        cr_assert_eq(decode(&wire, &out), 0);
        cr_assert_eq(out.kind, REQUEST_ALLOC);
        cr_assert_eq(out.id, 8);
        cr_assert_eq(out.alloc.length, 4096);
        cr_assert_eq(out.alloc.count, 3);
        wire_clear(&wire);
        wire_clear(&body);
}

Test(request, unpacked_arrays_are_accepted) {
        struct request out;
        struct wire body = {0};
        for (uint32_t i = 0; i < MESSAGE_BATCH_MAX; i++) {
                wire_tag(&body, 1, 1);
                wire_put(&body, &(uint64_t){i * UINT64_C(4096)}, 8);
                wire_tag(&body, 2, 5);
                wire_put(&body, &i, 4);
        }
        cr_assert_eq(decode_body(REQUEST_RELEASE, &body, &out), 0);
        cr_assert_eq(out.release.ranges.count, MESSAGE_BATCH_MAX);
        cr_assert_eq(out.release.ranges.places[4095], 4095 * 4096);
        cr_assert_eq(out.release.ranges.generations[4095], 4095);
}

/* A body of one bytes field. */
static struct wire text_body(uint32_t number, const char *text, size_t length) {
        struct wire body = {0};
        wire_bytes(&body, number, text, length);
        return body;
}

Test(request, refuses_bad_texts_and_tokens) {
        char text[MESSAGE_NAME_MAX + 1];
        memset(text, 'k', sizeof(text));
        struct request out = {.id = 4711};
        struct wire body;
        static const uint32_t fields[][2] = {{REQUEST_HELLO, 3}, {REQUEST_HELLO, 4},
                {REQUEST_LOOKUP, 1}, {REQUEST_PUBLISH, 1}, {REQUEST_UNPUBLISH, 1},
                {REQUEST_FIND, 1}};
        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
                body = text_body(fields[i][1], text, sizeof(text));
                cr_assert_eq(decode_body(fields[i][0], &body, &out), -EBADMSG);
                body = text_body(fields[i][1], "a\0b", 3);
                cr_assert_eq(decode_body(fields[i][0], &body, &out), -EBADMSG);
                body = text_body(fields[i][1], "a", 2);
                cr_assert_eq(decode_body(fields[i][0], &body, &out), -EBADMSG);
        }
        for (size_t length = 1; length < 40; length++) {
                if (length == MESSAGE_TOKEN_BYTES)
                        continue;
                body = text_body(7, text, length);
                cr_assert_eq(decode_body(REQUEST_HELLO, &body, &out), -EBADMSG);
        }
        cr_assert_eq(out.id, 4711, "a failure leaves the output alone");
}

Test(request, refuses_bad_arrays) {
        static const uint64_t places[MESSAGE_BATCH_MAX + 1];
        struct request out = {.id = 4711};
        static const size_t counts[][2] = {{1, 0}, {0, 1}, {2, 1}, {4095, 4096},
                {MESSAGE_BATCH_MAX + 1, MESSAGE_BATCH_MAX + 1}};
        static const uint32_t kinds[] = {REQUEST_RELEASE, REQUEST_GIVE};
        for (size_t k = 0; k < 2; k++)
                for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
                        struct wire body = {0};
                        wire_bytes(&body, 1, places, counts[i][0] * 8);
                        wire_bytes(&body, 2, places, counts[i][1] * 4);
                        cr_assert_eq(decode_body(kinds[k], &body, &out), -EBADMSG);
                }
        struct wire body = {0};
        wire_bytes(&body, 1, places, 9);
        cr_assert_eq(decode_body(REQUEST_RELEASE, &body, &out), -EBADMSG);
        cr_assert_eq(out.id, 4711);
}

Test(request, refuses_unknown_access) {
        struct request out;
        for (uint32_t access = 0; access < 6; access++) {
                struct wire body = {0};
                wire_number(&body, 5, access);
                int expected = access <= ACCESS_OBSERVER ? 0 : -EBADMSG;
                cr_assert_eq(decode_body(REQUEST_HELLO, &body, &out), expected);
        }
        struct wire body = {0};
        wire_number(&body, 5, 0xffffffff);
        cr_assert_eq(decode_body(REQUEST_HELLO, &body, &out), -EBADMSG);
}

Test(request, refuses_bad_envelopes) {
        static const struct {
                const char *bytes;
                size_t length;
        } bad[] = {
                {"\x5a\x00\x5a\x00", 4}, /* two bodies of one kind */
                {"\x5a\x00\x62\x00", 4}, /* two bodies */
                {"\x58\x00", 2},         /* a body that is a number */
                {"\x0a\x00", 2},         /* an id that is not */
                {"\x02\x00", 2},         /* field number 0 */
                {"\x0b\x0c", 2},         /* groups */
                {"\x0f\x00", 2},         /* a wire type that does not exist */
                {"\x08", 1},             /* cut off */
                {"\x5a\x01", 2},         /* cut off */
                {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}, /* a number of 11 bytes */
                {"\xfa\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00",
                        11}, /* a field number of 61 bits */
                {"\x5a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, /* 2^64 - 1 bytes of body */
        };
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                struct request out = {.id = 4711};
                cr_assert_eq(
                        request_decode(&arena, (const uint8_t *)bad[i].bytes, bad[i].length, &out),
                        -EBADMSG, "%zu", i);
                cr_assert_eq(out.id, 4711);
        }
}

/* The most expensive messages that are within their caps still fit into the arena: every field of
 * every body, in its smallest encodings, repeated until a cap stops it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "proto/frame.h"
#include "proto/message.h"
#include "wire_builder.h"

#define FIELDS_TRIED 35u /* beyond the last of any body */

static struct arena arena;
static size_t most;

static int decode(bool is_request, uint32_t kind, const struct wire *body) {
        struct wire wire = {0};
        struct request request;
        struct reply reply;
        wire_message(&wire, 1, kind, body);
        arena_reset(&arena);
        int error = is_request ? request_decode(&arena, wire.bytes, wire.length, &request)
                               : reply_decode(&arena, wire.bytes, wire.length, &reply);
        most = arena.used > most ? arena.used : most;
        wire_clear(&wire);
        return error;
}

/* A body of as many copies of piece as the caps allow; pieces hold fields fields. */
static void fill_with(
        struct wire *body, const struct wire *piece, size_t fields, size_t max_bytes) {
        size_t left = MESSAGE_FIELDS_MAX / fields;
        for (; left > 0 && body->length + piece->length + 16 <= max_bytes; left--)
                wire_put(body, piece->bytes, piece->length);
}

static void try_pieces(bool is_request, uint32_t kind, const struct wire *piece, size_t fields) {
        struct wire body = {0};
        fill_with(&body, piece, fields, is_request ? FRAME_REQUEST_MAX : FRAME_REPLY_MAX);
        int error = decode(is_request, kind, &body);
        cr_assert(error == 0 || error == -EBADMSG, "kind %u: %d", kind, error);
        wire_clear(&body);
}

static void try_field(bool is_request, uint32_t kind, uint32_t number) {
        static const size_t lengths[] = {0, 1, 4, 8, 16, 17, 48};
        char content[48];
        memset(content, 'x', sizeof(content)); /* text, and as a message an unknown field */
        struct wire piece = {0};
        wire_number(&piece, number, 1);
        try_pieces(is_request, kind, &piece, 1);
        wire_clear(&piece);
        for (unsigned type = 1; type <= 5; type += 4) {
                wire_tag(&piece, number, type);
                wire_put(&piece, content, type == 1 ? 8 : 4);
                try_pieces(is_request, kind, &piece, 1);
                wire_clear(&piece);
        }
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
                wire_bytes(&piece, number, content, lengths[i]);
                try_pieces(is_request, kind, &piece, 1);
                wire_clear(&piece);
        }
}

/* Entries that are messages, with as many unknown fields in each as make protobuf-c take memory. */
static void try_nested(uint32_t kind, uint32_t number, size_t inner_fields) {
        struct wire inner = {0}, piece = {0};
        for (size_t i = 0; i < inner_fields; i++)
                wire_number(&inner, 15, 1);
        wire_bytes(&piece, number, inner.bytes, inner.length);
        try_pieces(false, kind, &piece, 1 + inner_fields);
        wire_clear(&piece);
        wire_clear(&inner);
}

/* One field that takes all the bytes. */
static void try_single(bool is_request, uint32_t kind, uint32_t number) {
        size_t bytes = (is_request ? FRAME_REQUEST_MAX : FRAME_REPLY_MAX) - 16;
        uint8_t *content = calloc(1, bytes);
        struct wire body = {0};
        wire_bytes(&body, number, content, bytes);
        int error = decode(is_request, kind, &body);
        cr_assert(error == 0 || error == -EBADMSG, "kind %u: %d", kind, error);
        wire_clear(&body);
        free(content);
}

static void check_room(size_t arena_bytes) {
        fprintf(stderr, "the most that a message took: %zu of %zu bytes\n", most, arena_bytes);
        cr_assert_gt(most, arena_bytes / 16, "no longer the worst cases");
        cr_assert_leq(most, arena_bytes);
}

Test(worst_case, every_request_fits) {
        cr_assert_eq(arena_init(&arena, MESSAGE_ARENA_REQUEST), 0);
        for (uint32_t kind = REQUEST_HELLO; kind < REQUEST_KIND_END; kind++)
                for (uint32_t number = 1; number <= FIELDS_TRIED; number++) {
                        try_field(true, kind, number);
                        try_single(true, kind, number);
                }
        check_room(MESSAGE_ARENA_REQUEST);
        arena_deinit(&arena);
}

Test(worst_case, every_reply_fits) {
        cr_assert_eq(arena_init(&arena, MESSAGE_ARENA_REPLY), 0);
        for (uint32_t kind = REPLY_REFUSED; kind <= REPLY_QUOTAS; kind++)
                for (uint32_t number = 1; number <= FIELDS_TRIED; number++) {
                        try_field(false, kind, number);
                        try_single(false, kind, number);
                }
        static const size_t inner[] = {
                1, 2, 4, 11, 15, 16, 17, 33, 49, 100, 113, 241, 497, 5000, 12000};
        for (size_t i = 0; i < sizeof(inner) / sizeof(inner[0]); i++) {
                try_nested(REPLY_STATS, 23, inner[i]);
                try_nested(REPLY_STATS, 25, inner[i]);
                try_nested(REPLY_CLIENTS, 1, inner[i]);
                try_nested(REPLY_HOLDS, 1, inner[i]);
                try_nested(REPLY_QUOTAS, 2, inner[i]);
        }
        check_room(MESSAGE_ARENA_REPLY);
        arena_deinit(&arena);
}

/* As many bodies of one field as fit, with the cap of fields in reach. */
static int decode_fields(bool is_request, uint32_t kind, size_t count) {
        struct wire body = {0};
        for (size_t i = 0; i < count; i++)
                wire_number(&body, 15, 1);
        int error = decode(is_request, kind, &body);
        wire_clear(&body);
        return error;
}

Test(worst_case, fields_are_capped) {
        cr_assert_eq(arena_init(&arena, MESSAGE_ARENA_REPLY), 0);
        cr_assert_eq(decode_fields(true, REQUEST_ALLOC, MESSAGE_FIELDS_MAX), 0);
        cr_assert_eq(decode_fields(true, REQUEST_ALLOC, MESSAGE_FIELDS_MAX + 1), -EBADMSG);
        cr_assert_eq(decode_fields(false, REPLY_DONE, MESSAGE_FIELDS_MAX), 0);
        cr_assert_eq(decode_fields(false, REPLY_DONE, MESSAGE_FIELDS_MAX + 1), -EBADMSG);
        struct wire entry = {0}, body = {0};
        for (size_t i = 0; i < 15; i++)
                wire_number(&entry, 15, 1);
        for (size_t i = 0; i < MESSAGE_FIELDS_MAX / 16; i++)
                wire_bytes(&body, 1, entry.bytes, entry.length);
        cr_assert_eq(decode(false, REPLY_HOLDS, &body), 0);
        wire_bytes(&body, 1, entry.bytes, entry.length);
        cr_assert_eq(decode(false, REPLY_HOLDS, &body), -EBADMSG);
        wire_clear(&entry);
        wire_clear(&body);
        arena_deinit(&arena);
}

Test(worst_case, unknown_fields_of_the_envelope_cost_nothing) {
        struct wire wire = {0};
        struct request request;
        cr_assert_eq(arena_init(&arena, 0), 0);
        while (wire.length < FRAME_REQUEST_MAX - 3)
                wire_number(&wire, 100, 1);
        cr_assert_eq(request_decode(&arena, wire.bytes, wire.length, &request), 0);
        cr_assert_eq(request.kind, REQUEST_NONE);
        wire_clear(&wire);
        arena_deinit(&arena);
}

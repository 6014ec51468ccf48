#include <criterion/criterion.h>
#include <errno.h>

#include "proto/frame.h"

static const uint8_t *message;
static size_t message_bytes, wanted;

static int next(const uint8_t *bytes, size_t length, size_t max_bytes) {
        message = NULL;
        message_bytes = wanted = 12345;
        return frame_next(bytes, length, max_bytes, &message, &message_bytes, &wanted);
}

Test(frame, wants_the_header_first) {
        const uint8_t bytes[] = {0xff, 0xff, 0xff};
        for (size_t length = 0; length <= sizeof(bytes); length++) {
                cr_assert_eq(next(bytes, length, 100), 0);
                cr_assert_eq(wanted, FRAME_HEADER_BYTES);
        }
}

Test(frame, wants_the_whole_message) {
        const uint8_t bytes[] = {5, 0, 0, 0, 1, 2, 3, 4};
        for (size_t length = 4; length <= sizeof(bytes); length++) {
                cr_assert_eq(next(bytes, length, 100), 0);
                cr_assert_eq(wanted, 9);
                cr_assert_null(message);
        }
}

Test(frame, finds_one_message_and_leaves_the_next) {
        const uint8_t bytes[] = {2, 0, 0, 0, 'a', 'b', 1, 0, 0, 0, 'c'};
        cr_assert_eq(next(bytes, sizeof(bytes), 100), 1);
        cr_assert_eq(message, bytes + 4);
        cr_assert_eq(message_bytes, 2);
        cr_assert_eq(next(bytes + 6, sizeof(bytes) - 6, 100), 1);
        cr_assert_eq(message, bytes + 10);
        cr_assert_eq(message_bytes, 1);
}

Test(frame, rejects_length_over_cap) {
        const uint8_t over[] = {101, 0, 0, 0}, at[] = {100, 0, 0, 0};
        const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff}, high[] = {0, 0, 0, 0x80};
        cr_assert_eq(next(over, 4, 100), -EMSGSIZE);
        cr_assert_eq(next(huge, 4, FRAME_REPLY_MAX), -EMSGSIZE);
        cr_assert_eq(next(high, 4, FRAME_REQUEST_MAX), -EMSGSIZE);
        cr_assert_null(message);
        cr_assert_eq(next(at, 4, 100), 0);
        cr_assert_eq(wanted, 104);
}

Test(frame, rejects_empty_message) {
        const uint8_t bytes[] = {0, 0, 0, 0, 1};
        cr_assert_eq(next(bytes, sizeof(bytes), 100), -EBADMSG);
        cr_assert_null(message);
}

Test(frame, header_is_little_endian) {
        uint8_t header[FRAME_HEADER_BYTES];
        frame_header(header, 0x04030201);
        const uint8_t expected[] = {1, 2, 3, 4};
        cr_assert_arr_eq(header, expected, 4);
        cr_assert_eq(next(header, 4, 0x04030201), 0);
        cr_assert_eq(wanted, 0x04030205);
}

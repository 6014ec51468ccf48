/* Peers whose bytes are no frames, or come slowly, partly or never. Whatever they send, they lose
 * their own connection at most: another client works on beside them, descriptors come back, and the pool is sound. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "bystander.h"
#include "proto/frame.h"

TestSuite(wire, .timeout = 60);

Test(wire, garbage_costs_the_connection) {
        struct bystander by;
        bystander_open(&by);
        for (unsigned round = 0; round < 50; round++) {
                struct wire wire;
                uint8_t noise[512];
                unsigned seed = round;
                wire_open(&wire, &by.scene);
                if (round % 2)
                        wire_hello(&wire, &by.scene);
                for (size_t at = 0; at < sizeof noise; at++)
                        noise[at] = (uint8_t)rand_r(&seed);
                noise[2] = 1, noise[3] = 0xee;
                wire_send(&wire, noise, sizeof noise);
                wire_expect_closed(&wire, 2000);
                wire_close(&wire);
        }
        bystander_close(&by);
}

Test(wire, http_is_not_spoken_here) {
        struct bystander by;
        struct wire wire;
        bystander_open(&by);
        wire_open(&wire, &by.scene);
        wire_send(&wire, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 36);
        wire_expect_closed(&wire, 2000);
        wire_close(&wire);
        bystander_close(&by);
}

static void length_is_fatal(struct bystander *by, uint32_t length, bool after_hello) {
        struct wire wire;
        wire_open(&wire, &by->scene);
        if (after_hello)
                wire_hello(&wire, &by->scene);
        uint8_t header[4] = {(uint8_t)length, (uint8_t)(length >> 8), (uint8_t)(length >> 16),
                (uint8_t)(length >> 24)};
        wire_send(&wire, header, sizeof header);
        wire_expect_closed(&wire, 2000);
        wire_close(&wire);
}

Test(wire, lengths_over_the_cap_are_fatal_at_once) {
        static const uint32_t lengths[] = {
                0xffffffff, 0x80000000, 0x7fffffff, FRAME_REQUEST_MAX + 1, 0};
        struct bystander by;
        bystander_open(&by);
        uint64_t resident = scene_daemon_resident(&by.scene);
        for (size_t each = 0; each < sizeof lengths / sizeof *lengths; each++) {
                length_is_fatal(&by, lengths[each], false);
                length_is_fatal(&by, lengths[each], true);
        }
        cr_assert_lt(scene_daemon_resident(&by.scene), resident + 4 * MIB);
        bystander_close(&by);
}

Test(wire, a_frame_cut_short_by_a_close_is_nothing) {
        struct bystander by;
        bystander_open(&by);
        for (size_t length = 0; length < 24; length++) {
                struct wire wire;
                struct request request = alloc_request(65536, 1);
                uint8_t frame[256];
                request.id = 9;
                ptrdiff_t whole = request_encode(&request, frame, sizeof frame);
                wire_open(&wire, &by.scene);
                wire_hello(&wire, &by.scene);
                wire_send(&wire, frame, length < (size_t)whole ? length : (size_t)whole - 1);
                wire_close(&wire);
        }
        bystander_close(&by);
}

/* The end comes with the request, and is reported only once. */
Test(wire, who_says_no_more_is_answered_and_closed) {
        struct bystander by;
        bystander_open(&by);
        for (int round = 0; round < 50; round++) {
                struct wire wire;
                struct reply reply;
                wire_open(&wire, &by.scene);
                wire_hello(&wire, &by.scene);
                scene_freeze(&by.scene);
                uint64_t id = wire_request(&wire, alloc_request(4096, 1));
                shutdown(wire.fd, SHUT_WR);
                scene_thaw(&by.scene);
                cr_assert(wire_reply(&wire, &reply));
                cr_assert_eq(reply.id, id);
                cr_assert_eq(reply.kind, REPLY_RANGES);
                wire_expect_closed(&wire, 15000);
                wire_close(&wire);
        }
        bystander_close(&by);
}

Test(wire, half_a_frame_is_dropped_in_time) {
        struct bystander by;
        struct wire before, after, cold;
        bystander_open(&by);
        wire_open(&before, &by.scene);
        wire_open(&after, &by.scene);
        wire_open(&cold, &by.scene);
        wire_hello(&after, &by.scene);
        wire_send(&before, "\x20\0\0", 3);
        wire_send(&after, "\x20\0\0\0\x08", 5);
        bystander_works(&by);
        wire_expect_closed(&before, 15000);
        wire_expect_closed(&after, 15000);
        bystander_works(&by);
        wire_close(&before);
        wire_close(&after);
        wire_close(&cold);
        bystander_close(&by);
}

Test(wire, bytes_may_come_one_by_one) {
        struct bystander by;
        struct wire wire;
        struct reply reply;
        uint8_t frames[512];
        bystander_open(&by);
        wire_open(&wire, &by.scene);
        struct request request = {.id = 1, .kind = REQUEST_HELLO};
        request.hello = (struct request_hello){
                .version = PROTOCOL_VERSION, .pool = by.scene.pool, .name = "slow"};
        ptrdiff_t length = request_encode(&request, frames, sizeof frames);
        request = alloc_request(8192, 2);
        request.id = 2;
        length += request_encode(&request, frames + length, sizeof frames - (size_t)length);
        for (ptrdiff_t at = 0; at < length; at++)
                wire_send(&wire, &frames[at], 1);
        cr_assert(wire_reply(&wire, &reply) && reply.kind == REPLY_WELCOME && reply.id == 1);
        cr_assert(wire_reply(&wire, &reply) && reply.kind == REPLY_RANGES && reply.id == 2);
        cr_assert_eq(reply.ranges.count, 2);
        wire_close(&wire);
        bystander_close(&by);
}

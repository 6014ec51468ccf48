/* One socket: frames in pieces, deadlines, descriptors. */
#include "client/stream.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/deadline.h"

static struct stream stream;
static int far;

static void setup(void) {
        int pair[2];
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        far = pair[1];
        cr_assert_eq(stream_init(&stream, pair[0]), 0);
}

static void teardown(void) {
        stream_deinit(&stream);
        close(far);
}

TestSuite(stream, .init = setup, .fini = teardown);

static void arrive(const void *bytes, size_t length) {
        cr_assert_eq(send(far, bytes, length, 0), (ssize_t)length);
        cr_assert_eq(stream_receive(&stream, deadline_after(1000), NULL), 0);
}

Test(stream, puts_a_frame_together_byte_by_byte) {
        const uint8_t frame[] = {3, 0, 0, 0, 'a', 'b', 'c'};
        const uint8_t *message;
        size_t length;
        for (size_t i = 0; i + 1 < sizeof(frame); i++) {
                arrive(&frame[i], 1);
                cr_assert_eq(stream_next(&stream, &message, &length), 0);
        }
        arrive(&frame[sizeof(frame) - 1], 1);
        cr_assert_eq(stream_next(&stream, &message, &length), 1);
        cr_assert_eq(length, 3);
        cr_assert_arr_eq(message, "abc", 3);
        cr_assert_eq(stream_next(&stream, &message, &length), 0);
}

Test(stream, takes_several_frames_out_of_one_receive) {
        const uint8_t frames[] = {1, 0, 0, 0, 'a', 1, 0, 0, 0, 'b', 1, 0};
        const uint8_t *message;
        size_t length;
        arrive(frames, sizeof(frames));
        cr_assert_eq(stream_next(&stream, &message, &length), 1);
        cr_assert_eq(*message, 'a');
        cr_assert_eq(stream_next(&stream, &message, &length), 1);
        cr_assert_eq(*message, 'b');
        cr_assert_eq(stream_next(&stream, &message, &length), 0);
        arrive("\0\0c", 3);
        cr_assert_eq(stream_next(&stream, &message, &length), 1);
        cr_assert_eq(*message, 'c');
}

Test(stream, makes_room_for_the_longest_reply) {
        static uint8_t frame[FRAME_HEADER_BYTES + FRAME_REPLY_MAX];
        frame_header(frame, FRAME_REPLY_MAX);
        frame[sizeof(frame) - 1] = 'z';
        const uint8_t *message;
        size_t length;
        for (size_t done = 0; done < sizeof(frame); done += 4096) {
                size_t left = sizeof(frame) - done;
                cr_assert_eq(stream_next(&stream, &message, &length), 0);
                arrive(frame + done, left < 4096 ? left : 4096);
        }
        cr_assert_eq(stream_next(&stream, &message, &length), 1);
        cr_assert_eq(length, FRAME_REPLY_MAX);
        cr_assert_eq(message[length - 1], 'z');
}

Test(stream, refuses_frames_that_are_none) {
        uint8_t header[FRAME_HEADER_BYTES];
        const uint8_t *message;
        size_t length;
        frame_header(header, FRAME_REPLY_MAX + 1);
        arrive(header, sizeof(header));
        cr_assert_eq(stream_next(&stream, &message, &length), -EPROTO);
}

Test(stream, receive_ends_at_its_deadline) {
        int64_t before = deadline_now();
        cr_assert_eq(stream_receive(&stream, before + 50000000, NULL), -ETIMEDOUT);
        int64_t took_ms = (deadline_now() - before) / 1000000;
        cr_assert(took_ms >= 50 && took_ms < 1000, "%lld ms", (long long)took_ms);
}

Test(stream, send_ends_at_its_deadline_and_says_how_much_went_out) {
        static const uint8_t zeros[4 << 20];
        size_t sent;
        cr_assert_eq(
                stream_send(&stream, zeros, sizeof(zeros), deadline_after(50), &sent), -ETIMEDOUT);
        cr_assert(sent > 0 && sent < sizeof(zeros));
        size_t again;
        cr_assert_eq(stream_send(&stream, zeros, 1, deadline_after(50), &again), -ETIMEDOUT);
        cr_assert_eq(again, 0);
}

Test(stream, tells_that_the_peer_is_gone) {
        size_t sent;
        shutdown(far, SHUT_RDWR);
        cr_assert_eq(stream_receive(&stream, deadline_after(1000), NULL), -ENOTCONN);
        cr_assert_eq(stream_send(&stream, (const uint8_t *)"x", 1, deadline_after(1000), &sent),
                -ENOTCONN);
}

static void send_descriptors(size_t count) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * 64)];
        } control = {0};
        struct iovec byte = {"x", 1};
        struct msghdr header = {
                .msg_iov = &byte,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = CMSG_SPACE(sizeof(int) * count),
        };
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * count);
        for (size_t i = 0; i < count; i++)
                memcpy(CMSG_DATA(c) + i * sizeof(int), &far, sizeof(far));
        cr_assert_eq(sendmsg(far, &header, 0), 1);
}

static int lowest_free_fd(void) {
        int fd = dup(far);
        close(fd);
        return fd;
}

Test(stream, takes_descriptors_over_with_close_on_exec) {
        struct stream_descriptors descriptors = {0};
        int before = lowest_free_fd();
        send_descriptors(2);
        cr_assert_eq(stream_receive(&stream, deadline_after(1000), &descriptors), 0);
        cr_assert_eq(descriptors.count, 2);
        cr_assert(fcntl(descriptors.fds[1], F_GETFD) & FD_CLOEXEC);
        stream_descriptors_close(&descriptors);
        cr_assert_eq(lowest_free_fd(), before);
}

Test(stream, keeps_no_descriptor_beyond_its_limit) {
        struct stream_descriptors descriptors = {0};
        int before = lowest_free_fd();
        send_descriptors(STREAM_DESCRIPTORS_MAX + 3);
        cr_assert_eq(stream_receive(&stream, deadline_after(1000), &descriptors), -EPROTO);
        stream_descriptors_close(&descriptors);
        cr_assert_eq(lowest_free_fd(), before);
}

Test(stream, lets_no_descriptor_in_where_none_is_expected) {
        int before = lowest_free_fd();
        send_descriptors(2);
        cr_assert_eq(stream_receive(&stream, deadline_after(1000), NULL), 0);
        cr_assert_eq(lowest_free_fd(), before);
}

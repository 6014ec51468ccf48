/* What a socket does not take at once arrives whole, in order, and with its descriptor in its place. */
#include "daemon/output.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK 3000u

struct pipe_pair {
        int sender, receiver;
        struct output output;
        unsigned char sent, received; /* next value of the byte sequence */
        int descriptors;              /* received so far */
        size_t descriptor_at;         /* bytes received before it */
        size_t received_bytes;
};

static void pair_init(struct pipe_pair *pair) {
        int ends[2];
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        *pair = (struct pipe_pair){.sender = ends[0], .receiver = ends[1]};
        output_init(&pair->output);
}

static void pair_deinit(struct pipe_pair *pair) {
        output_deinit(&pair->output);
        close(pair->sender);
        close(pair->receiver);
}

static void pair_send(struct pipe_pair *pair, int descriptor) {
        uint8_t bytes[CHUNK];
        for (size_t i = 0; i < CHUNK; i++)
                bytes[i] = pair->sent++;
        cr_assert_eq(output_send(&pair->output, pair->sender, bytes, CHUNK, descriptor), 0);
}

/* One receive; false if there was nothing. */
static bool pair_receive(struct pipe_pair *pair) {
        uint8_t bytes[1000];
        char control[CMSG_SPACE(4 * sizeof(int))];
        struct iovec part = {bytes, sizeof bytes};
        struct msghdr message = {.msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = control,
                .msg_controllen = sizeof control};
        ssize_t length = recvmsg(pair->receiver, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (length <= 0)
                return false;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (header) {
                int descriptor;
                cr_assert_eq(header->cmsg_len, CMSG_LEN(sizeof descriptor));
                memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
                close(descriptor);
                pair->descriptors++;
                pair->descriptor_at = pair->received_bytes;
        }
        for (ssize_t i = 0; i < length; i++)
                cr_assert_eq(bytes[i], pair->received++);
        pair->received_bytes += (size_t)length;
        return true;
}

static void pair_drain(struct pipe_pair *pair) {
        do
                while (pair_receive(pair))
                        ;
        while (output_flush(&pair->output, pair->sender) > 0);
}

Test(output, a_socket_with_room_takes_all_at_once) {
        struct pipe_pair pair;
        pair_init(&pair);
        pair_send(&pair, -1);
        cr_expect_eq(output_waiting(&pair.output), 0);
        cr_expect_null(pair.output.bytes);
        pair_drain(&pair);
        cr_expect_eq(pair.received_bytes, CHUNK);
        pair_deinit(&pair);
}

Test(output, what_waits_arrives_in_order) {
        struct pipe_pair pair;
        pair_init(&pair);
        size_t sent = 0;
        while (output_waiting(&pair.output) < 100 * CHUNK) {
                pair_send(&pair, -1);
                sent += CHUNK;
                if (sent % (7 * CHUNK) == 0) {
                        pair_receive(&pair);
                        cr_assert_geq(output_flush(&pair.output, pair.sender), 0);
                }
        }
        pair_drain(&pair);
        cr_expect_eq(pair.received_bytes, sent);
        cr_expect_null(pair.output.bytes, "an empty queue holds no memory");
        pair_deinit(&pair);
}

static void descriptor_goes_with_its_reply(size_t ahead) {
        struct pipe_pair pair;
        pair_init(&pair);
        int descriptor = memfd_create("output", MFD_CLOEXEC);
        size_t sent = 0;
        while (ahead > 0 && output_waiting(&pair.output) < ahead) {
                pair_send(&pair, -1);
                sent += CHUNK;
        }
        size_t before = sent;
        pair_send(&pair, descriptor);
        pair_send(&pair, -1);
        pair_drain(&pair);
        cr_expect_eq(pair.descriptors, 1);
        /* The kernel may hand out bytes ahead of it in the same receive, never bytes behind its first. */
        cr_expect_leq(pair.descriptor_at, before);
        cr_expect_gt(pair.descriptor_at + 1000, before);
        cr_expect_eq(pair.received_bytes, before + 2 * CHUNK);
        close(descriptor);
        pair_deinit(&pair);
}

Test(output, a_descriptor_goes_out_at_once) {
        descriptor_goes_with_its_reply(0);
}

Test(output, a_descriptor_waits_behind_what_waits) {
        descriptor_goes_with_its_reply(1);
        descriptor_goes_with_its_reply(50 * CHUNK);
}

Test(output, a_closed_peer_is_an_error) {
        struct pipe_pair pair;
        pair_init(&pair);
        shutdown(pair.receiver, SHUT_RDWR);
        uint8_t byte = 0;
        cr_expect_eq(output_send(&pair.output, pair.sender, &byte, 1, -1), -EPIPE);
        pair_deinit(&pair);
}

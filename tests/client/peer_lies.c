/* See peer_lies.h. */
#include "peer_lies.h"

#include "peer.h"

#define PAGE 4096ull

bool greets_first(int fd) {
        static int connections;
        peer_greet(fd);
        if (connections++ == 0)
                return true;
        peer_wait_close(fd);
        return false;
}

void closes_on_a_request(int fd) {
        if (greets_first(fd))
                peer_read(fd);
}

void closes_in_the_reply(int fd) {
        if (!greets_first(fd))
                return;
        peer_read(fd);
        peer_send_bytes(fd, "\x20\0\0\0\x08", 5);
}

void sends_garbage(int fd) {
        peer_greet(fd);
        peer_read(fd);
        peer_send_bytes(fd, "\x04\0\0\0\xff\xff\xff\xff", 8);
        peer_wait_close(fd);
}

void sends_too_long_a_frame(int fd) {
        peer_greet(fd);
        peer_read(fd);
        peer_send_bytes(fd, "\xff\xff\xff\x7f", 4);
        peer_wait_close(fd);
}

void answers_a_request_never_made(int fd) {
        peer_greet(fd);
        peer_send_done(fd, peer_read(fd)->id + 100);
        peer_wait_close(fd);
}

void answers_alloc_with_done(int fd) {
        peer_greet(fd);
        peer_send_done(fd, peer_read(fd)->id);
        peer_wait_close(fd);
}

void has_last_words(int fd) {
        struct reply reply = {
                .kind = REPLY_REFUSED, .refused = {STATUS_PROTOCOL, "half a frame for 5 s"}};
        peer_greet(fd);
        peer_read(fd);
        peer_send(fd, &reply, NULL, 0);
}

#define GRANTS(name, place, generation)                                                            \
        void name(int fd) {                                                                        \
                peer_greet(fd);                                                                    \
                peer_send_range(fd, peer_read(fd)->id, place, generation);                         \
                peer_wait_close(fd);                                                               \
        }

GRANTS(grants_outside, (1 << 20) | 1, 1)
GRANTS(grants_across_the_end, ((1 << 20) - PAGE) | 1, 1)
GRANTS(grants_too_short, 0, 1)
GRANTS(grants_unaligned, PAGE | 1, 1)
GRANTS(grants_impossible_order, 63, 1)
GRANTS(grants_impossible_order_12_bits, 0xfff, 1)
GRANTS(grants_no_generation, 1, 0)

void grants_two(int fd) {
        static const uint64_t places[] = {1, 2 * PAGE | 1};
        static const uint32_t generations[] = {1, 1};
        peer_greet(fd);
        struct reply reply = {
                .id = peer_read(fd)->id, .kind = REPLY_RANGES, .ranges = {places, generations, 2}};
        peer_send(fd, &reply, NULL, 0);
        peer_wait_close(fd);
}

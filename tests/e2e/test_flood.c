/* Peers that send much, read nothing, leave early or pass descriptors, and what a welcome gives away. Whatever they send, they lose
 * their own connection at most: another client works on beside them, descriptors come back, and the pool is sound. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bystander.h"

TestSuite(flood, .timeout = 60);

Test(flood, many_requests_come_in_one_write) {
        enum { COUNT = 2000 };
        struct bystander by;
        struct wire wire;
        struct reply reply;
        static uint8_t frames[COUNT * 32];
        bystander_open(&by);
        wire_open(&wire, &by.scene);
        wire_hello(&wire, &by.scene);
        size_t length = 0;
        for (unsigned each = 0; each < COUNT; each++) {
                struct request request = alloc_request(4096, 1);
                if (each % 2)
                        request = (struct request){.kind = REQUEST_PING};
                request.id = 1000 + each;
                ptrdiff_t frame = request_encode(&request, frames + length, sizeof frames - length);
                cr_assert_gt(frame, 0);
                length += (size_t)frame;
        }
        wire_send(&wire, frames, length);
        bool answered[COUNT] = {false};
        unsigned granted = 0;
        for (unsigned each = 0; each < COUNT; each++) {
                cr_assert(wire_reply(&wire, &reply), "closed after %u replies", each);
                uint64_t which = reply.id - 1000;
                cr_assert(which < COUNT && !answered[which], "a reply to nothing: %lu", reply.id);
                answered[which] = true;
                cr_assert(which % 2 ? reply.kind == REPLY_DONE
                                    : reply.kind == REPLY_RANGES || reply.kind == REPLY_REFUSED);
                granted += reply.kind == REPLY_RANGES;
        }
        cr_assert_eq(granted, COUNT / 2, "%u granted", granted);
        expect_held(by.client, 65536 + (COUNT / 2) * 4096);
        wire_close(&wire);
        bystander_close(&by);
}

Test(flood, a_close_in_the_middle_of_requests_leaks_nothing) {
        struct bystander by;
        bystander_open(&by);
        for (int round = 0; round < 50; round++) {
                struct wire wire;
                wire_open(&wire, &by.scene);
                struct request request = {.kind = REQUEST_HELLO};
                request.hello = (struct request_hello){
                        .version = PROTOCOL_VERSION, .pool = by.scene.pool, .name = "hasty"};
                wire_request(&wire, request);
                for (int each = 0; each < 20; each++) {
                        struct request alloc = alloc_request(4096, 4);
                        if (each % 5 == 4)
                                alloc = alloc_request(4 * MIB, 1);
                        alloc.alloc.wait = each % 5 == 4;
                        alloc.alloc.timeout_ms = -1;
                        wire_request(&wire, alloc);
                }
                if (round % 2)
                        shutdown(wire.fd, SHUT_WR);
                wire_close(&wire);
        }
        cr_assert_eq(stats_of(by.client).size_bytes, 4 * MIB);
        await_waiters(by.client, 0);
        bystander_close(&by);
}

Test(flood, who_never_reads_is_dropped_and_others_are_served) {
        struct bystander by;
        struct wire wire;
        uint8_t frame[64];
        bystander_open(&by);
        wire_open(&wire, &by.scene);
        wire_hello(&wire, &by.scene);
        uint64_t resident = scene_daemon_resident(&by.scene);
        struct request request = {.id = 3, .kind = REQUEST_STATS};
        ptrdiff_t length = request_encode(&request, frame, sizeof frame);
        fcntl(wire.fd, F_SETFL, O_NONBLOCK);
        uint64_t deadline = now_ms() + 15000;
        bool dropped = false;
        for (unsigned turn = 0; !dropped; turn++) {
                cr_assert_lt(now_ms(), deadline, "a client that reads nothing is kept");
                ssize_t sent = send(wire.fd, frame, (size_t)length, MSG_NOSIGNAL);
                dropped = sent < 0 && (errno == EPIPE || errno == ECONNRESET);
                if (sent < 0 && !dropped) {
                        struct pollfd wait = {.fd = wire.fd, .events = POLLOUT};
                        poll(&wait, 1, 50);
                        bystander_works(&by);
                        cr_assert_lt(scene_daemon_resident(&by.scene), resident + 8 * MIB);
                } else if (sent > 0 && sent < length) {
                        dropped = send(wire.fd, frame + sent, (size_t)(length - sent),
                                          MSG_NOSIGNAL) < 0;
                        deadline = dropped ? now_ms() + 15000 : deadline;
                        cr_assert(!dropped || errno == EAGAIN || errno == EPIPE);
                }
        }
        wire_close(&wire);
        bystander_close(&by);
}

Test(flood, descriptors_that_nobody_wants_are_not_kept) {
        struct bystander by;
        struct wire wire;
        bystander_open(&by);
        wire_open(&wire, &by.scene);
        wire_hello(&wire, &by.scene);
        size_t before = scene_daemon_fds(&by.scene);
        int fds[100];
        for (size_t each = 0; each < 100; each++)
                fds[each] = memfd_create("parcel", MFD_CLOEXEC);
        for (int round = 0; round < 20; round++) {
                struct request ping = {.id = 4000 + (uint64_t)round, .kind = REQUEST_PING};
                uint8_t frame[64];
                union {
                        struct cmsghdr header;
                        char bytes[CMSG_SPACE(sizeof fds)];
                } control = {.header = {.cmsg_len = CMSG_LEN(sizeof fds),
                                     .cmsg_level = SOL_SOCKET,
                                     .cmsg_type = SCM_RIGHTS}};
                memcpy(CMSG_DATA(&control.header), fds, sizeof fds);
                struct iovec part = {frame, (size_t)request_encode(&ping, frame, sizeof frame)};
                struct msghdr message = {.msg_iov = &part,
                        .msg_iovlen = 1,
                        .msg_control = &control,
                        .msg_controllen = sizeof control};
                if (sendmsg(wire.fd, &message, MSG_NOSIGNAL) < 0)
                        break;
                struct reply reply;
                if (!wire_reply(&wire, &reply))
                        break;
        }
        await_fds(&by.scene, before);
        for (size_t each = 0; each < 100; each++)
                close(fds[each]);
        wire_close(&wire);
        bystander_close(&by);
}

/* Valid frames with a few bytes changed: every decoder path, on the real daemon. */
Test(flood, bent_requests_hurt_nobody) {
        struct bystander by;
        unsigned seed = 11;
        bystander_open(&by);
        uint64_t places[3] = {0, 4096, 65536 | 4};
        uint32_t generations[3] = {1, 2, 3};
        uint8_t token[MESSAGE_TOKEN_BYTES] = {0};
        for (int round = 0; round < 400; round++) {
                struct wire wire;
                wire_open(&wire, &by.scene);
                wire_hello(&wire, &by.scene);
                for (int each = 0; each < 20; each++) {
                        struct request request = {.id = (uint64_t)each};
                        request.kind = (enum request_kind)(2 + rand_r(&seed) % 17);
                        if (request.kind == REQUEST_HELLO)
                                request.hello = (struct request_hello){.version = 1,
                                        .pool = by.scene.pool,
                                        .name = "bent",
                                        .token = token};
                        else if (request.kind == REQUEST_ALLOC)
                                request.alloc = (struct request_alloc){.length = 5000, .count = 3};
                        else if (request.kind == REQUEST_RELEASE || request.kind == REQUEST_GIVE)
                                request.release.ranges =
                                        (struct message_ranges){places, generations, 3};
                        else if (request.kind == REQUEST_LOOKUP ||
                                 request.kind == REQUEST_PUBLISH ||
                                 request.kind == REQUEST_UNPUBLISH)
                                request.lookup.key = "key";
                        else if (request.kind == REQUEST_FIND)
                                request.find.name = "by hand";
                        else if (request.kind == REQUEST_HOLD)
                                continue;
                        uint8_t frame[1024];
                        ptrdiff_t length = request_encode(&request, frame, sizeof frame);
                        cr_assert_gt(length, 4);
                        for (int bend = rand_r(&seed) % 3; bend > 0; bend--)
                                frame[4 + rand_r(&seed) % (int)(length - 4)] =
                                        (uint8_t)rand_r(&seed);
                        wire_send(&wire, frame, (size_t)length);
                }
                wire_close(&wire);
                if (round % 50 == 0)
                        bystander_works(&by);
        }
        bystander_close(&by);
}

/* 4,000 allocs wait, and nobody will ever read a reply: the first write of one ends the session in the middle of
 * the others. */
static void wait_deaf(struct wire *wire, const struct scene *scene, int64_t timeout_ms) {
        wire_open(wire, scene);
        wire_hello(wire, scene);
        for (int each = 0; each < 4000; each++) {
                struct request alloc = alloc_request(4096, 1);
                alloc.alloc.wait = true;
                alloc.alloc.timeout_ms = timeout_ms;
                wire_request(wire, alloc);
        }
        wire_expect_alive(wire);
        cr_assert_eq(shutdown(wire->fd, SHUT_RD), 0);
}

#define DEAF_TIMEOUT_MS 2000

/* All deadlines pass while the daemon stands still, so it meets them in one turn. */
static void expire_at_once(const struct scene *scene, uint64_t timeout_ms) {
        scene_freeze(scene);
        poll(NULL, 0, (int)timeout_ms);
        scene_thaw(scene);
}

static void deaf_waits_end(const char *workers, bool by_release) {
        static struct buddyclient_range pages[4096];
        struct scene scene;
        struct wire wire;
        scene_open(&scene);
        scene_start(&scene, "--size", "16M", "--workers", workers, NULL);
        struct buddyclient *owner = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_many(owner, SCENE_PAGE, 4096, pages), 0);
        size_t fds = scene_daemon_fds(&scene);
        wait_deaf(&wire, &scene, by_release ? -1 : DEAF_TIMEOUT_MS);
        if (by_release) {
                cr_assert_eq(stats_of(owner).waiters, 4000);
                cr_assert_eq(buddyclient_release_many(owner, pages, 4096), 0);
        } else {
                expire_at_once(&scene, DEAF_TIMEOUT_MS);
        }
        await_waiters(owner, 0);
        await_fds(&scene, fds);
        await_held(owner, by_release ? 0 : 16 * MIB);
        wire_close(&wire);
        buddyclient_destroy(owner);
        scene_close(&scene);
}

Test(flood, waits_that_expire_into_a_dead_socket_hurt_nobody) {
        deaf_waits_end("1", false);
        deaf_waits_end("2", false);
}

Test(flood, waits_that_are_granted_into_a_dead_socket_leak_nothing) {
        deaf_waits_end("1", true);
        deaf_waits_end("2", true);
}

/* Strangers cannot fill the log. */
Test(flood, warnings_are_rationed) {
        struct bystander by;
        bystander_open(&by);
        uint64_t begin = now_ms();
        for (int round = 0; round < 500; round++) {
                struct wire wire;
                wire_open(&wire, &by.scene);
                wire_send(&wire, "\0\0\0\0", 4);
                wire_expect_closed(&wire, PATIENCE_MS);
                wire_close(&wire);
        }
        uint64_t seconds = (now_ms() - begin) / 1000 + 1;
        unsigned lines = 0;
        for (const char *at = scene_errors(&by.scene); (at = strstr(at, " closed: ")); at++)
                lines++;
        cr_assert(lines >= 20 && lines <= 21 + seconds, "%u lines in %lu s", lines, seconds);
        bystander_close(&by);
        cr_assert_not_null(
                strstr(scene_errors(&by.scene), " warnings about connections were left out"));
}

Test(flood, a_welcome_brings_the_segment_and_no_more) {
        struct bystander by;
        struct wire wire;
        bystander_open(&by);
        wire_open(&wire, &by.scene);
        struct reply_welcome welcome = wire_hello(&wire, &by.scene);
        cr_assert_eq(welcome.version, PROTOCOL_VERSION);
        cr_assert_eq(welcome.page_bytes, 4096);
        cr_assert_eq(welcome.size_bytes, 4 * MIB);
        cr_assert_geq(welcome.max_size_bytes, 4 * MIB);
        cr_assert_not(welcome.resumed);
        cr_assert_eq(welcome.descriptor_count, wire.descriptor_count);
        cr_assert_geq(wire.descriptor_count, 1);
        for (size_t each = 0; each < wire.descriptor_count; each++) {
                struct stat info;
                cr_assert(fstat(wire.descriptors[each], &info) == 0);
                cr_assert_eq(info.st_mode & 0077, 0, "another user may open what a client has");
                if (welcome.descriptors[each] == DESCRIPTOR_SEGMENT)
                        cr_assert_eq((uint64_t)info.st_size, 4 * MIB);
        }
        wire_close(&wire);
        bystander_close(&by);
}

Test(flood, read_only_and_observers_get_no_writable_descriptor) {
        struct bystander by;
        bystander_open(&by);
        for (int access = ACCESS_READ_ONLY; access <= ACCESS_OBSERVER; access++) {
                struct wire wire;
                struct reply reply;
                wire_open(&wire, &by.scene);
                struct request request = {.kind = REQUEST_HELLO};
                request.hello = (struct request_hello){.version = PROTOCOL_VERSION,
                        .pool = by.scene.pool,
                        .name = "reader",
                        .access = (enum hello_access)access};
                wire_request(&wire, request);
                cr_assert(wire_reply(&wire, &reply) && reply.kind == REPLY_WELCOME);
                if (access == ACCESS_OBSERVER) {
                        cr_assert_eq(wire.descriptor_count, 0);
                } else {
                        cr_assert_geq(wire.descriptor_count, 1);
                        int segment = wire.descriptors[0];
                        cr_assert_eq(fcntl(segment, F_GETFL) & O_ACCMODE, O_RDONLY);
                        void *map =
                                mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, segment, 0);
                        cr_assert_eq(map, MAP_FAILED);
                        cr_assert(ftruncate(segment, 0) != 0);
                }
                wire_request(&wire, alloc_request(4096, 1));
                cr_assert(wire_reply(&wire, &reply) && reply.kind == REPLY_REFUSED,
                        "access %d may alloc", access);
                wire_close(&wire);
        }
        bystander_close(&by);
}

Test(flood, a_memfd_segment_is_sealed) {
        struct scene scene;
        struct wire wire;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--backing", "memfd", NULL);
        int segment = wire_segment(&wire, &scene);
        int seals = fcntl(segment, F_GET_SEALS);
        int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
        cr_assert_eq(seals & wanted, wanted, "seals are %#x", (unsigned)seals);
        cr_assert(ftruncate(segment, 0) != 0, "a client can take the segment away from all");
        cr_assert(fcntl(segment, F_ADD_SEALS, F_SEAL_WRITE) != 0);
        wire_close(&wire);
        scene_close(&scene);
}

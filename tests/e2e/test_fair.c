/* One user's flood and another's few requests: the worker's time is divided by uid, not by connection or request. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bystander.h"

TestSuite(fair, .timeout = 120);

enum { FLOODERS = 16, FLOOD_UID = 12345, ROUND_TRIPS = 300 };

/* What the flood was answered while one request of another user's was; with turns by connection it is tens of thousands. */
#define ANSWERED_MAX 5000u

/* Sends pings without end and counts the answers' bytes. */
static pid_t flooder(const struct scene *scene, int ready, _Atomic uint64_t *answered) {
        static uint8_t frames[32768], trash[65536];
        pid_t process = process_fork();
        if (process != 0)
                return process;
        struct wire wire;
        struct request ping = {.id = 1, .kind = REQUEST_PING};
        size_t length = 0, at = 0;
        ptrdiff_t one;
        if (setgid(FLOOD_UID) != 0 || setuid(FLOOD_UID) != 0)
                _exit(3);
        while ((one = request_encode(&ping, frames + length, sizeof frames - length)) > 0)
                length += (size_t)one;
        wire_open(&wire, scene);
        wire_hello(&wire, scene);
        byte_write(ready, 'r');
        fcntl(wire.fd, F_SETFL, O_NONBLOCK);
        for (;;) {
                struct pollfd wait = {.fd = wire.fd, .events = POLLIN | POLLOUT};
                poll(&wait, 1, -1);
                ssize_t got = recv(wire.fd, trash, sizeof trash, 0);
                if (got == 0 || (got < 0 && errno != EAGAIN))
                        _exit(1);
                if (got > 0)
                        atomic_fetch_add(answered, (uint64_t)got);
                ssize_t sent = send(wire.fd, frames + at, length - at, MSG_NOSIGNAL);
                at = sent > 0 ? (at + (size_t)sent) % length : at;
        }
}

/* While one request of this client's was. */
static uint64_t answered_beside(struct buddyclient *client, const _Atomic uint64_t *answered) {
        const struct reply done = {.id = 1, .kind = REPLY_DONE};
        struct buddyclient_range range;
        uint64_t before = atomic_load(answered);
        for (int each = 0; each < ROUND_TRIPS; each++) {
                cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &range), 0);
                cr_assert_eq(buddyclient_release(client, &range), 0);
        }
        uint64_t replies = (atomic_load(answered) - before) / reply_frame_bytes(&done);
        cr_assert_gt(replies, 0, "there was no flood");
        return replies / (2 * ROUND_TRIPS);
}

/* Where the machine was busy elsewhere, it is the client itself that does not ask: not each time. */
Test(fair, a_flood_of_one_user_leaves_room_for_another) {
        struct scene scene;
        pid_t flooders[FLOODERS];
        int ready[2];
        if (geteuid() != 0)
                cr_skip_test("needs to become another user");
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--workers", "1", "--socket-mode", "0666", NULL);
        struct buddyclient *client = client_new(&scene);
        size_t fds = scene_daemon_fds(&scene);
        _Atomic uint64_t *answered = mmap(
                NULL, sizeof *answered, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        cr_assert_neq(answered, MAP_FAILED);
        cr_assert_eq(pipe(ready), 0);
        for (int each = 0; each < FLOODERS; each++) {
                flooders[each] = flooder(&scene, ready[1], answered);
                cr_assert_eq(byte_read(ready[0]), 'r');
        }
        uint64_t replies = UINT64_MAX;
        for (int tries = 0; tries < 3 && replies >= ANSWERED_MAX; tries++) {
                replies = answered_beside(client, answered);
                cr_log_info("%lu replies to the flood for each of another user", replies);
        }
        cr_assert_lt(replies, ANSWERED_MAX);
        for (int each = 0; each < FLOODERS; each++)
                cr_assert_eq(process_kill(flooders[each]), -SIGKILL);
        await_fds(&scene, fds);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* Large requests come through, too, while turns are short. */
Test(fair, batches_come_through_beside_another_user) {
        static struct buddyclient_range pages[4096];
        struct scene scene;
        if (geteuid() != 0)
                cr_skip_test("needs to become another user");
        scene_open(&scene);
        scene_start(&scene, "--size", "32M", "--workers", "1", "--socket-mode", "0666", NULL);
        pid_t other = process_fork();
        if (other == 0) {
                if (setgid(FLOOD_UID) != 0 || setuid(FLOOD_UID) != 0)
                        _exit(3);
                struct buddyclient *mine = client_try(&scene);
                for (int round = 0; mine && round < 20; round++)
                        if (buddyclient_alloc_many(mine, SCENE_PAGE, 4096, pages) != 0 ||
                                buddyclient_release_many(mine, pages, 4096) != 0)
                                _exit(1);
                _exit(mine ? 0 : 2);
        }
        struct buddyclient *client = client_new(&scene);
        for (int round = 0; round < 20; round++) {
                cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 4096, pages), 0);
                cr_assert_eq(buddyclient_release_many(client, pages, 4096), 0);
        }
        cr_assert_eq(process_wait(other), 0);
        await_held(client, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

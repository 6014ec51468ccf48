/* Very many connections, and too many. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "wire.h"

TestSuite(crowd, .timeout = 120);

enum { CROWD = 5000 };

static bool fd_limit_raise(uint64_t wanted) {
        struct rlimit limit = {wanted, wanted};
        if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
                return true;
        getrlimit(RLIMIT_NOFILE, &limit);
        limit.rlim_cur = limit.rlim_max;
        return setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted;
}

/* A wire without the buffers of a whole reply, for thousands of them. */
static void member_open(struct wire *member, const struct scene *scene) {
        wire_open(member, scene);
        wire_hello(member, scene);
        while (member->descriptor_count > 0)
                close(member->descriptors[--member->descriptor_count]);
        free(member->bytes);
        arena_deinit(&member->arena);
        member->bytes = NULL;
        member->arena = (struct arena){0};
}

static void member_restore(struct wire *member) {
        cr_assert_eq(arena_init(&member->arena, MESSAGE_ARENA_REPLY), 0);
        member->bytes = malloc(member->size);
        cr_assert_not_null(member->bytes);
}

Test(crowd, five_thousand_clients_are_served) {
        struct scene scene;
        if (!fd_limit_raise(CROWD * 2 + 200) && !fd_limit_raise(CROWD + 200))
                cr_skip_test("needs more descriptors than this machine allows");
        scene_open(&scene);
        scene_start(&scene, "--size", "64M", NULL);
        struct buddyclient *observer = client_new(&scene);
        struct wire *members = calloc(CROWD, sizeof *members);
        cr_assert_not_null(members);
        struct reply reply;
        for (size_t each = 0; each < 200; each++)
                member_open(&members[each], &scene);
        uint64_t before = scene_daemon_resident(&scene);
        for (size_t each = 200; each < CROWD; each++)
                member_open(&members[each], &scene);
        uint64_t after = scene_daemon_resident(&scene);
        cr_assert_eq(stats_of(observer).clients, CROWD + 1);
        uint64_t each_bytes = (after - before) / (CROWD - 200);
        cr_log_info("%lu bytes of the daemon per idle connection", each_bytes);
        if (!E2E_SANITIZED)
                cr_expect_leq(each_bytes, 16384, "%lu bytes per idle connection", each_bytes);

        struct request alloc = {.kind = REQUEST_ALLOC};
        alloc.alloc = (struct request_alloc){.length = 4096, .count = 1};
        for (size_t each = 0; each < CROWD; each++)
                wire_request(&members[each], alloc);
        for (size_t each = 0; each < CROWD; each++) {
                member_restore(&members[each]);
                cr_assert(wire_reply(&members[each], &reply), "client %zu was dropped", each);
                cr_assert_eq(reply.kind, REPLY_RANGES, "client %zu was refused", each);
                free(members[each].bytes);
                arena_deinit(&members[each].arena);
        }
        expect_held(observer, CROWD * SCENE_PAGE);
        expect_sound(&scene);
        for (size_t each = 0; each < CROWD; each++)
                close(members[each].fd);
        free(members);
        await_held(observer, 0);
        cr_assert_eq(stats_of(observer).clients, 1);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

static int raw_connect(const struct scene *scene) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        memcpy(address.sun_path, scene->socket, sizeof scene->socket);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert(connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "%s",
                strerror(errno));
        return fd;
}

/* Sends more than the peer takes, and reads nothing of the replies. */
static void member_flood(const struct wire *member) {
        static uint8_t frames[64 * 1024];
        const struct request request = {.id = 7, .kind = REQUEST_PING};
        size_t length = 0, at = 0;
        for (ptrdiff_t one;
                (one = request_encode(&request, frames + length, sizeof frames - length)) > 0;)
                length += (size_t)one;
        for (int full = 0; full < 20;) {
                ssize_t sent =
                        send(member->fd, frames + at, length - at, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (sent > 0)
                        at = (at + (size_t)sent) % length;
                full = sent > 0 ? 0 : full + 1;
                if (sent <= 0)
                        poll(NULL, 0, 1);
        }
}

/* What a crowd of slow readers had waiting goes back to the system, too. */
Test(crowd, memory_goes_back_when_a_crowd_has_left) {
        enum { MEMBERS = 300 };
        struct scene scene;
        if (E2E_SANITIZED)
                cr_skip_test("a sanitizer keeps memory itself");
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        struct buddyclient *observer = client_new(&scene);
        struct wire *members = calloc(MEMBERS, sizeof *members);
        cr_assert_not_null(members);
        uint64_t before = scene_daemon_resident(&scene);
        for (size_t each = 0; each < MEMBERS; each++) {
                member_open(&members[each], &scene);
                member_flood(&members[each]);
        }
        uint64_t after = scene_daemon_resident(&scene);
        cr_assert_gt(after, before + 8 * MIB, "%lu bytes, then %lu", before, after);
        for (size_t each = 0; each < MEMBERS; each++)
                close(members[each].fd);
        for (uint64_t deadline = now_ms() + PATIENCE_MS; after > before + 2 * MIB;) {
                after = scene_daemon_resident(&scene);
                cr_assert_lt(now_ms(), deadline, "%lu bytes, then %lu", before, after);
                poll(NULL, 0, 20);
        }
        free(members);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

/* With no descriptor left the daemon serves those whom it has, burns no processor, and takes new ones when it can. */
Test(crowd, no_descriptors_left_passes_by_itself) {
        struct scene scene;
        int strangers[150];
        scene_open(&scene);
        scene.fd_limit = 64;
        scene_start(&scene, "--size", "1M", "--workers", "2", NULL);
        struct buddyclient *client = client_new(&scene);
        for (size_t each = 0; each < 150; each++)
                strangers[each] = raw_connect(&scene);
        double cpu = scene_daemon_cpu(&scene);
        struct buddyclient_range all, range;
        cr_assert_eq(buddyclient_alloc(client, MIB, &all), 0);
        for (int round = 0; round < 3; round++)
                cr_assert_eq(buddyclient_alloc_wait(client, 4096, 300, &range), -ETIMEDOUT);
        double spent = scene_daemon_cpu(&scene) - cpu;
        cr_assert_lt(spent, 0.3, "%f s of processor in 0.9 s", spent);
        for (size_t each = 0; each < 150; each++)
                close(strangers[each]);
        struct buddyclient *late = client_new(&scene);
        cr_assert_eq(buddyclient_release(client, &all), 0);
        cr_assert_eq(buddyclient_alloc(late, MIB, &range), 0);
        buddyclient_destroy(late);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* Connections that say nothing cost nobody anything. */
Test(crowd, silent_connections_do_not_matter) {
        struct scene scene;
        int strangers[500];
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        size_t fds = scene_daemon_fds(&scene);
        for (size_t each = 0; each < 500; each++)
                strangers[each] = raw_connect(&scene);
        struct buddyclient *late = client_new(&scene);
        cr_assert_eq(stats_of(late).clients, 2);
        for (size_t each = 0; each < 500; each++)
                close(strangers[each]);
        buddyclient_destroy(late);
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (scene_daemon_fds(&scene) > fds)
                cr_assert_lt(now_ms(), deadline);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(crowd, connect_and_close_ten_thousand_times) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        size_t fds = scene_daemon_fds(&scene);
        for (size_t each = 0; each < 1000; each++)
                close(raw_connect(&scene));
        uint64_t resident = scene_daemon_resident(&scene);
        for (size_t each = 0; each < 9000; each++)
                close(raw_connect(&scene));
        cr_assert_eq(stats_of(client).clients, 1);
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (scene_daemon_fds(&scene) > fds)
                cr_assert_lt(now_ms(), deadline);
        if (!E2E_SANITIZED)
                cr_assert_lt(scene_daemon_resident(&scene), resident + 4 * MIB);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* A stopped client that owes replies to itself blocks nobody, and has its own when it goes on. */
Test(crowd, a_stopped_client_blocks_nobody) {
        struct scene scene;
        int ends[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--workers", "1", NULL);
        cr_assert_eq(pipe(ends), 0);
        pid_t stopped = process_fork();
        if (stopped == 0) {
                struct buddyclient_range range;
                struct buddyclient *own = client_caching(&scene);
                if (!own || buddyclient_alloc(own, SCENE_PAGE, &range) != 0)
                        _exit(2);
                byte_write(ends[1], 's');
                for (;;)
                        if (buddyclient_alloc(own, SCENE_PAGE, &range) == 0)
                                buddyclient_release(own, &range);
        }
        cr_assert_eq(byte_read(ends[0]), 's');
        kill(stopped, SIGSTOP);
        struct buddyclient *client = client_new(&scene);
        for (int turn = 0; turn < 2000; turn++) {
                struct buddyclient_range range;
                cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE << (turn % 8), &range), 0);
                cr_assert_eq(buddyclient_release(client, &range), 0);
        }
        expect_sound(&scene);
        process_kill(stopped);
        await_held(client, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* Out of descriptors for seconds, with strangers at the door all the time: hundredths of a processor at most. */
Test(crowd, no_descriptors_left_costs_next_to_nothing) {
        struct scene scene;
        int strangers[100];
        scene_open(&scene);
        scene.fd_limit = 64;
        scene_start(&scene, "--size", "1M", "--workers", "1", NULL);
        for (size_t each = 0; each < 100; each++)
                strangers[each] = raw_connect(&scene);
        scene_await_line(&scene, "cannot accept connections now");
        double cpu = scene_daemon_cpu(&scene);
        poll(NULL, 0, 4000);
        double spent = scene_daemon_cpu(&scene) - cpu;
        if (!E2E_SANITIZED)
                cr_expect_leq(spent, 0.04, "%f s of processor in 4 s", spent);
        for (size_t each = 0; each < 100; each++)
                close(strangers[each]);
        struct buddyclient *late = client_new(&scene);
        buddyclient_destroy(late);
        scene_close(&scene);
}

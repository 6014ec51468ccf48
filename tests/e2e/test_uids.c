/* Waiters of several uids take turns, and the socket's mode keeps users out. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "harness.h"

TestSuite(uids, .timeout = 60);

static void fill(struct buddyclient *client, struct buddyclient_range *ranges, size_t count) {
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, count, ranges), 0);
}

static void pipe_open(int ends[2]) {
        cr_assert(pipe(ends) == 0);
}

/* A process of another uid that waits and then keeps what it got. */
static pid_t foreign_waiter(
        const struct scene *scene, uid_t uid, uint64_t length, int fd, int letter) {
        pid_t process = process_fork();
        if (process != 0)
                return process;
        struct buddyclient_range range;
        if (setgid(uid) != 0 || setuid(uid) != 0)
                _exit(3);
        struct buddyclient *client = client_try(scene);
        if (!client || buddyclient_alloc_wait(client, length, -1, &range) != 0)
                _exit(1);
        byte_write(fd, letter);
        for (;;)
                pause();
}

Test(uids, uids_take_turns) {
        struct scene scene;
        struct buddyclient_range pages[16];
        pid_t processes[7];
        char served[8] = "";
        int ends[2];
        if (geteuid() != 0)
                cr_skip_test("needs to become other users");
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", "--socket-mode", "0666", NULL);
        struct buddyclient *owner = client_new(&scene);
        fill(owner, pages, 16);
        pipe_open(ends);
        for (int each = 0; each < 7; each++) {
                uid_t uid = each < 4 ? 12345 : 12346;
                processes[each] = foreign_waiter(&scene, uid, 1, ends[1], each < 4 ? 'A' : 'B');
                await_waiters(owner, (uint64_t)each + 1);
        }
        for (int each = 0; each < 7; each++) {
                cr_assert_eq(buddyclient_release(owner, &pages[each]), 0);
                served[each] = (char)byte_read(ends[0]);
        }
        cr_assert(strcmp(served, "ABABABA") == 0 || strcmp(served, "BABABAA") == 0,
                "served in the order %s", served);
        for (int each = 0; each < 7; each++)
                process_kill(processes[each]);
        await_held(owner, 9 * SCENE_PAGE);
        buddyclient_destroy(owner);
        scene_close(&scene);
}

Test(uids, a_huge_wait_does_not_hold_up_another_user) {
        struct scene scene;
        struct buddyclient_range half, range;
        int ends[2];
        if (geteuid() != 0)
                cr_skip_test("needs to become other users");
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", "--socket-mode", "0666", NULL);
        struct buddyclient *owner = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(owner, 32768, &half), 0);
        cr_assert_eq(buddyclient_alloc(owner, 32768, &range), 0);
        pipe_open(ends);
        pid_t greedy = foreign_waiter(&scene, 12345, 65536, ends[1], 'G');
        await_waiters(owner, 1);
        pid_t modest = foreign_waiter(&scene, 12346, SCENE_PAGE, ends[1], 'M');
        await_waiters(owner, 2);
        cr_assert_eq(buddyclient_release(owner, &range), 0);
        cr_assert_eq(byte_read(ends[0]), 'M');
        await_waiters(owner, 1);
        process_kill(modest);
        cr_assert_eq(buddyclient_release(owner, &half), 0);
        cr_assert_eq(byte_read(ends[0]), 'G');
        process_kill(greedy);
        await_held(owner, 0);
        buddyclient_destroy(owner);
        scene_close(&scene);
}

Test(uids, another_user_is_kept_out_by_the_socket) {
        struct scene scene;
        if (geteuid() != 0)
                cr_skip_test("needs to become another user");
        scene_open(&scene);
        scene_start(&scene, "--size", "64K", "--socket-mode", "0600", NULL);
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient *client = NULL;
                if (setgid(12345) != 0 || setuid(12345) != 0 || buddyclient_new(&client) != 0)
                        _exit(3);
                buddyclient_set_socket(client, scene.socket);
                buddyclient_set_pool(client, scene.pool);
                buddyclient_set_timeout_ms(client, IMPATIENT_MS);
                int result = buddyclient_connect(client);
                _exit(result == -EACCES ? 0 : result == -ENOTCONN ? 1 : 2);
        }
        cr_assert_eq(process_wait(process), 0, "not -EACCES");
        scene_close(&scene);
}

/* A daemon of another user's to whom /proc shows only its own processes, one way or the other. */
static void hidden_client_is_served(const char *options) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        cr_assert_eq(mount("proc", "/proc", "proc", 0, options), 0);
        scene.uid = 12345;
        cr_assert_eq(chown(scene.folder, 12345, 12345), 0);
        scene_start(&scene, "--size", "1M", "--socket-mode", "0666", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient *own = client_try(&scene);
                _exit(!own || buddyclient_alloc(own, 1, &range) != 0);
        }
        cr_assert_eq(process_wait(process), 0);
        await_held(client, SCENE_PAGE);
        cr_assert_null(strstr(scene_errors(&scene), "warning"), "%s", scene_errors(&scene));
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(uids, clients_that_proc_hides_from_the_daemon_are_served) {
        if (geteuid() != 0 || !stage_private(64 * MIB))
                cr_skip_test("needs to become other users and to mount");
        hidden_client_is_served("hidepid=1");
        hidden_client_is_served("hidepid=2");
}

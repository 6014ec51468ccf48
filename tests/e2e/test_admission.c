/* Who is let into a pool: by uid and by group, to write or to read, and what those are told who are not. */
#include <criterion/criterion.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(admission, .timeout = 60);

enum { WRITER = 12345, READER = 12346, STRANGER = 12347, TEAM = 23456, AUDIENCE = 23457 };

static void scene_admit(struct scene *scene, const char *keys) {
        char path[128];
        if (geteuid() != 0)
                cr_skip_test("needs to become other users");
        scene_open(scene);
        snprintf(path, sizeof path, "%s/buddyd.conf", scene->folder);
        FILE *file = fopen(path, "w");
        cr_assert_not_null(file);
        fprintf(file, "[buddyd]\nsocket-mode = 0666\n[pool %s]\nsize = 1M\n%s", scene->pool, keys);
        fclose(file);
        scene_start(scene, "--config", path, NULL);
}

struct guest {
        uid_t uid;
        gid_t gid, other; /* other: a supplementary group; 0: none */
        bool read_only;
        const char *detail; /* that a refusal must have; NULL: any */
};

/* How connecting ends for such a process: 0 to 200, 201 for a refusal that does not say what to do. */
static int guest_connects(const struct scene *scene, struct guest guest) {
        pid_t process = process_fork();
        if (process == 0) {
                struct buddyclient *client = NULL;
                if (setgroups(guest.other != 0, &guest.other) != 0 || setgid(guest.gid) != 0 ||
                        setuid(guest.uid) != 0 || buddyclient_new(&client) != 0)
                        _exit(202);
                buddyclient_set_socket(client, scene->socket);
                buddyclient_set_pool(client, scene->pool);
                buddyclient_set_read_only(client, guest.read_only);
                int result = buddyclient_connect(client);
                if (result != 0 && guest.detail &&
                        !strstr(buddyclient_detail(client), guest.detail))
                        _exit(201);
                struct buddyclient_range range;
                if (result == 0 && !guest.read_only)
                        result = buddyclient_alloc(client, 1, &range);
                _exit(-result);
        }
        return process_wait(process);
}

Test(admission, without_lists_the_socket_decides) {
        struct scene scene;
        scene_admit(&scene, "");
        cr_expect_eq(guest_connects(&scene, (struct guest){STRANGER, STRANGER, 0, false, NULL}), 0);
        scene_close(&scene);
}

Test(admission, users_are_let_in_as_the_lists_say) {
        struct scene scene;
        scene_admit(&scene, "allow-users = 12345, root\nread-only-users = 12346\n");
        cr_expect_eq(guest_connects(&scene, (struct guest){WRITER, WRITER, 0, false, NULL}), 0);
        cr_expect_eq(guest_connects(&scene, (struct guest){WRITER, WRITER, 0, true, NULL}), 0);
        cr_expect_eq(guest_connects(&scene, (struct guest){READER, READER, 0, true, NULL}), 0);
        cr_expect_eq(guest_connects(
                             &scene, (struct guest){READER, READER, 0, false, "connect read-only"}),
                EACCES);
        cr_expect_eq(guest_connects(&scene, (struct guest){STRANGER, TEAM, 0, true, "allow-users"}),
                EACCES);
        cr_expect_eq(
                guest_connects(&scene, (struct guest){STRANGER, TEAM, 0, false, "allow-users"}),
                EACCES);
        scene_await_line(&scene, "(uid 12346): uid 12346 may only read pool");
        scene_await_line(&scene, "(uid 12347): uid 12347 is not admitted to pool");
        cr_expect_not_null(strstr(scene_errors(&scene), "refused pid "));
        struct buddyclient *root = client_new(&scene);
        await_held(root, 0);
        buddyclient_destroy(root);
        scene_close(&scene);
}

Test(admission, groups_count_also_supplementary_ones) {
        struct scene scene;
        scene_admit(&scene, "allow-groups = 23456\nread-only-groups = 23457\n");
        cr_expect_eq(guest_connects(&scene, (struct guest){STRANGER, TEAM, 0, false, NULL}), 0);
        cr_expect_eq(
                guest_connects(&scene, (struct guest){STRANGER, STRANGER, TEAM, false, NULL}), 0);
        cr_expect_eq(guest_connects(&scene,
                             (struct guest){STRANGER, STRANGER, AUDIENCE, false, "allow-groups"}),
                EACCES);
        cr_expect_eq(
                guest_connects(&scene, (struct guest){STRANGER, STRANGER, AUDIENCE, true, NULL}),
                0);
        cr_expect_eq(
                guest_connects(&scene, (struct guest){STRANGER, STRANGER, 0, true, NULL}), EACCES);
        scene_close(&scene);
}

/* An observer sees who holds what, so it is let in no further than a reader. */
Test(admission, observers_are_refused_like_everybody) {
        struct scene scene;
        scene_admit(&scene, "allow-users = 12345\n");
        pid_t process = process_fork();
        if (process == 0) {
                if (setgid(STRANGER) != 0 || setuid(STRANGER) != 0)
                        _exit(99);
                execl(program_buddyctl(), "buddyctl", "--socket", scene.socket, "--pool",
                        scene.pool, "clients", (char *)NULL);
                _exit(98);
        }
        cr_expect_eq(process_wait(process), 1);
        scene_close(&scene);
}

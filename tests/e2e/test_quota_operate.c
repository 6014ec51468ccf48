/* Limits as operators see them and set them, and who may. */
#include <criterion/criterion.h>
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bystander.h"

TestSuite(quota_operate, .timeout = 120);

enum { ALICE = 12345 };

/* What the file says of the whole daemon counts from SIGHUP on, like what it says of a pool. */
Test(quota_operate, limits_of_the_daemon_are_read_again) {
        struct scene scene;
        char path[128];
        scene_open(&scene);
        scene_start_limited(&scene, "user-connections = 100\n", "");
        snprintf(path, sizeof path, "%s/buddyd.conf", scene.folder);
        FILE *file = fopen(path, "w");
        cr_assert_not_null(file);
        fprintf(file,
                "[buddyd]\nsocket-mode = 0666\nuser-connections = 50\nclient-requests = 7\n[pool "
                "%s]\n"
                "size = 4M\n",
                scene.pool);
        fclose(file);
        kill(scene.daemon, SIGHUP);
        scene_await_line(&scene, "[buddyd]: user-connections is 50 now, was 100");
        const struct json *limits =
                json_member(ctl_json(&scene, "quota", "--json", NULL), "limits");
        cr_expect_eq(json_member(limits, "user-connections")->integer, 50);
        cr_expect_eq(json_member(limits, "client-requests")->integer, 7);
        cr_expect_eq(json_member(limits, "client-output")->integer, 65536);
        ctl_refused(&scene, 1, "quota", "--set", "client-requests=0", NULL);
        ctl_refused(&scene, 1, "quota", "--set", "client-output=share", NULL);
        cr_expect_eq(ctl(&scene, "quota", "--set", "client-output=128K", NULL)->status, 0);
        scene_close(&scene);
}

Test(quota_operate, buddyctl_shows_and_sets) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start_limited(&scene, "", "user-bytes = 2M\n");
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, MIB, &range), 0);
        const struct json *quota = ctl_json(&scene, "quota", "--json", NULL);
        const struct json *limits = json_member(quota, "limits");
        cr_assert_eq(json_member(limits, "user-bytes")->integer, 2 * MIB);
        cr_assert_str_eq(json_member(limits, "client-bytes")->text, "none");
        cr_assert_str_eq(json_member(limits, "user-keys")->text, "share");
        cr_assert_eq(ctl(&scene, "quota", "--set", "user-bytes=1M", NULL)->status, 0);
        cr_assert_eq(buddyclient_alloc(client, 1, &range), -EDQUOT);
        cr_assert_eq(ctl(&scene, "quota", "--set", "user-bytes=none", NULL)->status, 0);
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        const struct run *shown = ctl(&scene, "quota", NULL);
        cr_assert_eq(shown->status, 0);
        cr_assert(strstr(shown->out, "user-connections") && strstr(shown->out, "CONNECTIONS"), "%s",
                shown->out);
        ctl_refused(&scene, 2, "quota", "--set", "user-bytes", NULL);
        ctl_refused(&scene, 2, "quota", "--set", "nonsense=1", NULL);
        ctl_refused(&scene, 2, "quota", "--set", "user-bytes=much", NULL);
        ctl_refused(&scene, 1, "quota", "--set", "client-bytes=share", NULL);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* buddyctl as a user of this group; its exit status. */
static int set_as(const struct scene *scene, gid_t group, const char *pool, const char *setting) {
        pid_t process = process_fork();
        if (process == 0) {
                if (setgroups(0, NULL) != 0 || setgid(group) != 0 || setuid(ALICE) != 0 ||
                        !freopen("/dev/null", "w", stderr))
                        _exit(126);
                execl(program_buddyctl(), "buddyctl", "--socket", scene->socket, "--pool", pool,
                        "quota", "--set", setting, NULL);
                _exit(127);
        }
        return process_wait(process);
}

/* Who operates one pool does not thereby decide about the others. */
Test(quota_operate, limits_of_all_pools_are_for_those_who_operate_all) {
        struct scene scene;
        char pools[200], second[80];
        if (geteuid() != 0)
                cr_skip_test("needs to become other users");
        scene_open(&scene);
        snprintf(second, sizeof second, "%.60s-2", scene.pool);
        snprintf(pools, sizeof pools,
                "admin-group = 4242\n[pool %s]\nsize = 1M\nadmin-group = 4343\n", second);
        scene_start_limited(&scene, "", pools);
        cr_expect_eq(set_as(&scene, 4242, scene.pool, "user-keys=3"), 0);
        cr_expect_eq(set_as(&scene, 4242, second, "user-keys=3"), 1);
        cr_expect_eq(set_as(&scene, 4242, scene.pool, "user-connections=1"), 1);
        cr_expect_eq(set_as(&scene, 4242, scene.pool, "user-buffers=1M"), 1);
        const struct json *quota = ctl_json(&scene, "quota", "--json", NULL);
        const struct json *limits = json_member(quota, "limits");
        cr_expect_eq(json_member(limits, "user-keys")->integer, 3);
        cr_expect_str_eq(json_member(limits, "user-connections")->text, "share");
        cr_expect_str_eq(json_member(limits, "user-buffers")->text, "share");
        cr_expect_eq(set_as(&scene, 0, scene.pool, "user-connections=1"), 1);
        cr_expect_eq(ctl(&scene, "quota", "--set", "user-buffers=1M", NULL)->status, 0);
        scene_await_line(&scene, "user-buffers is 1M now, set by pid ");
        cr_expect(strstr(scene_errors(&scene), "user-keys is 3 now, set by pid "));
        scene_close(&scene);
}

/* Not even root could come and raise it. */
Test(quota_operate, no_connections_at_all_is_no_limit) {
        struct scene scene;
        scene_open(&scene);
        scene_start_limited(&scene, "", "");
        ctl_refused(&scene, 1, "quota", "--set", "user-connections=0", NULL);
        cr_assert_eq(ctl(&scene, "ping", NULL)->status, 0);
        cr_assert_eq(ctl(&scene, "quota", "--set", "user-connections=1", NULL)->status, 0);
        struct buddyclient *client = NULL;
        for (uint64_t end = now_ms() + PATIENCE_MS; !client && now_ms() < end;)
                client = client_try(&scene); /* until buddyctl's own connection is gone */
        cr_assert_not_null(client);
        ctl_refused(&scene, 1, "ping", NULL);
        buddyclient_destroy(client);
        scene_close(&scene);
}

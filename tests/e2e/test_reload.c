/* SIGHUP rereads the config file; and who may operate a pool. */
#include <criterion/criterion.h>
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(reload, .timeout = 60);

static void config_write(const struct scene *scene, const char *daemon, const char *pool) {
        char path[120];
        snprintf(path, sizeof path, "%s/config", scene->folder);
        FILE *file = fopen(path, "w");
        cr_assert_not_null(file);
        fprintf(file, "[buddyd]\n%s\n[pool %s]\n%s\n", daemon, scene->pool, pool);
        fclose(file);
}

static void start(struct scene *scene, const char *daemon, const char *pool) {
        char path[120];
        scene_open(scene);
        snprintf(path, sizeof path, "%s/config", scene->folder);
        config_write(scene, daemon, pool);
        scene_start(scene, "--config", path, NULL);
}

static unsigned lines_with(const struct scene *scene, const char *text) {
        unsigned count = 0;
        for (const char *at = scene_errors(scene); (at = strstr(at, text)); at += strlen(text))
                count++;
        return count;
}

/* Until it has said once more that it is done. */
static void reread(const struct scene *scene, const char *said) {
        unsigned before = lines_with(scene, said);
        uint64_t deadline = now_ms() + PATIENCE_MS;
        kill(scene->daemon, SIGHUP);
        while (lines_with(scene, said) == before)
                cr_assert(now_ms() < deadline, "no such line: %s\n%s", said, scene_errors(scene));
}

/* buddyctl as a user of these groups; its exit status. */
static int ctl_as(const struct scene *scene, gid_t primary, gid_t other, const char *command) {
        pid_t process = process_fork();
        if (process == 0) {
                if (setgroups(1, &other) != 0 || setgid(primary) != 0 || setuid(12345) != 0 ||
                        !freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
                        _exit(126);
                execl(program_buddyctl(), "buddyctl", "--socket", scene->socket, "--pool",
                        scene->pool, command, NULL);
                _exit(127);
        }
        return process_wait(process);
}

Test(reload, says_what_was_applied_and_what_needs_a_restart) {
        struct scene scene;
        start(&scene, "workers = 1", "size = 4M\nmax-size = 8M\ncommit = lazy");
        reread(&scene, "nothing has changed");
        config_write(&scene, "workers = 2\nadmin-group = 4242",
                "size = 8M\nmax-size = 8M\ncommit = lazy\ntrim-after = 30\ngrace = 3\nkeep = yes");
        reread(&scene, "4 changes applied, 2 need a restart");
        const char *said = scene_errors(&scene);
        cr_assert(strstr(said, "admin-group is 4242 now, was none"));
        cr_assert(strstr(said, "trim-after is 30 s now, was off"));
        cr_assert(strstr(said, "grace is 3 now, was 10"));
        cr_assert(strstr(said, "keep is yes now, was no"));
        cr_assert(strstr(said, "workers stays 1, as 2 needs a restart"));
        cr_assert(strstr(said, "size stays 4M, as 8M needs a restart"));
        cr_assert(strstr(said, "buddyctl grow 8M"));
        reread(&scene, "0 changes applied, 2 need a restart");
        config_write(&scene, "workers = 1", "size = 4M\nmax-size = 8M\ncommit = lazy");
        reread(&scene, "4 changes applied, 0 need a restart");
        scene_close(&scene);
}

Test(reload, pools_that_come_and_go_need_a_restart) {
        struct scene scene;
        start(&scene, "", "size = 1M\n[pool extra]\nsize = 1M\nbacking = memfd");
        config_write(&scene, "", "size = 1M\n[pool another]\nsize = 1M");
        reread(&scene, "0 changes applied, 2 need a restart");
        cr_assert(strstr(scene_errors(&scene), "pool 'extra': the pool stays served"));
        cr_assert(strstr(scene_errors(&scene), "pool 'another': the pool stays unserved"));
        scene_close(&scene);
}

Test(reload, a_bad_file_changes_nothing) {
        struct scene scene;
        static const char *const bad[] = {"trim-after = 5\ncommit = lazy\nnonsense = 1",
                "commit = lazy\ntrim-after = never", "size = 3", "no key at all",
                "admin-group = such-a-group-is-not-there"};
        start(&scene, "", "size = 1M\ncommit = lazy\ntrim-after = 60");
        for (size_t each = 0; each < sizeof bad / sizeof *bad; each++) {
                config_write(&scene, "", bad[each]);
                reread(&scene, "buddyd: error: ");
                cr_assert_eq(lines_with(&scene, "error: "), each + 1, "more than a line");
        }
        char path[120];
        snprintf(path, sizeof path, "%s/config", scene.folder);
        cr_assert_eq(unlink(path), 0);
        reread(&scene, "No such file");
        cr_assert_eq(lines_with(&scene, "changes applied"), 0);
        config_write(&scene, "", "size = 1M\ncommit = lazy\ntrim-after = 60");
        reread(&scene, "nothing has changed");
        scene_close(&scene);
}

Test(reload, keep_counts_at_the_end) {
        struct scene scene;
        start(&scene, "", "size = 1M\nkeep = no");
        config_write(&scene, "", "size = 1M\nkeep = yes");
        reread(&scene, "1 changes applied");
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        cr_assert_eq(scene_shm_count(&scene), 2);
        scene_start(&scene, "--size", "1M", NULL);
        scene_close(&scene);
}

Test(reload, without_a_file_there_is_nothing_to_read) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        reread(&scene, "no config file to read again");
        scene_close(&scene);
}

/* Many at once, and beside clients. */
Test(reload, hang_ups_end_nothing) {
        struct scene scene;
        struct buddyclient_range range;
        start(&scene, "", "size = 1M");
        struct buddyclient *client = client_new(&scene);
        for (int each = 0; each < 200; each++) {
                kill(scene.daemon, SIGHUP);
                cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
                cr_assert_eq(buddyclient_release(client, &range), 0);
        }
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* ---- Who may operate ---- */

Test(reload, members_of_the_admin_group_operate) {
        struct scene scene;
        static const char *const commands[] = {"drain", "trim", "check"};
        if (geteuid() != 0)
                cr_skip_test("needs to become another user");
        start(&scene, "socket-mode = 0666", "size = 4M\ncommit = lazy");
        for (size_t each = 0; each < 3; each++)
                cr_assert_eq(ctl_as(&scene, 4242, 4243, commands[each]), 1, "%s", commands[each]);
        cr_assert(strstr(scene_errors(&scene), "drain of pool"));
        cr_assert(strstr(scene_errors(&scene), "not uid 12345"));
        config_write(&scene, "socket-mode = 0666\nadmin-group = 4242", "size = 4M\ncommit = lazy");
        reread(&scene, "1 changes applied");
        for (size_t each = 0; each < 3; each++) {
                cr_assert_eq(ctl_as(&scene, 4242, 4243, commands[each]), 0, "%s", commands[each]);
                cr_assert_eq(ctl_as(&scene, 4243, 4242, commands[each]), 0, "%s", commands[each]);
                cr_assert_eq(ctl_as(&scene, 4244, 4243, commands[each]), 1, "%s", commands[each]);
        }
        cr_assert(strstr(scene_errors(&scene), "members of group 4242 may do this"));
        /* The pool's own group counts, not the daemon's. */
        config_write(&scene, "socket-mode = 0666\nadmin-group = 4242",
                "size = 4M\ncommit = lazy\nadmin-group = 4244");
        reread(&scene, "1 changes applied");
        cr_assert_eq(ctl_as(&scene, 4242, 4243, "check"), 1);
        cr_assert_eq(ctl_as(&scene, 4244, 4243, "check"), 0);
        cr_assert_eq(ctl(&scene, "drain", "--off", NULL)->status, 0);
        scene_close(&scene);
}

/* Who may operate a pool may look at it, be he admitted to its memory or not. */
Test(reload, an_operator_needs_no_admission) {
        struct scene scene;
        if (geteuid() != 0)
                cr_skip_test("needs to become another user");
        start(&scene, "socket-mode = 0666\nadmin-group = 4242", "size = 4M\nallow-users = 777");
        cr_assert_eq(ctl_as(&scene, 4242, 4243, "drain"), 0);
        cr_assert_eq(ctl_as(&scene, 4243, 4243, "drain"), 1);
        cr_assert_eq(ctl_as(&scene, 4243, 4243, "stats"), 1);
        config_write(&scene, "socket-mode = 0666\nadmin-group = 4242",
                "size = 4M\nallow-users = 778\nscrub = yes");
        reread(&scene, "0 changes applied, 2 need a restart");
        scene_close(&scene);
}

Test(reload, strangers_operate_nothing) {
        struct scene scene;
        char id[16];
        if (geteuid() != 0)
                cr_skip_test("needs to become another user");
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--max-size", "8M", "--commit", "lazy", "--socket-mode",
                "0666", NULL);
        struct buddyclient *client = client_new(&scene);
        snprintf(id, sizeof id, "%u", buddyclient_id(client));
        scene.uid = 12345;
        ctl_refused(&scene, 1, "kick", id, NULL);
        ctl_refused(&scene, 1, "kick", "9999", NULL);
        ctl_refused(&scene, 1, "drain", NULL);
        ctl_refused(&scene, 1, "drain", "--off", NULL);
        ctl_refused(&scene, 1, "trim", NULL);
        cr_assert(strstr(ctl_refused(&scene, 1, "grow", "8M", NULL), "only root"));
        scene.uid = 0;
        cr_assert_eq(stats_of(client).size_bytes, 4 * MIB);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(reload, each_limit_that_the_file_changes_counts_at_once) {
        struct scene scene;
        start(&scene, "user-connections = 40", "size = 4M\nuser-keys = 5\nuser-bytes = 1M");
        cr_assert_eq(ctl(&scene, "quota", "--set", "user-bytes=2M", NULL)->status, 0);
        config_write(&scene, "user-connections = 50", "size = 4M\nuser-keys = 6\nuser-bytes = 1M");
        reread(&scene, "2 changes applied, 0 need a restart");
        const char *said = scene_errors(&scene);
        cr_expect(strstr(said, "[buddyd]: user-connections is 50 now, was 40"), "%s", said);
        cr_expect(strstr(said, "user-keys is 6 now, was 5"), "%s", said);
        const struct json *limits =
                json_member(ctl_json(&scene, "quota", "--json", NULL), "limits");
        cr_expect_eq(json_member(limits, "user-connections")->integer, 50);
        cr_expect_eq(json_member(limits, "user-keys")->integer, 6);
        cr_expect_eq(json_member(limits, "user-bytes")->integer, 2 * MIB,
                "set by hand, and the file says what it said");
        reread(&scene, "nothing has changed");
        scene_close(&scene);
}

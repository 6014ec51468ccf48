/* buddyctl doctor finds what is really wrong, its command mends it, and it is content with what is well; and the limits of
 * buddyctl check. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

TestSuite(doctor, .timeout = 90);

static bool stage(void) {
        if (stage_private(64 * MIB))
                return true;
        cr_skip_test("needs a mount namespace of its own");
        return false;
}

static const struct json *doctor(const struct scene *scene, int status) {
        const struct run *run = ctl(scene, "doctor", "--json", NULL);
        cr_assert_eq(run->status, status, "%d: %s%s", run->status, run->out, run->err);
        const struct json *document = json_parse(run->out, NULL);
        cr_assert_not_null(document, "%s", run->out);
        cr_expect_eq(json_member(document, "ok")->truth, status == 0);
        cr_expect_eq(json_member(document, "daemon_answers")->truth, status != 3);
        return document;
}

static const struct json *finding(const struct json *document, const char *name) {
        const struct json *each = json_member(document, "findings")->first;
        while (each && strcmp(json_member(each, "name")->text, name) != 0)
                each = each->next;
        cr_assert_not_null(each, "nothing about %s", name);
        return each;
}

static void expect_state(const struct json *document, const char *name, const char *state) {
        const struct json *found = finding(document, name);
        cr_expect_str_eq(json_member(found, "state")->text, state, "%s: %s", name,
                json_member(found, "said")->text);
        bool wrong = strcmp(state, "wrong") == 0;
        cr_expect_eq(json_member(found, "mend")->text[0] != '\0', wrong);
}

/* Runs what the doctor says. */
static void mend(const struct json *document, const char *name) {
        const char *command = json_member(finding(document, name), "mend")->text;
        cr_assert_eq(system(command), 0, "%s", command);
}

Test(doctor, is_content_with_what_is_well) {
        static const char *const backings[] = {"posix-shm", "memfd"};
        if (!stage())
                return;
        for (size_t i = 0; i < 2; i++) {
                struct scene scene;
                scene_open(&scene);
                scene_start(&scene, "--size", "8M", "--backing", backings[i], NULL);
                const struct json *document = doctor(&scene, 0);
                static const char *const names[] = {
                        "socket", "daemon", "descriptors", "backing", "seals", "memory", "left"};
                for (size_t k = 0; k < sizeof names / sizeof *names; k++)
                        expect_state(document, names[k], "ok");
                const struct run *run = ctl(&scene, "doctor", NULL);
                cr_assert_eq(run->status, 0);
                cr_expect_null(strstr(run->out, "mend:"), "%s", run->out);
                scene_close(&scene);
        }
}

Test(doctor, finds_a_socket_that_is_open_to_all) {
        if (!stage())
                return;
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--socket-mode", "0666", NULL);
        const struct json *document = doctor(&scene, 4);
        expect_state(document, "socket", "wrong");
        mend(document, "socket");
        expect_state(doctor(&scene, 0), "socket", "ok");
        scene_close(&scene);
}

Test(doctor, finds_too_few_descriptors) {
        if (!stage())
                return;
        struct scene scene;
        scene_open(&scene);
        scene.fd_limit = 100;
        scene_start(&scene, "--size", "4M", NULL);
        const struct json *document = doctor(&scene, 4);
        expect_state(document, "descriptors", "wrong");
        const struct json *found = finding(document, "descriptors");
        cr_expect_not_null(strstr(json_member(found, "mend")->text, "prlimit --pid "));
        scene_close(&scene);
}

Test(doctor, finds_dev_shm_too_small_for_what_a_lazy_pool_may_need) {
        if (!stage())
                return;
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "128M", "--commit", "lazy", NULL);
        const struct json *document = doctor(&scene, 4);
        expect_state(document, "/dev/shm", "wrong");
        mend(document, "/dev/shm");
        expect_state(doctor(&scene, 0), "/dev/shm", "ok");
        scene_close(&scene);
}

Test(doctor, finds_what_a_dead_daemon_left) {
        if (!stage())
                return;
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        scene_kill(&scene);
        const struct json *document = doctor(&scene, 3);
        expect_state(document, "daemon", "wrong");
        expect_state(document, "left", "wrong");
        expect_state(document, "memory", "ok");
        cr_expect_not_null(
                strstr(json_member(finding(document, "left"), "said")->text, scene.pool));
        mend(document, "left");
        cr_expect_eq(scene_shm_count(&scene), 0);
        expect_state(doctor(&scene, 3), "left", "ok");
}

Test(doctor, finds_a_pool_that_several_users_could_cut) {
        if (geteuid() != 0)
                cr_skip_test("needs to be root, to be somebody else");
        if (!stage())
                return;
        struct scene scene;
        int ready[2], done[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--socket-mode", "0666", NULL);
        struct buddyclient *mine = client_new(&scene);
        cr_assert_eq(pipe(ready) | pipe(done), 0);
        pid_t other = process_fork();
        if (other == 0) {
                struct buddyclient *client = setuid(65534) == 0 ? client_try(&scene) : NULL;
                byte_write(ready[1], client != NULL);
                byte_read(done[0]);
                buddyclient_destroy(client);
                _exit(0);
        }
        cr_assert_eq(byte_read(ready[0]), 1);
        expect_state(doctor(&scene, 4), "backing", "wrong");
        byte_write(done[1], 1);
        cr_assert_eq(process_wait(other), 0);
        buddyclient_destroy(mine);
        scene_await_figure(&scene, "clients", 0);
        expect_state(doctor(&scene, 4), "backing", "ok");
        scene_close(&scene);
}

Test(doctor, knows_when_there_is_no_such_pool) {
        if (!stage())
                return;
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        const char *const words[] = {
                program_buddyctl(), "--socket", scene.socket, "--pool", "none", "doctor", NULL};
        const struct run *run = program_run(&scene, words);
        cr_expect_eq(run->status, 4);
        cr_expect_not_null(strstr(run->out, "no pool 'none'"), "%s", run->out);
        scene_close(&scene);
}

/* ---- check with limits ---- */

Test(doctor, limits_are_compared_with_the_pool) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        const struct json *document = ctl_json(&scene, "check", "--json", "--min-largest", "4M",
                "--max-unusable", "0@10", "--max-unusable", "0.5@0", NULL);
        cr_expect(json_member(document, "ok")->truth);
        cr_expect_eq(json_member(document, "thresholds")->count, 3);

        cr_assert_eq(ctl(&scene, "alloc", "4K", NULL)->status, 0);
        const struct run *run = ctl(&scene, "check", "--min-largest", "4M", "--max-unusable",
                "0@10", "--max-unusable", "0.5@9", NULL);
        cr_expect_eq(run->status, 4);
        cr_expect_str_eq(run->out, "FAULT  largest free block: 2 MiB, at least 4 MiB\n"
                                   "FAULT  unusable at order 10: 1.000, at most 0.000\n"
                                   "ok     unusable at order 9: 0.500, at most 0.500\n");
        cr_expect_eq(ctl(&scene, "check", "--min-largest", "2M", NULL)->status, 0);
        run = ctl(&scene, "check", "--min-largest", "3M", "--json", NULL);
        cr_expect_eq(run->status, 4);
        document = json_parse(run->out, NULL);
        cr_assert_not_null(document);
        cr_expect_not(json_member(document, "ok")->truth);
        const struct json *limit = json_member(document, "thresholds")->first;
        cr_expect_eq(json_member(limit, "figure")->integer, 2 * MIB);
        cr_expect_eq(json_member(limit, "limit")->integer, 3 * MIB);
        cr_assert_eq(ctl(&scene, "free", "0", NULL)->status, 0);
        scene_close(&scene);
}

Test(doctor, limits_need_no_rights) {
        if (geteuid() != 0)
                cr_skip_test("needs to be root, to be somebody else");
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--socket-mode", "0666", NULL);
        scene.uid = 65534;
        cr_expect_eq(ctl(&scene, "check", NULL)->status, 1);
        cr_expect_eq(ctl(&scene, "check", "--min-largest", "1M", NULL)->status, 0);
        scene.uid = 0;
        scene_close(&scene);
}

Test(doctor, limits_that_are_none_are_usage_errors) {
        static const char *const wrong[][4] = {{"--min-largest", "much"}, {"--min-largest", "-1"},
                {"--max-unusable", "0.5"}, {"--max-unusable", "0.5@"}, {"--max-unusable", "@3"},
                {"--max-unusable", "1.5@3"}, {"--max-unusable", "0.5@3x"},
                {"--max-unusable", "-0.5@3"}, {"--max-unusable", "0.5@11"},
                {"--min-largest", "1M", "--offline"}};
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                ctl_refused(&scene, 2, "check", wrong[i][0], wrong[i][1], wrong[i][2], NULL);
        scene_close(&scene);
        ctl_refused(&scene, 3, "check", "--min-largest", "1M", NULL);
}

/* As another user; what it prints. */
static const char *doctor_as(const struct scene *scene, uid_t uid) {
        static char text[4096];
        int ends[2];
        cr_assert_eq(pipe(ends), 0);
        pid_t process = process_fork();
        if (process == 0) {
                if (dup2(ends[1], STDOUT_FILENO) < 0 || setgid(uid) != 0 || setuid(uid) != 0)
                        _exit(126);
                execl(program_buddyctl(), "buddyctl", "--socket", scene->socket, "doctor", NULL);
                _exit(127);
        }
        close(ends[1]);
        FILE *out = fdopen(ends[0], "r");
        text[fread(text, 1, sizeof text - 1, out)] = '\0';
        fclose(out);
        cr_expect_eq(process_wait(process), 3);
        return text;
}

/* The group of a socket helps only where the group may connect. */
Test(doctor, tells_who_may_not_connect_what_helps) {
        struct scene scene;
        if (geteuid() != 0)
                cr_skip_test("needs to become other users");
        scene_open(&scene);
        scene_start(&scene, "--size", "8M", NULL);
        const char *said = doctor_as(&scene, 12345);
        cr_expect(strstr(said, "mend: sudo -u $(stat -c %U "), "%s", said);
        cr_assert_eq(chmod(scene.socket, 0660), 0);
        said = doctor_as(&scene, 12345);
        cr_expect(strstr(said, "mend: usermod -aG $(stat -c %G "), "%s", said);
        scene_close(&scene);
}

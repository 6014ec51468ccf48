/* kick: a session that an operator ends, in whatever state its client is. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "wire.h"

TestSuite(kick, .timeout = 60);

#define SIZE "4M"

static const char *id_text(struct buddyclient *client) {
        static char text[16];
        snprintf(text, sizeof text, "%u", buddyclient_id(client));
        return text;
}

/* Every call of a client that was ended answers so, for good. */
static bool is_ended(struct buddyclient *client, const struct buddyclient_range *range) {
        struct buddyclient_range other = {0};
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        for (int round = 0; round < 2; round++) {
                if (buddyclient_alloc(client, 1, &other) != -ENOTCONN ||
                        !strstr(buddyclient_detail(client), "operator") ||
                        buddyclient_alloc_wait(client, 1, 100, &other) != -ENOTCONN ||
                        buddyclient_release(client, range) != -ENOTCONN ||
                        buddyclient_attach(client, range) != -ENOTCONN ||
                        buddyclient_stats(client, &stats) != -ENOTCONN ||
                        !strstr(buddyclient_detail(client), "operator"))
                        return false;
        }
        return true;
}

Test(kick, a_connected_client_is_ended_and_its_ranges_return_at_once) {
        struct scene scene;
        struct buddyclient_range ranges[100], shared;
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        struct buddyclient *other = client_new(&scene), *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 100, ranges), 0);
        cr_assert_eq(buddyclient_alloc(other, SCENE_PAGE, &shared), 0);
        cr_assert_eq(buddyclient_attach(client, &shared), 0);
        const struct json *said = ctl_json(&scene, "kick", id_text(client), "--json", NULL);
        cr_assert_eq(json_member(said, "ranges")->integer, 101);
        cr_assert_eq(json_member(said, "freed_bytes")->integer, 100 * (int64_t)SCENE_PAGE);
        expect_held(other, SCENE_PAGE);
        cr_assert(is_ended(client, &ranges[0]));
        memset(buddyclient_pointer(client, &ranges[0]), 1, SCENE_PAGE); /* memory, still */
        cr_assert_eq(buddyclient_release(other, &shared), 0);
        cr_assert(strstr(scene_errors(&scene), "is ended by uid"));
        cr_assert(strstr(scene_errors(&scene), "was ended by an operator: returned 101 ranges"));
        expect_sound(&scene);
        buddyclient_destroy(client);
        buddyclient_destroy(other);
        scene_close(&scene);
}

Test(kick, what_a_client_has_in_its_cache_returns_too_and_the_cache_is_shut) {
        struct scene scene;
        struct buddyclient_range ranges[64];
        scene_open(&scene);
        scene_start(&scene, "--size", "64M", NULL);
        struct buddyclient *other = client_new(&scene), *client = client_caching(&scene);
        for (int round = 0; round < 8; round++) {
                for (int each = 0; each < 64; each++)
                        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &ranges[each]), 0);
                for (int each = 0; each < (round < 7 ? 64 : 32); each++)
                        cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
        }
        cr_assert_gt(stats_of(other).cached_bytes, 0);
        cr_assert_eq(ctl(&scene, "kick", id_text(client), NULL)->status, 0);
        struct buddyclient_stats stats = stats_of(other);
        cr_assert_eq(stats.held_bytes + stats.cached_bytes, 0);
        for (int each = 32; each < 64; each++)
                cr_assert_eq(buddyclient_release(client, &ranges[each]), -ENOTCONN);
        cr_assert(is_ended(client, &ranges[40]));
        expect_sound(&scene);
        buddyclient_destroy(client);
        buddyclient_destroy(other);
        scene_close(&scene);
}

/* A process that holds 20 pages, of which 10 may lie in its cache, and finds itself ended when it is told to look. */
struct target {
        pid_t process;
        int orders[2], answers[2];
        unsigned id;
};

static int target_run(const struct scene *scene, struct target *target) {
        struct buddyclient_range ranges[20];
        struct buddyclient *client = client_caching(scene);
        for (int each = 0; client && each < 20; each++)
                if (buddyclient_alloc(client, 1, &ranges[each]) != 0)
                        return 1;
        for (int each = 0; client && each < 10; each++)
                if (buddyclient_release(client, &ranges[each]) != 0)
                        return 2;
        byte_write(target->answers[1], client ? (int)buddyclient_id(client) : 0);
        if (byte_read(target->orders[0]) != 'L')
                return 3;
        return is_ended(client, &ranges[15]) ? 0 : 4;
}

static void target_start(struct target *target, const struct scene *scene) {
        cr_assert(pipe(target->orders) == 0 && pipe(target->answers) == 0);
        target->process = process_fork();
        if (target->process == 0)
                _exit(target_run(scene, target));
        target->id = (unsigned)byte_read(target->answers[0]);
        cr_assert(target->id > 1 && target->id < 256);
}

static void target_stop(const struct target *target) {
        siginfo_t info;
        cr_assert_eq(kill(target->process, SIGSTOP), 0);
        cr_assert_eq(waitid(P_PID, (id_t)target->process, &info, WSTOPPED), 0);
}

static void target_end(const struct target *target) {
        kill(target->process, SIGCONT);
        byte_write(target->orders[1], 'L');
        int status = process_wait(target->process);
        cr_assert_eq(status, 0, "%d", status);
}

static void target_kick(const struct scene *scene, const struct target *target) {
        char id[16];
        snprintf(id, sizeof id, "%u", target->id);
        const struct run *run = ctl(scene, "kick", id, NULL);
        cr_assert_eq(run->status, 0, "%s", run->err);
        cr_assert_eq(scene_figure(scene, "held_bytes") + scene_figure(scene, "cached_bytes"), 0);
}

Test(kick, a_stopped_process_loses_what_it_holds) {
        struct scene scene;
        struct target target;
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        target_start(&target, &scene);
        target_stop(&target);
        target_kick(&scene, &target);
        target_end(&target);
        scene_close(&scene);
}

Test(kick, a_stopped_process_that_lost_its_daemon_loses_what_it_holds_and_caches) {
        struct scene scene;
        struct target target;
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        target_start(&target, &scene);
        target_stop(&target);
        scene_kill(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        cr_assert_eq(scene_figure(&scene, "orphans"), 1);
        target_kick(&scene, &target);
        cr_assert_eq(scene_figure(&scene, "orphans"), 0);
        target_end(&target);
        scene_close(&scene);
}

Test(kick, who_waits_for_what_it_held_gets_it) {
        struct scene scene;
        struct buddyclient_range all;
        int ends[2];
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 4 * MIB, &all), 0);
        cr_assert(pipe(ends) == 0);
        pid_t waiter = process_fork();
        if (waiter == 0) {
                struct buddyclient *own = client_try(&scene);
                struct buddyclient_range range;
                _exit(!own || buddyclient_alloc_wait(own, 4 * MIB, -1, &range) != 0);
        }
        await_waiters(client, 1);
        cr_assert_eq(ctl(&scene, "kick", id_text(client), NULL)->status, 0);
        cr_assert_eq(process_wait(waiter), 0);
        cr_assert(is_ended(client, &all));
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(kick, a_client_that_waits_is_told) {
        struct scene scene;
        struct buddyclient_range all;
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 4 * MIB, &all), 0);
        int ends[2];
        cr_assert(pipe(ends) == 0);
        pid_t waiter = process_fork();
        if (waiter == 0) {
                struct buddyclient *own = client_try(&scene);
                struct buddyclient_range range;
                byte_write(ends[1], own ? (int)buddyclient_id(own) : 0);
                bool told = buddyclient_alloc_wait(own, 1, -1, &range) == -ENOTCONN &&
                            strstr(buddyclient_detail(own), "operator");
                _exit(told ? 0 : 1);
        }
        char id[16];
        snprintf(id, sizeof id, "%d", byte_read(ends[0]));
        await_waiters(client, 1);
        cr_assert_eq(ctl(&scene, "kick", id, NULL)->status, 0);
        cr_assert_eq(process_wait(waiter), 0);
        await_waiters(client, 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* The request that ends the session of the very connection it came on. */
Test(kick, a_client_may_end_itself) {
        struct scene scene;
        struct wire wire;
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, "--workers", "1", NULL);
        wire_open(&wire, &scene);
        struct reply_welcome welcome = wire_hello(&wire, &scene);
        for (int each = 0; each < 3; each++)
                wire_request(&wire,
                        (struct request){.kind = REQUEST_KICK, .kick.session = welcome.session});
        wire_expect_closed(&wire, 5000);
        wire_close(&wire);
        cr_assert_eq(scene_figure(&scene, "clients"), 0);
        scene_close(&scene);
}

Test(kick, who_is_not_there_is_not_kicked) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", SIZE, NULL);
        cr_assert(strstr(ctl_refused(&scene, 1, "kick", "12345", NULL), "no client 12345"));
        cr_assert(strstr(ctl_refused(&scene, 1, "kick", "4294967295", NULL), "no client"));
        cr_assert(strstr(ctl_refused(&scene, 1, "kick", "1", NULL), "operator"));
        static const char *const wrong[] = {"0", "-1", "x", "4294967296", "1.5", ""};
        for (size_t each = 0; each < sizeof wrong / sizeof *wrong; each++)
                ctl_refused(&scene, 2, "kick", wrong[each], NULL);
        ctl_refused(&scene, 2, "kick", NULL);
        ctl_refused(&scene, 2, "kick", "2", "3", NULL);
        struct buddyclient *client = client_new(&scene);
        char id[16];
        snprintf(id, sizeof id, "%s", id_text(client));
        cr_assert_eq(ctl(&scene, "kick", id, NULL)->status, 0);
        ctl_refused(&scene, 1, "kick", id, NULL);
        buddyclient_destroy(client);
        scene_close(&scene);
}

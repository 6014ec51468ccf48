/* Signals to the daemon: a stop is a stop however often it is asked for, and a terminal's end is none. */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

TestSuite(signals, .timeout = 60);

/* At every moment of its cleaning up another one comes. */
Test(signals, a_stop_is_not_cut_short_by_more_of_them) {
        struct scene scene;
        scene_open(&scene);
        for (int round = 0; round < 30; round++) {
                scene_start(&scene, "--size", "16M", NULL);
                int status = 0;
                pid_t daemon = scene.daemon;
                for (unsigned turn = 0; waitpid(daemon, &status, WNOHANG) == 0; turn++)
                        cr_assert_eq(kill(daemon, turn % 2 ? SIGINT : SIGTERM), 0);
                scene.daemon = 0;
                cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                        "round %d: wait status %#x", round, (unsigned)status);
                cr_assert_eq(scene_shm_count(&scene), 0);
        }
}

Test(signals, the_end_of_a_terminal_is_no_reason_to_stop) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(kill(scene.daemon, SIGHUP), 0);
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0);
        expect_held(client, SCENE_PAGE);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* A daemon of which nobody asks anything does nothing. */
#include <criterion/criterion.h>

#include "harness.h"

TestSuite(idle, .timeout = 60);

/* Once what clients have set going has run out; one of them is still there, and holds something. */
static void idles(const char *backing, const char *commit, bool connected) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--backing", backing, "--commit", commit, NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &range), 0);
        if (!connected)
                buddyclient_destroy(client);
        scene_await_idle(&scene);
        if (connected)
                buddyclient_destroy(client);
        scene_close(&scene);
}

Test(idle, wakes_nobody_while_it_is_idle) {
        idles("posix-shm", "eager", false);
        idles("posix-shm", "eager", true);
}

Test(idle, wakes_nobody_while_a_lazy_memfd_is_idle) {
        idles("memfd", "lazy", true);
}

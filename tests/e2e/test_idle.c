/* A daemon of which nobody asks anything does nothing. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "harness.h"

TestSuite(idle, .timeout = 60);

/* How often threads of the daemon have gone to sleep. */
static unsigned long sleeps(const struct scene *scene) {
        char path[300], line[256];
        unsigned long sum = 0, count;
        snprintf(path, sizeof path, "/proc/%d/task", (int)scene->daemon);
        DIR *tasks = opendir(path);
        cr_assert(tasks);
        for (const struct dirent *task; (task = readdir(tasks));) {
                snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", (int)scene->daemon,
                        task->d_name);
                FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "re");
                while (file && fgets(line, sizeof line, file))
                        if (sscanf(line, "voluntary_ctxt_switches: %lu", &count) == 1)
                                sum += count;
                if (file)
                        fclose(file);
        }
        closedir(tasks);
        return sum;
}

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
        uint64_t deadline = now_ms() + PATIENCE_MS;
        unsigned long before, after = sleeps(&scene);
        do {
                before = after;
                sleep(2);
                after = sleeps(&scene);
        } while (after != before && now_ms() < deadline);
        cr_assert_eq(after, before, "it wakes up %lu times in two seconds", after - before);
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

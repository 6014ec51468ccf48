/* Objects in /dev/shm that are foreign, cut short or bent: refused or taken over soundly, never overwritten unasked. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"

TestSuite(damage, .timeout = 60);

/* Somebody else's object under the pool's name is not ours to overwrite. */
Test(damage, a_foreign_object_is_not_taken_for_a_pool) {
        struct scene scene;
        char path[300];
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        cr_assert(scene_shm_find(&scene, MIB, path, sizeof path));
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        FILE *file = fopen(path, "w");
        fputs("not a segment", file);
        fclose(file);
        scene_refused(&scene, 1, "--size", "1M", NULL);
        struct stat info;
        cr_assert(stat(path, &info) == 0 && info.st_size == 13, "a foreign object was overwritten");
        scene_start(&scene, "--size", "1M", "--reset", NULL);
        scene_close(&scene);
}

static void ledger_path(const struct scene *scene, char *path, size_t size) {
        char segment[300];
        cr_assert(scene_shm_find(scene, 4 * MIB, segment, sizeof segment));
        char command[700];
        snprintf(command, sizeof command, "ls -d /dev/shm/*%s* | grep -v -x %s", scene->pool,
                segment);
        FILE *list = popen(command, "r");
        cr_assert_not_null(fgets(path, (int)size, list));
        pclose(list);
        path[strcspn(path, "\n")] = 0;
}

Test(damage, a_ledger_of_garbage_is_refused) {
        struct scene scene;
        char path[300];
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        ledger_path(&scene, path, sizeof path);
        scene_kill(&scene);
        int fd = open(path, O_RDWR);
        struct stat info;
        cr_assert(fd >= 0 && fstat(fd, &info) == 0);
        char page[4096];
        memset(page, 0xa5, sizeof page);
        cr_assert_eq(pwrite(fd, page, sizeof page, 0), (ssize_t)sizeof page);
        const char *line = scene_refused(&scene, 1, "--size", "4M", NULL);
        cr_assert_not_null(strstr(line, "--reset"), "names no mend: %s", line);
        close(fd);
        unlink(scene.socket);
        scene_start(&scene, "--size", "4M", "--reset", NULL);
        scene_close(&scene);
}

/* A daemon was killed before it wrote anything, and then memory ran out: not even the header can be touched. */
Test(damage, a_ledger_that_is_one_hole_on_a_full_shm_is_refused) {
        struct scene scene;
        char path[300];
        struct stat info;
        scene_open(&scene);
        if (!stage_private(32 * MIB))
                cr_skip_test("needs mount namespaces");
        scene_start(&scene, "--size", "4M", NULL);
        ledger_path(&scene, path, sizeof path);
        cr_assert(stat(path, &info) == 0);
        scene_kill(&scene);
        cr_assert(truncate(path, 0) == 0 && truncate(path, info.st_size) == 0);
        int filler = open("/dev/shm/filler", O_CREAT | O_RDWR, 0600);
        static char page[4096];
        while (write(filler, page, sizeof page) == (ssize_t)sizeof page)
                ;
        close(filler);
        const char *line = scene_refused(&scene, 1, "--size", "4M", NULL);
        cr_assert_not_null(strstr(line, "/dev/shm"), "names no cause: %s", line);
        cr_assert_not_null(strstr(line, "larger"), "names no mend: %s", line);
        unlink("/dev/shm/filler");
        scene_start(&scene, "--size", "4M", NULL);
        scene_close(&scene);
}

/* Only --reset throws contents away. */
Test(damage, a_ledger_cut_short_is_refused) {
        struct scene scene;
        char path[300];
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        cr_assert_eq(ctl(&scene, "alloc", "64K", NULL)->status, 0);
        ledger_path(&scene, path, sizeof path);
        scene_kill(&scene);
        cr_assert(truncate(path, 100) == 0);
        scene_refused(&scene, 1, "--size", "4M", NULL);
        scene_start(&scene, "--size", "4M", "--reset", NULL);
        scene_close(&scene);
}

/* Records that no daemon wrote: refused, or taken over into a pool that is sound; never a crash. */
Test(damage, bent_records_crash_nothing) {
        for (unsigned seed = 1; seed <= 12; seed++) {
                struct scene scene;
                char path[300];
                struct stat info;
                unsigned state = seed;
                scene_open(&scene);
                scene_start(&scene, "--size", "4M", NULL);
                for (int each = 0; each < 4; each++)
                        cr_assert_eq(
                                ctl(&scene, "alloc", each % 2 ? "64K" : "4K", NULL)->status, 0);
                ledger_path(&scene, path, sizeof path);
                scene_kill(&scene);
                int fd = open(path, O_RDWR | O_CLOEXEC);
                cr_assert(fd >= 0 && fstat(fd, &info) == 0);
                for (int each = 0; each < 200; each++) {
                        uint64_t word = (uint64_t)rand_r(&state) << 32 | (uint64_t)rand_r(&state);
                        uint64_t reach = seed % 3 == 0 ? 65536 : (uint64_t)info.st_size;
                        off_t place =
                                (off_t)((uint64_t)rand_r(&state) % (reach / 8 - 512) + 512) * 8;
                        cr_assert_eq(pwrite(fd, &word, 8, place), 8);
                }
                close(fd);
                bool served = scene_start_or_refuse(&scene, "--size", "4M", NULL);
                if (served) {
                        expect_sound(&scene);
                        scene_kill(&scene);
                } else {
                        expect_one_line(scene_errors(&scene), "a refusal of buddyd");
                }
                scene_start(&scene, "--size", "4M", "--reset", NULL);
                scene_close(&scene);
        }
}

/* The daemon's own records are bent while it runs: buddyctl check must see it. */
Test(damage, check_finds_a_fault) {
        struct scene scene;
        char path[300];
        struct stat info;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        ledger_path(&scene, path, sizeof path);
        int fd = open(path, O_RDWR);
        cr_assert(fd >= 0 && fstat(fd, &info) == 0);
        uint64_t size = (uint64_t)info.st_size;
        uint64_t *live = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        cr_assert(live != MAP_FAILED);
        uint64_t *before = malloc(size), *after = malloc(size);
        memcpy(before, live, size);
        cr_assert_eq(ctl(&scene, "alloc", "4K", NULL)->status, 0);
        memcpy(after, live, size);
        cr_assert(memcmp(before, after, size) != 0, "an alloc left no record");
        memcpy(live, before, size);
        const struct run *run = ctl(&scene, "check", NULL);
        cr_expect_eq(
                run->status, 4, "a lost record: status %d: %s%s", run->status, run->out, run->err);
        memcpy(live, after, size);
        cr_assert_eq(ctl(&scene, "check", NULL)->status, 0);
        munmap(live, size);
        free(before);
        free(after);
        close(fd);
        scene_close(&scene);
}

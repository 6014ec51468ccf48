/* Clients that maltreat the segment which they map: what it costs, and that it is noticed and mended. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bystander.h"

TestSuite(segment, .timeout = 60);

static off_t length_of(int fd) {
        struct stat status;
        cr_assert_eq(fstat(fd, &status), 0);
        return status.st_size;
}

static uint64_t resident_of(int fd) {
        struct stat status;
        cr_assert_eq(fstat(fd, &status), 0);
        return (uint64_t)status.st_blocks * 512;
}

static void await_resident(int fd, uint64_t bytes) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (resident_of(fd) < bytes)
                cr_assert_lt(now_ms(), deadline, "%lu bytes are behind it", resident_of(fd));
}

/* While no daemon runs nobody puts it back: the next one does, and holds are not lost with bytes. */
static void a_cut_segment_is_taken_over(const char *commit) {
        struct scene scene;
        struct wire wire;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--backing", "posix-shm", "--commit", commit, NULL);
        int segment = wire_segment(&wire, &scene);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, MIB, &range), 0);
        for (off_t length = 0; length <= (off_t)(8 * MIB); length += 8 * (off_t)MIB) {
                scene_kill(&scene);
                cr_assert_eq(ftruncate(segment, length), 0);
                scene_start(
                        &scene, "--size", "4M", "--backing", "posix-shm", "--commit", commit, NULL);
                scene_await_line(&scene, length ? "from 4M to 8M" : "from 4M to 0");
                cr_assert_eq(length_of(segment), (off_t)(4 * MIB));
                await_resident(segment, strcmp(commit, "eager") == 0 ? 4 * MIB : 2 * MIB);
                memset(buddyclient_pointer(client, &range), 1, MIB);
                expect_held(client, MIB);
        }
        cr_assert_eq(buddyclient_release(client, &range), 0);
        expect_sound(&scene);
        wire_close(&wire);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(segment, a_cut_eager_segment_is_taken_over) {
        a_cut_segment_is_taken_over("eager");
}

Test(segment, a_cut_lazy_segment_is_taken_over) {
        a_cut_segment_is_taken_over("lazy");
}

/* Who holds something and calls nobody, also behind a restart, would fault. */
Test(segment, a_cut_segment_is_put_back_while_nobody_asks) {
        struct scene scene;
        struct buddyclient_range range;
        char path[300];
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--backing", "posix-shm", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, MIB, &range), 0);
        cr_assert(scene_shm_find(&scene, 4 * MIB, path, sizeof path));
        int segment = open(path, O_RDWR | O_CLOEXEC);
        cr_assert_geq(segment, 0);
        for (int round = 0; round < 3; round++) {
                if (round == 1) {
                        scene_kill(&scene);
                        scene_start(&scene, "--size", "4M", "--backing", "posix-shm", NULL);
                }
                scene_await_idle(&scene);
                cr_assert_eq(ftruncate(segment, 0), 0);
                uint64_t deadline = now_ms() + PATIENCE_MS;
                while (length_of(segment) != (off_t)(4 * MIB))
                        cr_assert_lt(now_ms(), deadline, "round %d: it stays cut", round);
                memset(buddyclient_pointer(client, &range), 1, MIB);
        }
        cr_assert_eq(buddyclient_release(client, &range), 0);
        buddyclient_destroy(client);
        close(segment);
        scene_close(&scene);
}

/* The kernel does not tell of them. */
Test(segment, holes_in_a_memfd_are_filled_when_somebody_asks_again) {
        struct scene scene;
        struct wire wire;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--backing", "memfd", NULL);
        int segment = wire_segment(&wire, &scene);
        struct buddyclient *client = client_new(&scene);
        for (int round = 0; round < 2; round++) {
                scene_await_idle(&scene);
                cr_assert_eq(
                        fallocate(segment, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, MIB), 0);
                stats_of(client);
                await_resident(segment, 4 * MIB);
        }
        wire_close(&wire);
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* Nobody was there to harm. */
Test(segment, whoever_comes_finds_it_whole) {
        struct scene scene;
        struct wire wire;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--backing", "posix-shm", NULL);
        int segment = dup(wire_segment(&wire, &scene));
        for (int round = 0; round < 2; round++) {
                if (round == 0)
                        wire_close(&wire);
                scene_await_figure(&scene, "clients", 0);
                scene_await_idle(&scene);
                cr_assert_eq(ftruncate(segment, 0), 0);
                struct buddyclient *client = client_new(&scene);
                cr_assert_eq(length_of(segment), (off_t)(4 * MIB), "round %d", round);
                buddyclient_destroy(client);
        }
        close(segment);
        scene_close(&scene);
}

/* The daemon is awake, and somebody comes before its next look. */
Test(segment, whoever_comes_behind_a_cut_finds_it_whole) {
        struct scene scene;
        struct wire wire;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--backing", "posix-shm", NULL);
        int segment = wire_segment(&wire, &scene);
        for (int round = 0; round < 50; round++) {
                cr_assert_eq(ftruncate(segment, 0), 0);
                struct buddyclient *client = client_new(&scene);
                cr_assert_eq(length_of(segment), (off_t)(4 * MIB), "round %d", round);
                buddyclient_destroy(client);
        }
        wire_close(&wire);
        scene_close(&scene);
}

static void a_cut_segment_is_put_back(const char *commit) {
        struct scene scene;
        struct wire wire;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--backing", "posix-shm", "--commit", commit, NULL);
        int segment = wire_segment(&wire, &scene);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, MIB, &range), 0);
        for (off_t length = 0; length <= (off_t)(8 * MIB); length += 4 * (off_t)MIB) {
                if (length == (off_t)(4 * MIB))
                        continue;
                cr_assert_eq(ftruncate(segment, length), 0);
                scene_await_line(&scene, length ? "from 4M to 8M" : "from 4M to 0");
                uint64_t deadline = now_ms() + PATIENCE_MS;
                while (length_of(segment) != (off_t)(4 * MIB))
                        cr_assert_lt(now_ms(), deadline, "it stays cut");
                await_resident(segment, strcmp(commit, "eager") == 0 ? 4 * MIB : 2 * MIB);
                memset(buddyclient_pointer(client, &range), 1, MIB);
        }
        cr_assert_eq(buddyclient_release(client, &range), 0);
        expect_sound(&scene);
        wire_close(&wire);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(segment, a_cut_segment_is_put_back) {
        a_cut_segment_is_put_back("eager");
        a_cut_segment_is_put_back("lazy");
}

static void holes_are_filled(const char *backing) {
        struct scene scene;
        struct wire wire;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--backing", backing, NULL);
        int segment = wire_segment(&wire, &scene);
        cr_assert_eq(fallocate(segment, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, MIB), 0);
        cr_assert_eq(resident_of(segment), 3 * MIB);
        scene_await_line(&scene, "punched holes of 1 MiB");
        await_resident(segment, 4 * MIB);
        wire_close(&wire);
        scene_close(&scene);
}

Test(segment, holes_are_filled) {
        holes_are_filled("posix-shm");
        holes_are_filled("memfd");
}

/* Everything that a client of another user's can do with what the welcome brought. */
static void vandal(const struct scene *scene, bool sealed) {
        struct wire wire;
        char path[64];
        if (setgid(12345) != 0 || setuid(12345) != 0)
                _exit(3);
        int segment = wire_segment(&wire, scene);
        if (sealed && (ftruncate(segment, 0) == 0 || ftruncate(segment, 64 << 20) == 0))
                _exit(4);
        if (sealed && fcntl(segment, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) == 0)
                _exit(5);
        snprintf(path, sizeof path, "/proc/self/fd/%d", segment);
        if (open(path, O_RDWR) >= 0)
                _exit(6); /* neither to get another open file of it */
        for (int round = 0; round < 20; round++) {
                fallocate(segment, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 * MIB);
                char *bytes = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, segment, 0);
                if (bytes == MAP_FAILED)
                        _exit(7);
                memset(bytes, 0xff, 4 * MIB);
                munmap(bytes, 4 * MIB);
        }
        _exit(0);
}

/* The same for the memory of its cache, by which it shares more with the daemon than with anybody. */
static void cache_vandal(const struct scene *scene) {
        if (setgid(12345) != 0 || setuid(12345) != 0)
                _exit(3);
        struct buddyclient *client = client_caching(scene);
        struct buddyclient_range range;
        for (int each = 0; client && each < 200; each++)
                if (buddyclient_alloc(client, SCENE_PAGE, &range) == 0)
                        buddyclient_release(client, &range);
        for (int fd = 3; fd < 64; fd++) {
                char path[64], name[256];
                snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
                ssize_t length = readlink(path, name, sizeof name - 1);
                if (length < 0)
                        continue;
                name[length] = 0;
                if (!strstr(name, "buddyclient.cache"))
                        continue;
                off_t bytes = length_of(fd);
                if (ftruncate(fd, 0) == 0)
                        _exit(4);
                void *area = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
                for (int round = 0; round < 50; round++) {
                        memset(area, round * 37, (size_t)bytes);
                        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, bytes);
                }
                _exit(0);
        }
        _exit(8);
}

static pid_t worker(const struct scene *scene, int done) {
        pid_t process = process_fork();
        if (process != 0)
                return process;
        struct buddyclient *client = client_try(scene);
        struct buddyclient_range range;
        if (!client)
                _exit(2);
        for (int turn = 0; turn < 3000; turn++) {
                if (buddyclient_alloc(client, SCENE_PAGE << (turn % 6), &range) != 0)
                        _exit(1);
                memset(buddyclient_pointer(client, &range), 1, range.length);
                if (buddyclient_release(client, &range) != 0)
                        _exit(1);
        }
        byte_write(done, 'd');
        _exit(0);
}

Test(segment, nobody_else_is_hurt_by_a_vandal) {
        struct scene scene;
        pid_t workers[2], vandals[2];
        int done[2];
        if (geteuid() != 0)
                cr_skip_test("needs to become other users");
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--backing", "memfd", "--socket-mode", "0666", NULL);
        cr_assert_eq(pipe(done), 0);
        struct buddyclient *observer = client_new(&scene);
        size_t fds = scene_daemon_fds(&scene);
        for (int each = 0; each < 2; each++)
                workers[each] = worker(&scene, done[1]);
        for (int each = 0; each < 2; each++) {
                vandals[each] = process_fork();
                if (vandals[each] == 0)
                        each ? cache_vandal(&scene) : vandal(&scene, true);
        }
        for (int each = 0; each < 2; each++) {
                cr_expect_eq(process_wait(vandals[each]), 0);
                cr_expect_eq(process_wait(workers[each]), 0);
        }
        await_held(observer, 0);
        await_fds(&scene, fds);
        expect_sound(&scene);
        buddyclient_destroy(observer);
        scene_close(&scene);
}

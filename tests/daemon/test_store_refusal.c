/* What store_open refuses: in one line that names cause and mend, and without changing anything. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "captured.h"
#include "daemon/stop.h"
#include "daemon/store.h"
#include "scratch.h"

TestSuite(store_refusal, .fini = scratch_shm_remove);

#define MIB (UINT64_C(1) << 20)

/* Everything about the pool's objects that a start could have changed. */
struct left {
        unsigned objects;
        struct stat segment, ledger;
        unsigned char header[4096];
};

static struct left left_now(void) {
        struct left left = {.objects = scratch_shm_count()};
        stat(scratch_shm_path("segment"), &left.segment);
        stat(scratch_shm_path("ledger"), &left.ledger);
        int fd = open(scratch_shm_path("ledger"), O_RDONLY);
        if (fd >= 0) {
                cr_assert_geq(read(fd, left.header, sizeof(left.header)), 0);
                close(fd);
        }
        return left;
}

static void refused_reset(
        const struct pool_settings *settings, bool reset, int expected, const char *part) {
        unsigned files = scratch_open_files();
        struct left before = left_now();
        struct store *store = NULL;
        captured_begin(2);
        int error = store_open(settings, reset, &store);
        const char *text = captured_end();
        struct left after = left_now();
        cr_expect_eq(error, expected, "%d: %s", error, text);
        cr_expect(is_one_line(text) && strstr(text, part) && strchr(text, ';'), "%s", text);
        cr_expect_null(store);
        cr_expect_eq(after.objects, before.objects);
        cr_expect_eq(after.segment.st_ino, before.segment.st_ino);
        cr_expect_eq(after.segment.st_size, before.segment.st_size);
        cr_expect_eq(after.segment.st_blocks, before.segment.st_blocks);
        cr_expect_eq(after.ledger.st_ino, before.ledger.st_ino);
        cr_expect_eq(after.ledger.st_size, before.ledger.st_size);
        cr_expect_eq(memcmp(after.header, before.header, sizeof(after.header)), 0,
                "the ledger was written to");
        cr_expect_eq(scratch_open_files(), files);
}

static void refused(const struct pool_settings *settings, int expected, const char *part) {
        refused_reset(settings, false, expected, part);
}

static struct store *opened(const struct pool_settings *settings) {
        struct store *store;
        cr_assert_eq(store_open(settings, false, &store), 0);
        return store;
}

static void leave(const struct pool_settings *settings) {
        store_close(opened(settings), true);
}

Test(store_refusal, of_another_geometry) {
        struct pool_settings settings = scratch_pool();
        settings.max_size_bytes = 8 * MIB;
        leave(&settings);
        struct pool_settings other = settings;
        other.size_bytes = 8 * MIB;
        refused(&other, -EEXIST,
                "exists with --size 4M --max-size 8M --page-size 4K, and --size 8M --max-size 8M "
                "--page-size 4K is asked for");
        other.size_bytes = 2 * MIB;
        refused(&other, -EEXIST, "--size 2M --max-size 8M");
        other = settings;
        other.max_size_bytes = 16 * MIB;
        refused(&other, -EEXIST, "--max-size 16M");
        other = settings;
        other.page_bytes = 8192;
        refused(&other, -EEXIST, "--page-size 8K is asked for");
        struct store *store = opened(&settings);
        cr_assert(store->taken_over);
        store_close(store, false);
}

Test(store_refusal, of_a_second_daemon) {
        struct pool_settings shm = scratch_pool(), memfd = scratch_pool();
        memfd.backing = BACKING_MEMFD;
        const struct pool_settings *kinds[] = {&shm, &memfd};
        for (unsigned i = 0; i < 4; i++) {
                struct store *store = opened(kinds[i / 2]);
                refused(kinds[i % 2], -EBUSY, "is served by another daemon");
                refused_reset(kinds[i % 2], true, -EBUSY, "is served by another daemon");
                store_close(store, false);
                cr_expect_eq(scratch_shm_count(), 0);
        }
}

Test(store_refusal, names_the_process_in_the_way) {
        struct pool_settings settings = scratch_pool();
        int ready[2], go[2];
        cr_assert_eq(pipe(ready) | pipe(go), 0);
        pid_t child = fork();
        if (child == 0) {
                close(go[1]);
                struct store *store;
                if (store_open(&settings, false, &store) < 0 || write(ready[1], "r", 1) != 1)
                        _exit(1);
                char byte;
                ssize_t ended = read(go[0], &byte, 1);
                store_close(store, false);
                _exit(ended == 0 ? 0 : 2);
        }
        char byte;
        cr_assert_eq(read(ready[0], &byte, 1), 1);
        char part[64];
        snprintf(part, sizeof(part), "(pid %d)", (int)child);
        refused(&settings, -EBUSY, part);
        close(go[1]);
        waitpid(child, NULL, 0);
        cr_assert_eq(scratch_shm_count(), 0);
}

Test(store_refusal, of_memfds_where_a_named_pool_was_left) {
        struct pool_settings settings = scratch_pool();
        leave(&settings);
        settings.backing = BACKING_MEMFD;
        refused(&settings, -EEXIST, "was left in POSIX shared memory");
        struct store *store;
        cr_assert_eq(store_open(&settings, true, &store), 0);
        cr_assert_eq(scratch_shm_count(), 1);
        store_close(store, false);
}

Test(store_refusal, of_a_pool_that_does_not_fit) {
        struct pool_settings settings = scratch_pool();
        settings.size_bytes = settings.max_size_bytes = UINT64_C(8) << 40;
        refused(&settings, -ENOSPC, "needs 8 TiB more, and /dev/shm has");
        settings.backing = BACKING_MEMFD;
        refused(&settings, -ENOSPC, "the system's free memory has");
        cr_assert_eq(scratch_shm_count(), 0);
}

Test(store_refusal, to_reset_into_a_pool_that_does_not_fit) {
        struct pool_settings settings = scratch_pool();
        leave(&settings);
        struct pool_settings other = settings;
        other.size_bytes = other.max_size_bytes = UINT64_C(8) << 40;
        refused_reset(&other, true, -ENOSPC, "/dev/shm has");
        struct store *store = opened(&settings);
        cr_assert(store->taken_over);
        store_close(store, false);
}

Test(store_refusal, on_a_small_dev_shm) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=32m") < 0)
                cr_skip("needs the right to mount");
        struct pool_settings settings = scratch_pool();
        settings.size_bytes = settings.max_size_bytes = 16 * MIB;
        struct store *store = opened(&settings);
        struct pool_settings second = settings;
        strcat(second.name, ".2");
        refused(&second, -ENOSPC, "/dev/shm has");
        store_close(store, false);
        cr_assert_eq(scratch_shm_count(), 0);
}

Test(store_refusal, on_a_dev_shm_that_takes_no_files) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                mount("tmpfs", "/dev/shm", "tmpfs", 0, "mode=755,size=32m") < 0)
                cr_skip("needs the right to mount");
        struct pool_settings settings = scratch_pool();
        cr_assert_eq(mount(NULL, "/dev/shm", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
        refused(&settings, -EROFS, "read-only: mount it for writing (mount -o remount,rw");
        settings.backing = BACKING_MEMFD;
        refused(&settings, -EROFS, "read-only: mount it for writing (mount -o remount,rw");
        cr_assert_eq(mount(NULL, "/dev/shm", NULL, MS_REMOUNT | MS_BIND, NULL), 0);
        cr_assert_eq(setuid(4711), 0);
        refused(&settings, -EACCES,
                "/dev/shm is uid 0's with mode 0755 and must let uid 4711 make files: chmod 1777");
        cr_assert_eq(scratch_shm_count(), 0);
}

Test(store_refusal, under_a_limit_on_file_sizes) {
        struct pool_settings settings = scratch_pool();
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit limit = {.rlim_cur = MIB, .rlim_max = MIB};
        cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        refused(&settings, -EFBIG, "ulimit -f");
        settings.backing = BACKING_MEMFD;
        refused(&settings, -EFBIG, "ulimit -f");
        cr_assert_eq(scratch_shm_count(), 0);
}

/* Every descriptor that a start needs is refused once; each time all is undone. */
Test(store_refusal, under_every_limit_on_open_files) {
        struct pool_settings settings = scratch_pool();
        struct rlimit old;
        getrlimit(RLIMIT_NOFILE, &old);
        for (int backing = BACKING_POSIX_SHM; backing <= BACKING_MEMFD; backing++) {
                settings.backing = (enum backing)backing;
                unsigned spare;
                for (spare = 0; spare < 20; spare++) {
                        unsigned files = scratch_open_files();
                        int lowest = dup(0);
                        close(lowest);
                        captured_begin(2); /* takes two descriptors */
                        struct rlimit limit = {
                                .rlim_cur = (rlim_t)lowest + 2 + spare, .rlim_max = old.rlim_max};
                        setrlimit(RLIMIT_NOFILE, &limit);
                        struct store *store = NULL;
                        int error = store_open(&settings, false, &store);
                        setrlimit(RLIMIT_NOFILE, &old);
                        const char *text = captured_end();
                        if (error == 0) {
                                store_close(store, false);
                                break;
                        }
                        cr_expect_eq(error, -EMFILE, "%d", error);
                        cr_expect(is_one_line(text), "%s", text);
                        cr_expect_eq(scratch_shm_count(), 0, "with %u spare", spare);
                        cr_expect_eq(scratch_open_files(), files, "with %u spare", spare);
                }
                cr_expect_geq(spare, 3);
                cr_expect_lt(spare, 20);
        }
}

Test(store_refusal, of_a_damaged_header) {
        struct pool_settings settings = scratch_pool();
        leave(&settings);
        int fd = open(scratch_shm_path("ledger"), O_RDWR);
        cr_assert_eq(pwrite(fd, "damage", 6, 0), 6);
        close(fd);
        refused(&settings, -EUCLEAN, "is damaged: ");
        struct store *store;
        cr_assert_eq(store_open(&settings, true, &store), 0);
        store_close(store, false);
        cr_assert_eq(scratch_shm_count(), 0);
}

Test(store_refusal, of_a_ledger_that_was_cut_off) {
        struct pool_settings settings = scratch_pool();
        static const off_t lengths[] = {0, 100, 4096, 5000};
        for (unsigned i = 0; i < 4; i++) {
                leave(&settings);
                cr_assert_eq(truncate(scratch_shm_path("ledger"), lengths[i]), 0);
                struct store *store;
                captured_begin(2);
                int error = store_open(&settings, false, &store);
                const char *text = captured_end();
                cr_expect_eq(error, -EUCLEAN, "%lld", (long long)lengths[i]);
                cr_expect(is_one_line(text) && strstr(text, "--reset"), "%s", text);
                cr_assert_eq(access(scratch_shm_path("segment"), F_OK), 0);
                scratch_shm_remove();
        }
}

Test(store_refusal, of_records_that_contradict_each_other) {
        struct pool_settings settings = scratch_pool();
        struct store *store = opened(&settings);
        uint64_t lost =
                ledger_pack((struct ledger_record){.order_plus_1 = 31, .owner = 5, .generation = 1},
                        CHUNK_PAGES);
        ledger_store(&store->ledger.chunks[1], lost);
        store_close(store, true);
        refused(&settings, -EUCLEAN, "is damaged: ");
}

Test(store_refusal, of_a_ledger_without_its_segment) {
        struct pool_settings settings = scratch_pool();
        leave(&settings);
        unlink(scratch_shm_path("segment"));
        refused(&settings, -EUCLEAN, "has a ledger but no segment");
}

Test(store_refusal, of_a_segment_without_its_ledger) {
        struct pool_settings settings = scratch_pool();
        leave(&settings);
        unlink(scratch_shm_path("ledger"));
        refused(&settings, -EUCLEAN, "but no ledger");
        struct pool_settings large = settings;
        large.size_bytes = large.max_size_bytes = UINT64_C(8) << 40;
        refused_reset(&large, true, -ENOSPC, "/dev/shm has");
        struct store *store;
        cr_assert_eq(store_open(&settings, true, &store), 0);
        store_close(store, false);
        cr_assert_eq(scratch_shm_count(), 0);
}

/* A client may have cut it: that costs bytes, and not the pool. */
Test(store_refusal, not_of_a_segment_of_the_wrong_length) {
        struct pool_settings settings = scratch_pool();
        leave(&settings);
        cr_assert_eq(truncate(scratch_shm_path("segment"), 3 * MIB), 0);
        struct store *store;
        struct stat status;
        captured_begin(2);
        cr_assert_eq(store_open(&settings, false, &store), 0);
        const char *line = captured_end();
        cr_expect(strstr(line, "length of its segment from 4M to 3M"), "%s", line);
        cr_assert_eq(stat(scratch_shm_path("segment"), &status), 0);
        cr_expect_eq(status.st_size, (off_t)(4 * MIB));
        store_close(store, false);
}

Test(store_refusal, of_objects_that_others_may_open) {
        struct pool_settings settings = scratch_pool();
        leave(&settings);
        chmod(scratch_shm_path("segment"), 0644);
        refused(&settings, -EPERM, ".segment is open to others (mode 0644): chmod 600 it");
        chmod(scratch_shm_path("segment"), 0600);
        chmod(scratch_shm_path("ledger"), 0660);
        refused(&settings, -EPERM, "open to others");
}

Test(store_refusal, of_another_users_objects) {
        if (geteuid() != 0)
                cr_skip("needs the right to give files away");
        struct pool_settings settings = scratch_pool();
        leave(&settings);
        cr_assert_eq(chown(scratch_shm_path("ledger"), 4711, 0), 0);
        refused(&settings, -EPERM, ".ledger is another user's, uid 4711's: have them");
}

Test(store_refusal, a_stop_while_memory_is_reserved_undoes_the_start) {
        struct pool_settings settings = scratch_pool();
        stop_watch();
        raise(SIGTERM);
        captured_begin(2);
        struct store *store = NULL;
        int error = store_open(&settings, false, &store);
        const char *text = captured_end();
        cr_assert_eq(error, -ECANCELED);
        cr_assert_str_eq(text, "");
        cr_assert_eq(scratch_shm_count(), 0);
}

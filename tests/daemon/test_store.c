#include "daemon/store.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/log.h"
#include "scratch.h"
#include "tests/client/stretch.h"

TestSuite(store, .fini = scratch_shm_remove);

#define MIB (UINT64_C(1) << 20)

static struct store *opened(const struct pool_settings *settings, bool reset) {
        struct store *store;
        cr_assert_eq(store_open(settings, reset, &store), 0);
        struct pool_check_report report;
        cr_assert_eq(pool_check(store->pool, &report), 0, "%s", report.fault);
        return store;
}

static uint32_t session_of(struct store *store) {
        struct pool_session_identity identity = {
                .pid = (uint32_t)getpid(), .uid = geteuid(), .name = "test"};
        uint32_t session;
        cr_assert_eq(pool_session_open(store->pool, &identity, &session), 0);
        return session;
}

static struct stat stat_of(int fd) {
        struct stat stat;
        cr_assert_eq(fstat(fd, &stat), 0);
        return stat;
}

Test(store, makes_a_pool_and_removes_it) {
        struct pool_settings settings = scratch_pool();
        unsigned files = scratch_open_files();
        struct store *store = opened(&settings, false);
        cr_assert_not(store->taken_over);
        cr_assert_eq(store->restarts, 0);
        cr_assert_eq(pool_pages(store->pool), 1024);
        cr_assert_eq(scratch_shm_count(), 2);
        cr_assert_eq(stat_of(store->segment_fd).st_size, 4 * MIB);
        cr_assert_eq(stat_of(store->segment_fd).st_mode & 07777, 0600);
        cr_assert_eq(stat_of(store->ledger_fd).st_mode & 07777, 0600);
        store_close(store, false);
        cr_assert_eq(scratch_shm_count(), 0);
        cr_assert_eq(scratch_open_files(), files);
}

Test(store, modes_do_not_depend_on_the_umask) {
        struct pool_settings settings = scratch_pool();
        umask(0777);
        struct store *store = opened(&settings, false);
        umask(0);
        cr_assert_eq(stat_of(store->segment_fd).st_mode & 07777, 0600);
        cr_assert_eq(stat_of(store->ledger_fd).st_mode & 07777, 0600);
        store_close(store, false);
}

Test(store, eager_reserves_everything) {
        struct pool_settings settings = scratch_pool();
        for (int backing = BACKING_POSIX_SHM; backing <= BACKING_MEMFD; backing++) {
                settings.backing = (enum backing)backing;
                struct store *store = opened(&settings, false);
                cr_assert_eq(store_resident_bytes(store), settings.size_bytes);
                cr_assert_geq(
                        (uint64_t)stat_of(store->ledger_fd).st_blocks * 512, store->ledger_bytes);
                store_close(store, false);
        }
}

Test(store, eager_reserves_only_the_size_of_a_pool_that_may_grow) {
        struct pool_settings settings = scratch_pool();
        settings.max_size_bytes = 64 * MIB;
        struct store *store = opened(&settings, false);
        cr_assert_eq(store_resident_bytes(store), 4 * MIB);
        cr_assert_eq(stat_of(store->segment_fd).st_size, 64 * MIB);
        cr_assert_eq(pool_pages(store->pool), 1024);
        cr_assert_eq(pool_pages_max(store->pool), 16384);
        store_close(store, false);
}

Test(store, a_kept_pool_is_taken_over_with_all_that_is_held) {
        struct pool_settings settings = scratch_pool();
        struct store *store = opened(&settings, false);
        uint32_t session = session_of(store);
        struct block block;
        cr_assert_eq(pool_grant(store->pool, session, 3, &block), 0);
        cr_assert_eq(pwrite(store->segment_fd, "bytes", 5, (off_t)block.page * 4096), 5);
        store_close(store, true);
        cr_assert_eq(scratch_shm_count(), 2);
        for (uint64_t restart = 1; restart <= 3; restart++) {
                store = opened(&settings, false);
                cr_assert(store->taken_over);
                cr_assert_eq(store->restarts, restart);
                struct buddy_totals totals;
                pool_totals(store->pool, &totals);
                cr_assert_eq(totals.free_pages, 1024 - 8);
                char bytes[5];
                cr_assert_eq(pread(store->segment_fd, bytes, 5, (off_t)block.page * 4096), 5);
                cr_assert_eq(memcmp(bytes, "bytes", 5), 0);
                store_close(store, true);
        }
        store = opened(&settings, false);
        bool freed;
        cr_assert_eq(pool_release(store->pool, session, block, &freed), 0);
        cr_assert(freed);
        store_close(store, false);
        cr_assert_eq(scratch_shm_count(), 0);
}

/* Opens the store in a child that is killed while it serves. */
static void serve_and_die(const struct pool_settings *settings, unsigned grants) {
        pid_t child = fork();
        if (child == 0) {
                struct store *store;
                if (store_open(settings, false, &store) < 0)
                        _exit(1);
                struct pool_session_identity identity = {.name = "child"};
                uint32_t session;
                struct block block;
                if (pool_session_open(store->pool, &identity, &session) < 0)
                        _exit(2);
                for (unsigned i = 0; i < grants; i++) {
                        if (pool_grant(store->pool, session, 0, &block) < 0)
                                _exit(3);
                }
                kill(getpid(), SIGKILL);
        }
        int status;
        waitpid(child, &status, 0);
        cr_assert(WIFSIGNALED(status), "child exited with %d", WEXITSTATUS(status));
}

/* The child needs the parent's pool name, which has the pid in it. */
Test(store, a_killed_daemons_pool_is_taken_over) {
        struct pool_settings settings = scratch_pool();
        serve_and_die(&settings, 100);
        struct store *store = opened(&settings, false);
        cr_assert(store->taken_over);
        struct buddy_totals totals;
        pool_totals(store->pool, &totals);
        cr_assert_eq(totals.free_pages, 1024 - 100);
        store_close(store, false);
        cr_assert_eq(scratch_shm_count(), 0);
}

Test(store, reset_throws_away_what_was_left) {
        struct pool_settings settings = scratch_pool();
        serve_and_die(&settings, 100);
        settings.size_bytes = settings.max_size_bytes = 8 * MIB;
        struct store *store = opened(&settings, true);
        cr_assert_not(store->taken_over);
        struct buddy_totals totals;
        pool_totals(store->pool, &totals);
        cr_assert_eq(totals.free_pages, 2048);
        store_close(store, false);
        cr_assert_eq(scratch_shm_count(), 0);
}

Test(store, reset_does_not_touch_the_memory_of_a_client_that_still_maps_it) {
        struct pool_settings settings = scratch_pool();
        serve_and_die(&settings, 1);
        int old = open(scratch_shm_path("segment"), O_RDWR);
        char *memory = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, old, 0);
        cr_assert_neq(memory, MAP_FAILED);
        memory[0] = 'x';
        struct store *store = opened(&settings, true);
        cr_assert_eq(memory[0], 'x');
        cr_assert_neq(stat_of(old).st_ino, stat_of(store->segment_fd).st_ino);
        store_close(store, false);
        close(old);
}

Test(store, an_unfinished_ledger_is_started_over) {
        struct pool_settings settings = scratch_pool();
        struct store *store = opened(&settings, false);
        ledger_store(&store->ledger.header->ready, 0);
        store_close(store, true);
        store = opened(&settings, false);
        cr_assert_not(store->taken_over);
        store_close(store, true);
        cr_assert_eq(truncate(scratch_shm_path("ledger"), 0), 0);
        unlink(scratch_shm_path("segment"));
        store = opened(&settings, false);
        cr_assert_not(store->taken_over);
        store_close(store, false);
        cr_assert_eq(scratch_shm_count(), 0);
}

Test(store, a_grown_pool_is_taken_over_at_its_size) {
        struct pool_settings settings = scratch_pool();
        settings.max_size_bytes = 16 * MIB;
        struct store *store = opened(&settings, false);
        cr_assert_eq(pool_grow(store->pool, 2048), 0);
        store_close(store, true);
        store = opened(&settings, false);
        cr_assert(store->taken_over);
        cr_assert_eq(store->settings.size_bytes, 8 * MIB);
        cr_assert_eq(store_resident_bytes(store), 8 * MIB, "eager reserves what it has grown to");
        store_close(store, false);
}

Test(store, a_read_only_descriptor_cannot_be_written_through) {
        struct pool_settings settings = scratch_pool();
        for (int backing = BACKING_POSIX_SHM; backing <= BACKING_MEMFD; backing++) {
                settings.backing = (enum backing)backing;
                struct store *store = opened(&settings, false);
                cr_assert_eq(stat_of(store->segment_fd).st_ino,
                        stat_of(store->segment_fd_read_only).st_ino);
                cr_assert_eq(
                        mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, store->segment_fd_read_only, 0),
                        MAP_FAILED);
                cr_assert_eq(write(store->segment_fd_read_only, "x", 1), -1);
                store_close(store, false);
        }
}

Test(store, a_memfd_keeps_its_length_and_its_seals) {
        struct pool_settings settings = scratch_pool();
        settings.backing = BACKING_MEMFD;
        settings.max_size_bytes = 8 * MIB;
        struct store *store = opened(&settings, false);
        cr_assert_eq(scratch_shm_count(), 1, "only the lock has a name");
        cr_assert_eq(ftruncate(store->segment_fd, 4096), -1);
        cr_assert_eq(ftruncate(store->segment_fd, 16 * MIB), -1);
        cr_assert_eq(fcntl(store->segment_fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
        cr_assert_eq(stat_of(store->segment_fd).st_mode & 0777, 0600);
        store_close(store, true);
        cr_assert_eq(scratch_shm_count(), 0, "a memfd cannot be kept, nor its lock");
}

Test(store, lazy_reserves_on_first_grant) {
        struct pool_settings settings = scratch_pool();
        settings.size_bytes = settings.max_size_bytes = 64 * MIB;
        settings.commit = COMMIT_LAZY;
        struct store *store = opened(&settings, false);
        cr_assert_eq(store_resident_bytes(store), 0);
        uint32_t session = session_of(store);
        struct block block;
        cr_assert_eq(pool_grant(store->pool, session, 0, &block), 0);
        cr_assert_eq(store_resident_bytes(store), 2 * MIB);
        cr_assert_eq(pool_grant(store->pool, session, 11, &block), 0); /* 8 MiB */
        cr_assert_eq(store_resident_bytes(store), 10 * MIB);
        store_close(store, true);
        store = opened(&settings, false);
        cr_assert(store->taken_over);
        cr_assert_eq(store_resident_bytes(store), 10 * MIB);
        store_close(store, false);
}

Test(store, a_lazy_terabyte_starts_at_once) {
        struct pool_settings settings = scratch_pool();
        settings.size_bytes = settings.max_size_bytes = UINT64_C(1) << 40;
        settings.commit = COMMIT_LAZY;
        struct stretch start = stretch_begin();
        struct store *store = opened(&settings, false);
        uint64_t took = stretch_ms(&start);
        cr_expect_lt(took, 1000, "%lu ms", took);
        struct block block;
        cr_assert_eq(pool_grant(store->pool, session_of(store), 0, &block), 0);
        store_close(store, true);
        start = stretch_begin();
        store = opened(&settings, false);
        took = stretch_ms(&start);
        cr_expect_lt(took, 1000, "%lu ms", took);
        cr_assert(store->taken_over);
        store_close(store, false);
}

Test(store, every_page_size_works) {
        struct pool_settings settings = scratch_pool();
        settings.commit = COMMIT_LAZY;
        for (unsigned shift = PAGE_SHIFT_MIN; shift <= PAGE_SHIFT_MAX; shift++) {
                settings.page_bytes = UINT64_C(1) << shift;
                settings.size_bytes = settings.max_size_bytes = 3 * settings.page_bytes;
                struct store *store = opened(&settings, false);
                cr_assert_eq(pool_page_shift(store->pool), shift);
                cr_assert_eq(pool_pages(store->pool), 3);
                store_close(store, false);
        }
        cr_assert_eq(scratch_shm_count(), 0);
}

/* Anything but success and "busy" is a failure. */
static int open_and_close(const struct pool_settings *settings) {
        for (unsigned i = 0; i < 100; i++) {
                struct store *store;
                int error = store_open(settings, false, &store);
                if (error && error != -EBUSY)
                        return 1;
                if (!error)
                        store_close(store, false);
        }
        return 0;
}

Test(store, daemons_that_start_and_stop_at_once_never_meet, .timeout = 60) {
        struct pool_settings settings = scratch_pool();
        settings.size_bytes = settings.max_size_bytes = 4096;
        log_set_level(LOG_CRIT);
        pid_t children[4];
        for (unsigned i = 0; i < 4; i++) {
                settings.backing = i == 3 ? BACKING_MEMFD : BACKING_POSIX_SHM;
                children[i] = fork();
                if (children[i] == 0)
                        _exit(open_and_close(&settings));
        }
        for (unsigned i = 0; i < 4; i++) {
                int status;
                waitpid(children[i], &status, 0);
                cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%u", i);
        }
        cr_assert_eq(scratch_shm_count(), 0);
}

/* A /dev/shm of this size that only this process sees; needs privileges. */
static bool own_dev_shm(const char *options) {
        return unshare(CLONE_NEWNS) == 0 &&
               mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
               mount("tmpfs", "/dev/shm", "tmpfs", 0, options) == 0;
}

Test(store, a_lazy_pool_on_a_full_dev_shm_runs_out_cleanly) {
        if (!own_dev_shm("size=32m"))
                cr_skip("needs the right to mount");
        struct pool_settings settings = scratch_pool();
        settings.size_bytes = settings.max_size_bytes = 64 * MIB;
        settings.commit = COMMIT_LAZY;
        struct store *store = opened(&settings, false);
        uint32_t session = session_of(store);
        char *memory =
                mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, store->segment_fd, 0);
        cr_assert_neq(memory, MAP_FAILED);
        struct block block;
        unsigned granted = 0;
        int error;
        while ((error = pool_grant(store->pool, session, 8, &block)) == 0) {
                memset(memory + (uint64_t)block.page * 4096, 0xaa, MIB);
                granted++;
        }
        cr_assert_eq(error, -ENOSPC);
        cr_assert_geq(granted, 10);
        struct pool_check_report report;
        cr_assert_eq(pool_check(store->pool, &report), 0, "%s", report.fault);
        munmap(memory, 64 * MIB);
        store_close(store, false);
}

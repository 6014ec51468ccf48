/* check --offline on objects as a daemon leaves them, and as none does. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ctl/arguments.h"
#include "client/ctl/offline.h"

#define PAGES 2048

static char pool_name[32];
static char ledger_name[LEDGER_OBJECT_NAME_BYTES], segment_name[LEDGER_OBJECT_NAME_BYTES];
static int ledger_fd;
static void *memory;
static struct ledger_layout layout;
static struct ledger ledger;

static int object_new(const char *name, uint64_t bytes) {
        int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        cr_assert_geq(fd, 0, "%s: %s", name, strerror(errno));
        cr_assert_eq(ftruncate(fd, (off_t)bytes), 0);
        return fd;
}

/* A pool with one session that holds a page, without the memory of the records that it does not need. */
static void setup(void) {
        struct ledger_identity identity = {
                .pool = pool_name, .page_shift = 12, .pages = PAGES, .pages_max = PAGES};
        struct pool *pool;
        struct block block;
        char fault[64];
        snprintf(pool_name, sizeof pool_name, "offline-%d", (int)getpid());
        ledger_object_name(geteuid(), pool_name, "ledger", ledger_name);
        ledger_object_name(geteuid(), pool_name, "segment", segment_name);
        ledger_layout(PAGES, &layout);
        ledger_fd = object_new(ledger_name, layout.total_bytes);
        close(object_new(segment_name, PAGES * 4096));
        memory = mmap(NULL, layout.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ledger_fd, 0);
        cr_assert_neq(memory, MAP_FAILED);
        ledger_format(memory, &identity, &ledger);
        cr_assert_eq(pool_new(&ledger, NULL, &pool, fault, sizeof fault), 0);
        cr_assert_eq(pool_grant(pool, SESSION_OPERATOR, 0, &block), 0);
        ledger_store(&ledger.header->restarts, 3);
        pool_free(pool);
}

static void teardown(void) {
        shm_unlink(ledger_name);
        shm_unlink(segment_name);
}

TestSuite(ctl_offline, .init = setup, .fini = teardown);

static enum exit_status check(struct offline_result *out) {
        return offline_check(geteuid(), pool_name, out);
}

Test(ctl_offline, a_sound_pool_is_walked_and_stays_as_it_is) {
        struct offline_result got;
        struct stat before, after;
        fstat(ledger_fd, &before);
        cr_assert_eq(check(&got), EXIT_DONE);
        fstat(ledger_fd, &after);
        cr_expect_str_eq(got.report.fault, "");
        cr_expect_str_eq(got.pool, pool_name);
        cr_expect_eq(got.report.pages, PAGES);
        cr_expect_eq(got.report.live_blocks, 1);
        cr_expect_eq(got.report.sessions, 1);
        cr_expect_eq(got.page_bytes, 4096);
        cr_expect_eq(got.size_bytes, PAGES * 4096);
        cr_expect_eq(got.capacity_bytes, PAGES * 4096);
        cr_expect_eq(got.restarts, 3);
        cr_expect_eq(before.st_blocks, after.st_blocks, "a hole was filled");
}

Test(ctl_offline, a_record_that_was_bent_is_named) {
        struct offline_result got;
        ledger.records[0] ^= UINT64_C(1) << 40;
        cr_assert_eq(check(&got), EXIT_FAULT);
        cr_expect_not_null(strstr(got.report.fault, "record of page 0 "), "%s", got.report.fault);
}

Test(ctl_offline, a_header_that_was_bent_is_named) {
        struct offline_result got;
        ledger.header->pages_max++;
        cr_assert_eq(check(&got), EXIT_FAULT);
        cr_expect_not_null(strstr(got.report.fault, "header: "), "%s", got.report.fault);
        cr_expect_eq(got.size_bytes, 0);
}

Test(ctl_offline, a_ledger_of_another_pool_is_a_fault) {
        struct offline_result got;
        struct ledger_identity identity = {
                .pool = "other", .page_shift = 12, .pages = PAGES, .pages_max = PAGES};
        memset(memory, 0, layout.total_bytes);
        ledger_format(memory, &identity, &ledger);
        cr_assert_eq(check(&got), EXIT_FAULT);
        cr_expect_str_eq(got.report.fault, "header: pool name is \"other\"");
}

Test(ctl_offline, a_ledger_cut_off_is_a_fault) {
        struct offline_result got;
        cr_assert_eq(ftruncate(ledger_fd, 100), 0);
        cr_assert_eq(check(&got), EXIT_FAULT);
        cr_expect_str_eq(got.report.fault, "ledger: cut off after 100 bytes");
        cr_assert_eq(ftruncate(ledger_fd, 8192), 0);
        cr_assert_eq(check(&got), EXIT_REFUSED, "what is left says that it was never finished");
}

Test(ctl_offline, a_segment_that_is_missing_or_short_is_a_fault) {
        struct offline_result got;
        int fd = shm_open(segment_name, O_RDWR, 0);
        cr_assert_eq(ftruncate(fd, 4096), 0);
        close(fd);
        cr_assert_eq(check(&got), EXIT_FAULT);
        cr_expect_str_eq(
                got.report.fault, "segment: 4096 bytes long, the ledger's figures need 8388608");
        shm_unlink(segment_name);
        cr_assert_eq(check(&got), EXIT_FAULT);
        cr_expect_not_null(
                strstr(got.report.fault, "segment: cannot open"), "%s", got.report.fault);
}

Test(ctl_offline, a_pool_that_is_served_is_refused) {
        struct offline_result got = {.restarts = 77};
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        cr_assert_eq(fcntl(ledger_fd, F_OFD_SETLK, &lock), 0);
        cr_redirect_stderr();
        cr_expect_eq(check(&got), EXIT_REFUSED);
        fflush(stderr);
        char said[128];
        snprintf(said, sizeof said,
                "buddyctl: a daemon serves pool \"%s\"; use \"buddyctl check\" without --offline\n",
                pool_name);
        cr_expect_stderr_eq_str(said);
        cr_expect_eq(got.restarts, 77);
}

Test(ctl_offline, a_pool_that_is_served_from_memfds_is_refused) {
        struct offline_result got;
        char name[LEDGER_OBJECT_NAME_BYTES];
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        teardown();
        ledger_object_name(geteuid(), pool_name, "lock", name);
        int fd = object_new(name, 0);
        cr_assert_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
        cr_redirect_stderr();
        cr_expect_eq(check(&got), EXIT_REFUSED);
        shm_unlink(name);
        fflush(stderr);
        char said[128];
        snprintf(said, sizeof said,
                "buddyctl: a daemon serves pool \"%s\"; use \"buddyctl check\" without --offline\n",
                pool_name);
        cr_expect_stderr_eq_str(said);
}

Test(ctl_offline, what_is_not_there_or_not_the_users_is_refused) {
        struct offline_result got;
        cr_expect_eq(offline_check(geteuid() + 12345, pool_name, &got), EXIT_REFUSED);
        cr_expect_eq(offline_check(geteuid(), "no/such", &got), EXIT_REFUSED);
        cr_expect_eq(offline_check(geteuid(), "", &got), EXIT_REFUSED);
        cr_assert_eq(fchmod(ledger_fd, 0644), 0);
        cr_expect_eq(check(&got), EXIT_REFUSED, "an object that others may read");
}

static enum exit_status run(const char *uid, bool offline) {
        struct invocation invocation = {.command = command_find("check")};
        invocation.values[OPTION_POOL] = pool_name;
        invocation.values[OPTION_OFFLINE] = offline ? "" : NULL;
        invocation.values[OPTION_UID] = uid;
        return invocation.command->run(&invocation);
}

Test(ctl_offline, a_uid_is_a_number_and_goes_with_offline) {
        char own[16];
        snprintf(own, sizeof own, "%u", (unsigned)geteuid());
        cr_expect_eq(run(own, true), EXIT_DONE);
        cr_expect_eq(run("nobody", true), EXIT_USAGE);
        cr_expect_eq(run("-1", true), EXIT_USAGE);
        cr_expect_eq(run(own, false), EXIT_USAGE);
}

Test(ctl_offline, figures_in_json) {
        cr_redirect_stdout();
        struct invocation invocation = {.command = command_find("check")};
        invocation.values[OPTION_POOL] = pool_name;
        invocation.values[OPTION_OFFLINE] = invocation.values[OPTION_JSON] = "";
        cr_assert_eq(invocation.command->run(&invocation), EXIT_DONE);
        fflush(stdout);
        char text[1024] = "", tail[256];
        FILE *out = cr_get_redirected_stdout();
        text[fread(text, 1, sizeof text - 1, out)] = '\0';
        snprintf(tail, sizeof tail,
                "\"fault\":\"\",\"pool\":\"%s\",\"page_bytes\":4096,\"size_bytes\":8388608,"
                "\"capacity_bytes\":8388608,\"restarts\":3}\n",
                pool_name);
        cr_expect_not_null(strstr(text, tail), "%s", text);
        cr_expect_not_null(strstr(text, "{\"ok\":true,\"pages\":2048,"), "%s", text);
}

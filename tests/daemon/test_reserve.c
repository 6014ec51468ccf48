#include "daemon/reserve.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "captured.h"
#include "daemon/stop.h"
#include "scratch.h"

#define MIB (UINT64_C(1) << 20)

static int sparse_file(uint64_t bytes) {
        int fd = memfd_create("reserve", MFD_CLOEXEC);
        cr_assert_geq(fd, 0);
        cr_assert_eq(ftruncate(fd, (off_t)bytes), 0);
        return fd;
}

Test(reserve, a_range_is_backed_to_the_byte) {
        int fd = sparse_file(16 * MIB);
        cr_assert_eq(reserve_range(fd, 0, 5 * MIB, NULL), 0);
        cr_assert_eq(reserve_resident_bytes(fd), 5 * MIB);
        close(fd);
}

Test(reserve, stops_when_a_stop_is_asked_for) {
        int fd = sparse_file(16 * MIB);
        stop_watch();
        raise(SIGTERM);
        cr_assert_eq(reserve_range(fd, 0, 16 * MIB, NULL), -ECANCELED);
        cr_assert_eq(reserve_resident_bytes(fd), 0);
        close(fd);
}

Test(reserve, a_map_backs_whole_units_once) {
        int fd = sparse_file(7 * MIB);
        struct reserve_map map = {0};
        cr_assert_eq(reserve_map_init(&map, fd, 7 * MIB), 0);
        cr_assert_eq(reserve_map_commit(&map, 3 * MIB, 4096), 0);
        cr_assert_eq(reserve_resident_bytes(fd), 2 * MIB);
        cr_assert_eq(reserve_map_commit(&map, 2 * MIB, 2 * MIB), 0);
        cr_assert_eq(reserve_resident_bytes(fd), 2 * MIB);
        cr_assert_eq(reserve_map_commit(&map, 4 * MIB - 4096, 8192), 0);
        cr_assert_eq(reserve_resident_bytes(fd), 4 * MIB);
        cr_assert_eq(
                reserve_map_commit(&map, 6 * MIB, MIB), 0, "the last unit is cut off by the end");
        cr_assert_eq(reserve_resident_bytes(fd), 5 * MIB);
        cr_assert_eq(reserve_map_commit(&map, 0, 7 * MIB), 0);
        cr_assert_eq(reserve_resident_bytes(fd), 7 * MIB);
        reserve_map_deinit(&map);
        close(fd);
}

Test(reserve, a_map_is_large_enough_for_the_largest_segment) {
        uint64_t bytes = UINT64_C(16) << 40;
        int fd = sparse_file(bytes);
        struct reserve_map map = {0};
        cr_assert_eq(reserve_map_init(&map, fd, bytes), 0);
        cr_assert_eq(reserve_map_commit(&map, bytes - 4096, 4096), 0);
        cr_assert_eq(reserve_resident_bytes(fd), 2 * MIB);
        reserve_map_deinit(&map);
        close(fd);
}

Test(reserve, what_does_not_fit_is_refused_with_the_figures) {
        struct pool_settings pool = scratch_pool();
        captured_begin(2);
        bool fits = reserve_fits(&pool, UINT64_C(1) << 60, -1);
        const char *text = captured_end();
        cr_assert_not(fits);
        cr_assert(is_one_line(text) && strstr(text, "needs 1048576 TiB more") &&
                          strstr(text, "--commit lazy"),
                "%s", text);
        cr_assert(reserve_fits(&pool, MIB, -1));
}

Test(reserve, a_refusal_says_what_the_ledger_is_of_it) {
        struct pool_settings pool = scratch_pool();
        pool.size_bytes = pool.max_size_bytes = 14 * MIB;
        captured_begin(2);
        bool fits = reserve_fits(&pool, UINT64_C(1) << 60, -1);
        const char *text = captured_end();
        cr_assert_not(fits);
        cr_assert(strstr(text, "(14 MiB of pages and 8.5 MiB of ledger)"), "%s", text);
}

Test(reserve, what_is_lazy_already_is_not_told_to_be) {
        struct pool_settings pool = scratch_pool();
        pool.commit = COMMIT_LAZY;
        captured_begin(2);
        bool fits = reserve_fits(&pool, UINT64_C(1) << 60, -1);
        const char *text = captured_end();
        cr_assert_not(fits);
        cr_assert(is_one_line(text) && strstr(text, "MiB of ledger)") && strchr(text, ';'), "%s",
                text);
        cr_assert_null(strstr(text, "lazy"), "%s", text);
}

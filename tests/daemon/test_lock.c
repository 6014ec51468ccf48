#include "daemon/lock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"

static void make(void) {
        scratch_make();
}

TestSuite(lock, .init = make, .fini = scratch_remove);

static int open_file(void) {
        int fd = open(scratch_path("lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        cr_assert_geq(fd, 0);
        return fd;
}

Test(lock, keeps_a_second_out_until_it_is_closed) {
        int first = open_file(), second = open_file();
        cr_assert_eq(lock_take(first), 0);
        cr_assert_eq(lock_take(second), -EAGAIN);
        close(first);
        cr_assert_eq(lock_take(second), 0);
        close(second);
}

Test(lock, of_a_removed_name_is_worth_nothing) {
        int fd = open_file();
        unlink(scratch_path("lock"));
        cr_assert_eq(lock_take(fd), -ESTALE);
        close(fd);
}

Test(lock, finds_the_process_that_has_it) {
        int fd = open_file();
        char text[LOCK_HOLDER_TEXT], expected[LOCK_HOLDER_TEXT];
        cr_assert_str_eq(lock_describe_holder(fd, text), "another daemon");
        int go[2];
        cr_assert_eq(pipe(go), 0);
        pid_t child = fork();
        if (child == 0) {
                close(go[1]);
                char byte;
                _exit(read(go[0], &byte, 1) == 0 ? 0 : 1);
        }
        snprintf(expected, sizeof(expected), "another daemon (pid %d)", (int)child);
        cr_expect_str_eq(lock_describe_holder(fd, text), expected);
        close(go[1]);
        waitpid(child, NULL, 0);
        close(go[0]);
        close(fd);
}

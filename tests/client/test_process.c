/* Telling a process from its forked child. */
#include "client/process.h"

#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

static int in_child(const struct process_mark *mark) {
        pid_t child = fork();
        if (child == 0)
                _exit(process_mark_is_mine(mark) ? 1 : 0);
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        return WEXITSTATUS(status);
}

Test(process_mark, is_mine_here_and_not_in_a_child) {
        struct process_mark mark;
        cr_assert_eq(process_mark_init(&mark), 0);
        cr_assert(process_mark_is_mine(&mark));
        cr_assert_eq(in_child(&mark), 0);
        cr_assert(process_mark_is_mine(&mark));
        process_mark_deinit(&mark);
}

/* Where the kernel cannot wipe the page in a child, the process id decides. */
Test(process_mark, falls_back_to_the_process_id) {
        struct process_mark mark = {.pid = getpid()};
        cr_assert(process_mark_is_mine(&mark));
        cr_assert_eq(in_child(&mark), 0);
}

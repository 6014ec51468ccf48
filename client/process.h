/* Whether this is still the process that made a client, or a child that inherited it by fork().
 * Asking makes no system call: the mark is a page that the kernel wipes in a child. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

struct process_mark {
        const uint32_t *page; /* owned mapping; 0 in a forked child; NULL: the kernel cannot wipe */
        pid_t pid;            /* asked for where there is no page */
};

/* -ENOMEM. */
int process_mark_init(struct process_mark *mark);
void process_mark_deinit(struct process_mark *mark);

/* True in the process that initialised the mark, false in its forked children. */
static inline bool process_mark_is_mine(const struct process_mark *mark) {
        return mark->page ? *mark->page != 0 : mark->pid == getpid();
}

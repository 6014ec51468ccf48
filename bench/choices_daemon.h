/* A daemon of one's own: its socket and its log in a temporary folder, its pool under a name of its own. It ends with the process
 * that started it, and leaves no segment. */
#pragma once

#include <sched.h>
#include <sys/types.h>

struct choices_daemon {
        char folder[64], socket[80], log[80], pool[48];
        pid_t pid; /* 0: it does not run */
};

/* Starts program and waits until it answers. 0; -1: it does not, and stderr says why. */
int choices_daemon_start(struct choices_daemon *daemon, const char *program);

/* Puts all its threads on these CPUs. */
void choices_daemon_move(const struct choices_daemon *daemon, const cpu_set_t *cpus);

/* Ends it and removes what start made. Also after a start that failed. */
void choices_daemon_stop(struct choices_daemon *daemon);

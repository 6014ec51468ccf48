/* The floor: a child process that sends back whatever it receives, over a bare socket pair. */
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static _Noreturn void echo_run(int fd, struct cpu_pin *pin) {
        char bytes[BENCH_MESSAGE_BYTES * BENCH_IN_FLIGHT];
        for (;;) {
                ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
                if (got <= 0 || send(fd, bytes, (size_t)got, MSG_NOSIGNAL) != got)
                        break;
        }
        cpu_pin_restore(pin);
        _exit(0);
}

int echo_start(struct bench *bench, struct cpu_pin *pin) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
                return -errno;
        pid_t child = fork();
        if (child < 0) {
                int error = -errno;
                close(ends[0]);
                close(ends[1]);
                return error;
        }
        if (child == 0) {
                close(ends[0]);
                /* What stops the parent must not stop the one that tidies up behind it. */
                signal(SIGINT, SIG_IGN);
                signal(SIGTERM, SIG_IGN);
                signal(SIGHUP, SIG_IGN);
                echo_run(ends[1], pin);
        }
        close(ends[1]);
        bench->echo_fd = ends[0];
        bench->echo_pid = child;
        return 0;
}

void echo_stop(struct bench *bench) {
        if (bench->echo_fd < 0)
                return;
        close(bench->echo_fd);
        bench->echo_fd = -1;
        while (waitpid(bench->echo_pid, NULL, 0) < 0 && errno == EINTR)
                continue;
}

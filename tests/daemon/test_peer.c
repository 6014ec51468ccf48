/* Who is at the other end, and whether a process is still the one it was. */
#include "daemon/peer.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static bool readable(int fd, int timeout_ms) {
        struct pollfd state = {.fd = fd, .events = POLLIN};
        return poll(&state, 1, timeout_ms) == 1;
}

Test(peer, is_this_process_on_a_socket_pair) {
        int ends[2];
        struct peer peer;
        uint64_t start_time;
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        cr_assert_eq(peer_identify(ends[0], &peer), 0);
        cr_assert_eq(process_start_time((uint32_t)getpid(), &start_time), 0);
        cr_expect_eq(peer.pid, (uint32_t)getpid());
        cr_expect_eq(peer.uid, getuid());
        cr_expect_eq(peer.gid, getgid());
        cr_expect_eq(peer.start_time, start_time);
        cr_expect_geq(peer.pidfd, 0);
        cr_expect_not(readable(peer.pidfd, 0));
        peer_deinit(&peer);
        cr_expect_eq(peer.pidfd, -1);
        close(ends[0]);
        close(ends[1]);
}

Test(process, its_end_is_seen) {
        pid_t child = fork();
        if (child == 0)
                for (;;)
                        pause();
        uint64_t start_time;
        int pidfd;
        cr_assert_eq(process_start_time((uint32_t)child, &start_time), 0);
        cr_assert_eq(process_open((uint32_t)child, start_time, &pidfd), 0);
        cr_expect_not(readable(pidfd, 0));
        kill(child, SIGKILL);
        cr_expect(readable(pidfd, 5000));
        cr_expect_eq(process_open((uint32_t)child, start_time, &pidfd), -ESRCH, "it is a zombie");
        waitpid(child, NULL, 0);
        cr_expect_eq(process_open((uint32_t)child, start_time, &pidfd), -ESRCH);
        cr_expect_eq(process_start_time((uint32_t)child, &start_time), -ESRCH);
        close(pidfd);
}

Test(process, another_start_time_is_another_process) {
        uint64_t start_time;
        int pidfd;
        cr_assert_eq(process_start_time((uint32_t)getpid(), &start_time), 0);
        cr_expect_eq(process_open((uint32_t)getpid(), start_time + 1, &pidfd), -ESRCH);
}

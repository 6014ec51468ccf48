/* What a request costs: one send and one receive, counted by tracing a process that makes
 * requests of a real daemon between two stops. */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/buddyclient.h"
#include "daemon.h"

#define PAIRS 50

/* Makes a first pair, so that nothing is done for the first time between the stops. */
static _Noreturn void trace_me(const struct daemon_process *daemon, uint64_t cache_bytes) {
        struct buddyclient *client = daemon_process_client(daemon);
        struct buddyclient_range range;
        if (!client || buddyclient_set_cache_bytes(client, cache_bytes) != 0 ||
                buddyclient_connect(client) != 0 || ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
                _exit(1);
        for (int i = -1; i < PAIRS; i++) {
                if (i == 0)
                        raise(SIGSTOP);
                if (buddyclient_alloc(client, 4096, &range) < 0 ||
                        buddyclient_release(client, &range) < 0)
                        _exit(2);
        }
        raise(SIGSTOP);
        buddyclient_destroy(client);
        _exit(0);
}

static void expect_stop(pid_t child, int *status) {
        cr_assert_eq(waitpid(child, status, 0), child);
        cr_assert(WIFSTOPPED(*status), "the traced process ended: %x", (unsigned)*status);
}

/* System calls by number until the next SIGSTOP, which sends itself. */
static void count_calls(pid_t child, unsigned *counts, size_t numbers) {
        int status;
        for (;;) {
                cr_assert_eq(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
                expect_stop(child, &status);
                if (WSTOPSIG(status) == SIGSTOP)
                        return;
                struct __ptrace_syscall_info info;
                cr_assert_gt(ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), &info), 0);
                if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr < numbers)
                        counts[info.entry.nr]++;
        }
}

/* Counts them of pairs by a client with such a cache, without what raise does. */
static void count_pairs(uint64_t cache_bytes, unsigned counts[1024]) {
        struct daemon_process daemon;
        cr_assert_eq(daemon_process_start(&daemon, BUDDYD, 1 << 20), 0);
        pid_t child = fork();
        if (child == 0)
                trace_me(&daemon, cache_bytes);
        int status;
        expect_stop(child, &status);
        ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD);
        count_calls(child, counts, 1024);
        ptrace(PTRACE_CONT, child, NULL, NULL);
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert_eq(status, 0);
        cr_assert_eq(daemon_process_stop(&daemon), 0);
        counts[SYS_getpid] = counts[SYS_gettid] = counts[SYS_tgkill] = counts[SYS_rt_sigprocmask] =
                0;
}

static void expect_none(const unsigned counts[1024]) {
        for (unsigned number = 0; number < 1024; number++)
                cr_assert_eq(counts[number], 0, "%u times system call %u", counts[number], number);
}

Test(client, request_costs_one_send_and_one_receive) {
        unsigned counts[1024] = {[SYS_setsockopt] = 1};
        /* Where the machine stood still within a request, the socket's timeout is set anew: not each time. */
        for (int tries = 0; tries < 5 && counts[SYS_setsockopt] > 0; tries++) {
                memset(counts, 0, sizeof counts);
                count_pairs(0, counts);
        }
        cr_assert_eq(counts[SYS_sendto], 2 * PAIRS, "%u sends", counts[SYS_sendto]);
        cr_assert_eq(counts[SYS_recvfrom], 2 * PAIRS, "%u receives", counts[SYS_recvfrom]);
        counts[SYS_sendto] = counts[SYS_recvfrom] = 0;
        expect_none(counts);
}

Test(client, pair_with_a_cache_makes_no_system_call) {
        unsigned counts[1024] = {0};
        count_pairs(1 << 20, counts);
        expect_none(counts);
}

/* Ranges that a submission took out of the cache in vain, when the cache does not take them back: nobody waits for the daemon. */
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/types.h>

#include "client/buddyclient.h"
#include "client/deadline.h"
#include "client/giveback.h"
#include "daemon.h"

TestSuite(unused, .timeout = 60);

#define PAGE  4096ull
#define TAKEN 24

static uint64_t held_bytes(struct buddyclient *client) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        cr_assert_eq(buddyclient_stats(client, &stats), 0);
        return stats.held_bytes;
}

static void give_back_while(struct daemon_process *daemon, bool killed) {
        struct buddyclient_range taken[TAKEN], more;
        struct buddyclient *client = daemon_process_connect(daemon);
        cr_assert_not_null(client);
        for (int each = 0; each < TAKEN; each++)
                cr_assert_eq(buddyclient_alloc(client, PAGE, &taken[each]), 0);
        if (killed)
                daemon_process_kill(daemon);
        else
                cr_assert_eq(kill(daemon->pid, SIGSTOP), 0);
        int64_t begin = deadline_now();
        giveback_unused(client, taken, TAKEN);
        cr_assert_lt(deadline_now() - begin, 500000000, "it waited");
        if (killed)
                cr_assert_eq(daemon_process_restart(daemon, BUDDYD), 0);
        else
                cr_assert_eq(kill(daemon->pid, SIGCONT), 0);
        cr_assert_eq(buddyclient_alloc(client, 64 * PAGE, &more), 0);
        cr_assert_eq(buddyclient_release(client, &more), 0);
        cr_assert_eq(held_bytes(client), 0);
        buddyclient_destroy(client);
}

Test(unused, goes_back_without_waiting_for_a_daemon_that_stands_or_is_gone) {
        struct daemon_process daemon;
        cr_assert_eq(daemon_process_start(&daemon, BUDDYD, 1 << 26), 0);
        give_back_while(&daemon, false);
        give_back_while(&daemon, true);
        cr_assert_eq(daemon_process_stop(&daemon), 0);
}

/* Threads that submit and threads that make calls, on one connection against a real daemon, while one thread dispatches and another
 * one tries to. Every range is marked by its holder; whoever finds another's mark has been granted what somebody else holds. Every
 * callback must run once, and nothing may be left over. With --kill-ms the daemon is killed and started again so often, which none of them
 * may notice. At the end a client is destroyed with hundreds under way.
 *
 * stress_submit BUDDYD [--seconds N] [--kill-ms N] [--cache BYTES] */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/buddyclient.h"
#include "tests/client/daemon.h"

#define PAGE       UINT64_C(4096)
#define POOL_BYTES (UINT64_C(8) << 20)
#define SUBMITTERS 3
#define CALLERS    3
#define FLIGHT     64 /* submissions of a thread under way at most */
#define LEFT       600

static struct buddyclient *client;
static atomic_bool stop, stop_dispatch, failed;
static atomic_ulong submitted, told, busy;

static void fail(const char *what, int rc) {
        fprintf(stderr, "stress_submit: %s: %d %s (%s)\n", what, rc, buddyclient_strerror(rc),
                buddyclient_detail(client));
        atomic_store(&failed, true);
        atomic_store(&stop, true);
}

/* The pool's bytes are shared with nobody but other threads here: atomics, so that a double
 * grant shows as a wrong mark. */
static _Atomic uint64_t *mark_of(const struct buddyclient_range *range) {
        return buddyclient_pointer(client, range);
}

/* ---- Submissions: a slot takes a range, keeps it for a while, and returns it ---- */

struct slot {
        struct submitter *submitter;
        struct buddyclient_range range;
        uint64_t mark;
        atomic_uint under_way; /* 0 or 1: the callback that runs twice finds it 0 */
        atomic_bool held;
};

struct submitter {
        pthread_t thread;
        unsigned seed;
        uint64_t refusals;
        struct slot slots[FLIGHT];
};

static bool slot_end(struct slot *slot) {
        atomic_fetch_add(&told, 1);
        if (atomic_exchange(&slot->under_way, 0) == 1)
                return true;
        fail("a callback ran twice", -EUCLEAN);
        return false;
}

static void granted(
        struct buddyclient *from, const struct buddyclient_completion *completion, void *data) {
        struct slot *slot = data;
        (void)from;
        if (completion->result == 0) {
                slot->range = completion->ranges[0];
                atomic_store(mark_of(&slot->range), slot->mark);
                atomic_store(&slot->held, true);
        } else if (completion->result != -ENOMEM && completion->result != -ETIMEDOUT) {
                fail("a submitted alloc", completion->result);
        }
        slot_end(slot);
}

static void returned(
        struct buddyclient *from, const struct buddyclient_completion *completion, void *data) {
        (void)from;
        if (completion->result != 0)
                fail("a submitted release", completion->result);
        slot_end(data);
}

static void looked_up(
        struct buddyclient *from, const struct buddyclient_completion *completion, void *data) {
        (void)from;
        if (completion->result != -ENOENT)
                fail("a submitted lookup", completion->result);
        slot_end(data);
}

/* The other half of them come from inside of a callback, of the dispatching thread. */
static void chained(
        struct buddyclient *from, const struct buddyclient_completion *completion, void *data) {
        struct slot *slot = data;
        if (completion->result == 0) {
                struct buddyclient_range range = completion->ranges[0];
                atomic_fetch_add(&submitted, 1);
                atomic_fetch_add(&told, 1);
                int rc = buddyclient_submit_release(from, &range, returned, slot);
                if (rc < 0)
                        fail("submission of a release in a callback", rc);
        } else {
                if (completion->result != -ENOMEM)
                        fail("a chained alloc", completion->result);
                slot_end(slot);
        }
}

static int slot_submit(struct slot *slot, unsigned choice) {
        if (atomic_load(&slot->held)) {
                if (atomic_load(mark_of(&slot->range)) != slot->mark)
                        fail("a range bears another's mark", -EUCLEAN);
                atomic_store(&slot->held, false);
                return buddyclient_submit_release(client, &slot->range, returned, slot);
        }
        uint64_t length = PAGE << choice % 4;
        switch (choice % 5) {
        case 0:
                return buddyclient_submit_alloc_wait(
                        client, length, (int)(choice % 30), granted, slot);
        case 1:
                return buddyclient_submit_lookup(client, "none", looked_up, slot);
        case 2:
                return buddyclient_submit_alloc(client, length, chained, slot);
        default:
                return buddyclient_submit_alloc(client, length, granted, slot);
        }
}

static void slot_use(struct slot *slot, unsigned choice) {
        if (atomic_load(&slot->under_way) != 0)
                return;
        atomic_store(&slot->under_way, 1);
        atomic_fetch_add(&submitted, 1);
        int rc = slot_submit(slot, choice);
        if (rc < 0)
                fail("submission", rc);
}

static void *submit_on(void *context) {
        struct submitter *submitter = context;
        while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
                unsigned choice = (unsigned)rand_r(&submitter->seed);
                slot_use(&submitter->slots[choice / 7 % FLIGHT], choice);
                if (choice % 64 == 0)
                        sched_yield();
        }
        return NULL;
}

/* ---- Calls beside them ---- */

struct caller {
        pthread_t thread;
        uint64_t mark, calls;
};

static void *call_on(void *context) {
        struct caller *caller = context;
        struct buddyclient_range range;
        while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
                int rc = caller->calls % 3 == 0
                                 ? buddyclient_alloc_wait(client, PAGE, 10, &range)
                                 : buddyclient_alloc(client, PAGE << caller->calls % 3, &range);
                caller->calls++;
                if (rc == -ENOMEM || rc == -ETIMEDOUT)
                        continue;
                if (rc < 0) {
                        fail("alloc", rc);
                        break;
                }
                atomic_store(mark_of(&range), caller->mark);
                sched_yield();
                if (atomic_load(mark_of(&range)) != caller->mark)
                        fail("a range bears another's mark", -EUCLEAN);
                rc = buddyclient_release(client, &range);
                if (rc < 0)
                        fail("release", rc);
        }
        return NULL;
}

/* ---- Dispatching ---- */

static void *dispatch_on(void *context) {
        struct pollfd ready = {.fd = buddyclient_fd(client), .events = POLLIN};
        (void)context;
        while (!atomic_load(&stop_dispatch)) {
                if (poll(&ready, 1, 100) <= 0)
                        continue;
                int rc = buddyclient_dispatch(client);
                if (rc == -EBUSY)
                        atomic_fetch_add(&busy, 1);
                else if (rc < 0) {
                        fail("dispatch", rc);
                        break;
                }
        }
        return NULL;
}

/* ---- The end of a client ---- */

static atomic_uint left_told;

static void left(
        struct buddyclient *from, const struct buddyclient_completion *completion, void *data) {
        (void)from;
        (void)data;
        if (completion->result != 0 && completion->result != -ENOTCONN &&
                completion->result != -ENOMEM)
                fail("what was left", completion->result);
        atomic_fetch_add(&left_told, 1);
}

static void destroy_with_hundreds_under_way(void) {
        for (int each = 0; each < LEFT; each++) {
                int rc = buddyclient_submit_alloc(client, PAGE, left, NULL);
                if (rc < 0)
                        fail("submission", rc);
                if (each == LEFT / 2)
                        buddyclient_dispatch(client);
        }
        buddyclient_destroy(client);
        if (atomic_load(&left_told) != LEFT) {
                fprintf(stderr, "stress_submit: %u of %u callbacks by destroy\n",
                        atomic_load(&left_told), LEFT);
                atomic_store(&failed, true);
        }
}

/* ---- The run ---- */

static long option(int argc, char **argv, const char *name, long otherwise) {
        for (int i = 2; i + 1 < argc; i++)
                if (strcmp(argv[i], name) == 0)
                        return strtol(argv[i + 1], NULL, 10);
        return otherwise;
}

static void moment_pass(long ms) {
        nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void run_until(
        time_t end, struct daemon_process *daemon, const char *program, long kill_ms) {
        unsigned kills = 0;
        while (time(NULL) < end && !atomic_load(&stop)) {
                moment_pass(kill_ms > 0 ? kill_ms : 20);
                if (kill_ms == 0)
                        continue;
                daemon_process_kill(daemon);
                if (daemon_process_restart(daemon, program) < 0)
                        fail("restart", -ECHILD);
                kills++;
        }
        if (kills > 0)
                printf("%u kills\n", kills);
}

/* All callbacks, then all that is held; then nothing may be left. */
static void settle(struct submitter *submitters) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        for (int tries = 0; atomic_load(&told) < atomic_load(&submitted) && tries < 3000; tries++)
                moment_pass(10);
        if (atomic_load(&told) != atomic_load(&submitted)) {
                fprintf(stderr, "stress_submit: %lu submitted, %lu told\n", atomic_load(&submitted),
                        atomic_load(&told));
                atomic_store(&failed, true);
        }
        for (int i = 0; i < SUBMITTERS * FLIGHT; i++) {
                struct slot *slot = &submitters[i / FLIGHT].slots[i % FLIGHT];
                int rc = atomic_load(&slot->held) ? buddyclient_release(client, &slot->range) : 0;
                if (rc < 0)
                        fail("release of what a callback granted", rc);
        }
        int rc = buddyclient_stats(client, &stats);
        if (rc < 0)
                fail("stats", rc);
        else if (stats.held_bytes != 0)
                fail("ranges are left over", -EUCLEAN);
}

static void start(pthread_t *thread, void *(*function)(void *), void *context) {
        if (pthread_create(thread, NULL, function, context) != 0)
                abort();
}

static void run(struct daemon_process *daemon, const char *program, long seconds, long kill_ms) {
        static struct submitter submitters[SUBMITTERS];
        static struct caller callers[CALLERS];
        pthread_t dispatchers[2];
        uint64_t mark = 1;
        for (int i = 0; i < SUBMITTERS; i++) {
                submitters[i].seed = (unsigned)i;
                for (int each = 0; each < FLIGHT; each++)
                        submitters[i].slots[each] =
                                (struct slot){.submitter = &submitters[i], .mark = mark++};
        }
        start(&dispatchers[0], dispatch_on, NULL);
        start(&dispatchers[1], dispatch_on, NULL);
        for (int i = 0; i < SUBMITTERS; i++)
                start(&submitters[i].thread, submit_on, &submitters[i]);
        for (int i = 0; i < CALLERS; i++) {
                callers[i].mark = mark++;
                start(&callers[i].thread, call_on, &callers[i]);
        }
        run_until(time(NULL) + seconds, daemon, program, kill_ms);
        atomic_store(&stop, true);
        uint64_t calls = 0;
        for (int i = 0; i < SUBMITTERS; i++)
                pthread_join(submitters[i].thread, NULL);
        for (int i = 0; i < CALLERS; i++) {
                pthread_join(callers[i].thread, NULL);
                calls += callers[i].calls;
        }
        settle(submitters);
        atomic_store(&stop_dispatch, true);
        pthread_join(dispatchers[0], NULL);
        pthread_join(dispatchers[1], NULL);
        printf("%lu submitted, %lu told, %" PRIu64 " calls, %lu times busy\n",
                atomic_load(&submitted), atomic_load(&told), calls, atomic_load(&busy));
}

int main(int argc, char **argv) {
        struct daemon_process daemon;
        if (argc < 2) {
                fprintf(stderr, "usage: stress_submit BUDDYD [--seconds N] [--kill-ms N] "
                                "[--cache BYTES]\n");
                return 2;
        }
        if (daemon_process_start(&daemon, argv[1], POOL_BYTES) < 0)
                return 1;
        client = daemon_process_client(&daemon);
        bool connected = client && buddyclient_set_timeout_ms(client, 30000) == 0 &&
                         buddyclient_set_cache_bytes(client,
                                 (uint64_t)option(argc, argv, "--cache", 128 * 1024)) == 0 &&
                         buddyclient_connect(client) == 0;
        if (connected) {
                run(&daemon, argv[1], option(argc, argv, "--seconds", 3),
                        option(argc, argv, "--kill-ms", 0));
                destroy_with_hundreds_under_way();
        }
        bool stopped = daemon_process_stop(&daemon) == 0;
        return connected && stopped && atomic_load(&told) > 0 && !atomic_load(&failed) ? 0 : 1;
}

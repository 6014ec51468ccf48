/* Proof by fire: four processes of two threads work on one pool and share their ranges, while this program kills the daemon at random
 * moments and starts it again, kills, stops and replaces the processes, and upgrades the daemon in place. Every page that is
 * held bears its holder's mark and is checked before it is returned. At the end everything must be returned, nothing held, and no
 * call may have failed that the daemon could have served. One worker's client is impatient: its calls may end with
 * -ENOTCONN, and must leave nothing behind either.
 *
 * fault_kill BUDDYD [--buddyctl PATH] [--kills N] [--seconds N] [--seed N] [--cache BYTES]
 * It goes on until there have been that many kills of the daemon, and so many seconds. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fault_worker.h"

#define POOL_BYTES  (UINT64_C(4) << 20) /* small, so that there is waiting */
#define CHECK_EVERY 10                  /* kills */
#define STOP_US     ((IMPATIENT_MS + 500) * UINT64_C(1000))
#define END_US      60000000 /* for all workers to come to rest */

static struct fault_stage stage;
static struct fault_board *board;
static unsigned seed, first_seed;
static unsigned stopped = WORKERS; /* which worker is stopped; WORKERS: none */
static uint64_t stopped_until;
static struct {
        unsigned kills, early_kills, upgrades, starts, checks;
        unsigned worker_kills, worker_stops, worker_leaves, worker_starts;
} done;

static unsigned chance(unsigned below) {
        return (unsigned)rand_r(&seed) % below;
}

static void fail_if_failed(void) {
        if (atomic_load(&board->failures) == 0)
                return;
        pause_us(20000); /* its text may be being written */
        stage_fail(&stage, "%s (--seed %u, after %u kills)", board->failure, first_seed,
                done.kills + done.early_kills);
}

/* ---- Workers ---- */

static void worker_start(unsigned number) {
        struct fault_slot *slot = &board->slots[number];
        slot->incarnation++;
        atomic_store(&slot->who, 0);
        atomic_store(&slot->quiet, 0);
        atomic_store(&slot->leave, false);
        fflush(stdout);
        pid_t process = fork();
        if (process == 0)
                worker_run(&stage, board, number, first_seed + done.worker_starts * 7919);
        if (process < 0)
                stage_fail(&stage, "fork: %s", strerror(errno));
        slot->pid = process;
        done.worker_starts++;
}

/* True when it has ended, which it may do only if it was told to. */
static bool worker_has_left(unsigned number) {
        struct fault_slot *slot = &board->slots[number];
        int status = 0;
        if (waitpid(slot->pid, &status, WNOHANG) != slot->pid)
                return false;
        fail_if_failed();
        if (status != 0 || !atomic_load(&slot->leave))
                stage_fail(&stage, "worker %u ended with 0x%x (--seed %u)", number,
                        (unsigned)status, first_seed);
        return true;
}

/* Starts again who was killed, and who left when told to. */
static void workers_reap(void) {
        for (unsigned each = 0; each < WORKERS; each++)
                if (board->slots[each].pid == 0 || worker_has_left(each))
                        worker_start(each);
        fail_if_failed();
}

static void worker_kill(void) {
        unsigned number = chance(WORKERS);
        struct fault_slot *slot = &board->slots[number];
        if (slot->pid == 0)
                return;
        if (!worker_has_left(number)) {
                kill(slot->pid, SIGKILL);
                waitpid(slot->pid, NULL, 0);
                done.worker_kills++;
        }
        slot->pid = 0;
        if (number == stopped)
                stopped = WORKERS;
}

static void worker_let_go(void) {
        if (stopped == WORKERS)
                return;
        atomic_fetch_add(&board->slots[stopped].stops, 1);
        kill(board->slots[stopped].pid, SIGCONT);
        stopped = WORKERS;
}

static void worker_stop(void) {
        unsigned number = chance(WORKERS);
        if (stopped != WORKERS || board->slots[number].pid == 0)
                return;
        kill(board->slots[number].pid, SIGSTOP);
        stopped = number;
        stopped_until = now_us() + STOP_US;
        done.worker_stops++;
}

static void worker_dismiss(void) {
        unsigned number = chance(WORKERS);
        if (number == stopped || board->slots[number].pid == 0)
                return;
        atomic_store(&board->slots[number].leave, true);
        done.worker_leaves++;
}

static void workers_trouble(void) {
        if (stopped != WORKERS && now_us() > stopped_until)
                worker_let_go();
        switch (chance(12)) {
        case 0:
        case 1:
                worker_kill();
                break;
        case 2:
                worker_stop();
                break;
        case 3:
                worker_dismiss();
                break;
        }
}

/* ---- The daemon ---- */

static void daemon_start(bool keep) {
        stage_start(&stage, keep);
        done.starts++;
}

/* One life of a daemon that others' work depends on. */
static void round_run(void) {
        daemon_start(true);
        if (chance(4) == 0) {
                pause_us(chance(15000));
                stage_end(&stage, SIGKILL);
                done.early_kills++;
        } else {
                stage_await(&stage);
                pause_us(1000 + chance(29000));
                workers_trouble();
                if (chance(16) == 0) {
                        stage_end(&stage, SIGTERM);
                        done.upgrades++;
                } else {
                        stage_end(&stage, SIGKILL);
                        done.kills++;
                }
        }
        if (chance(6) == 0)
                worker_kill();
        if (chance(8) == 0)
                pause_us(chance(40000));
        if (chance(2) == 0)
                workers_reap();
        fail_if_failed();
}

static void check_run(void) {
        daemon_start(true);
        stage_await(&stage);
        workers_reap();
        stage_check(&stage);
        done.checks++;
        stage_end(&stage, SIGKILL);
        done.kills++;
}

/* ---- The end ---- */

static void await_quiet(void) {
        uint64_t deadline = now_us() + END_US;
        for (unsigned each = 0; each < WORKERS; each++)
                while (atomic_load(&board->slots[each].quiet) < THREADS) {
                        workers_reap();
                        pause_us(1000);
                        if (now_us() > deadline)
                                stage_fail(&stage, "worker %u does not come to rest (--seed %u)",
                                        each, first_seed);
                }
}

static void await_ends(void) {
        uint64_t deadline = now_us() + END_US;
        for (unsigned each = 0; each < WORKERS; each++) {
                int status = 0;
                while (waitpid(board->slots[each].pid, &status, WNOHANG) == 0) {
                        fail_if_failed();
                        pause_us(1000);
                        if (now_us() > deadline)
                                stage_fail(&stage, "worker %u does not end (--seed %u)", each,
                                        first_seed);
                }
                fail_if_failed();
                if (status != 0)
                        stage_fail(&stage, "worker %u ended with 0x%x (--seed %u)", each,
                                (unsigned)status, first_seed);
        }
}

static struct buddyclient_stats stats_of(struct buddyclient *client) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        int result = buddyclient_stats(client, &stats);
        if (result != 0)
                stage_fail(&stage, "stats: %d", result);
        return stats;
}

/* Takes the keys away, and finds the whole pool free: soon, since those that were killed are reclaimed beside it. */
static void expect_nothing_held(void) {
        struct buddyclient *client = stage_client(&stage, "supervisor", 30000);
        if (!client || buddyclient_connect(client) != 0)
                stage_fail(&stage, "the supervisor cannot connect");
        for (unsigned each = 0; each < KEYS; each++) {
                char key[16];
                snprintf(key, sizeof key, "key %u", each);
                int result = buddyclient_unpublish(client, key);
                if (result != 0 && result != -ENOENT)
                        stage_fail(&stage, "unpublish: %d", result);
        }
        uint64_t deadline = now_us() + END_US;
        while (stats_of(client).held_bytes != 0) {
                pause_us(1000);
                if (now_us() > deadline)
                        stage_fail(&stage, "%lu bytes held for good (--seed %u)",
                                (unsigned long)stats_of(client).held_bytes, first_seed);
        }
        struct buddyclient_stats stats = stats_of(client);
        if (stats.largest_free_bytes != POOL_BYTES)
                stage_fail(&stage, "the largest free block is %lu (--seed %u)",
                        (unsigned long)stats.largest_free_bytes, first_seed);
        buddyclient_destroy(client);
}

static void finish(void) {
        daemon_start(false);
        stage_await(&stage);
        worker_let_go();
        atomic_store(&board->phase, PHASE_QUIET);
        await_quiet();
        atomic_store(&board->phase, PHASE_RETURN);
        await_ends();
        expect_nothing_held();
        stage_check(&stage);
        stage_end(&stage, SIGTERM);
}

static void report(double seconds) {
        uint64_t calls = 0;
        printf("fault_kill: passed, --seed %u, %.1f s\n", first_seed, seconds);
        printf("daemon: %u kills while it served, %u while it started, %u upgrades in place, %u "
               "starts, "
               "%u checks\n",
                done.kills, done.early_kills, done.upgrades, done.starts, done.checks);
        printf("workers: %u kills, %u stops of %llu ms, %u leaves, %u starts\n", done.worker_kills,
                done.worker_stops, (unsigned long long)STOP_US / 1000, done.worker_leaves,
                done.worker_starts);
        printf("log: %u reclaims, %u resumes\n", stage_log_count(&stage, ": returned "),
                stage_log_count(&stage, " resumed "));
        for (unsigned each = 0; each < CALL_COUNT; each++) {
                calls += atomic_load(&board->calls[each]);
                printf("%s %lu%s", fault_call_names[each],
                        (unsigned long)atomic_load(&board->calls[each]),
                        each + 1 < CALL_COUNT ? ", " : "\n");
        }
        printf("%lu calls, %lu found no room, %lu ran out of time; %lu pages checked, %lu "
               "gifts\n",
                (unsigned long)calls, (unsigned long)atomic_load(&board->full),
                (unsigned long)atomic_load(&board->cut_off),
                (unsigned long)atomic_load(&board->pages_checked),
                (unsigned long)atomic_load(&board->parcels));
        printf("longest gap that a call saw: %.1f ms\n",
                (double)atomic_load(&board->longest_us) / 1000);
}

static void board_open(void) {
        board = mmap(
                NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (board == MAP_FAILED)
                stage_fail(&stage, "mmap: %s", strerror(errno));
        for (unsigned each = 0; each < WORKERS; each++)
                if (pipe2(board->slots[each].inbox, O_NONBLOCK | O_CLOEXEC) < 0)
                        stage_fail(&stage, "pipe: %s", strerror(errno));
}

static int usage(void) {
        fprintf(stderr, "usage: fault_kill BUDDYD [--buddyctl PATH] [--kills N] [--seconds N] "
                        "[--seed N] [--cache BYTES]\n");
        return 2;
}

int main(int argc, char **argv) {
        unsigned long kills = 100, seconds = 0;
        const char *cache_bytes = NULL; /* of each client */
        const char *buddyctl = FAULT_BUDDYCTL;
        first_seed = (unsigned)time(NULL) ^ (unsigned)getpid() << 16;
        for (int each = 2; each < argc; each += 2) {
                if (each + 1 == argc)
                        return usage();
                if (strcmp(argv[each], "--kills") == 0)
                        kills = strtoul(argv[each + 1], NULL, 10);
                else if (strcmp(argv[each], "--seconds") == 0)
                        seconds = strtoul(argv[each + 1], NULL, 10);
                else if (strcmp(argv[each], "--seed") == 0)
                        first_seed = (unsigned)strtoul(argv[each + 1], NULL, 10);
                else if (strcmp(argv[each], "--cache") == 0)
                        cache_bytes = argv[each + 1];
                else if (strcmp(argv[each], "--buddyctl") == 0)
                        buddyctl = argv[each + 1];
                else
                        return usage();
        }
        if (argc < 2)
                return usage();
        seed = first_seed;
        printf("fault_kill: --seed %u\n", first_seed);
        stage_open(&stage, argv[1], buddyctl, POOL_BYTES);
        if (cache_bytes)
                stage.cache_bytes = strtoul(cache_bytes, NULL, 10);
        board_open();
        uint64_t begin = now_us();
        workers_reap();
        while (done.kills + done.early_kills < kills || now_us() - begin < seconds * 1000000) {
                round_run();
                if (done.starts % CHECK_EVERY == 0)
                        check_run();
        }
        finish();
        report((double)(now_us() - begin) / 1e6);
        stage_close(&stage);
        return 0;
}

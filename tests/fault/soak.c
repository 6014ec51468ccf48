/* Clients of several users (of one, unless it runs as root) that churn, wait, share, give, die, are stopped and misbehave, for
 * hours if wanted. In the end those that are left hold what they wrote down, and the pool holds nothing else; when they have gone it
 * is one whole free set, as it was at the start. The daemon's memory has not grown by 1 MiB since it was warm, nor has it more
 * descriptors.
 *
 * fault_soak BUDDYD [--seconds N] */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fault_usage.h"
#include "soak_worker.h"

#define PAGE         UINT64_C(4096)
#define POOL_BYTES   (UINT64_C(16) << 20)
#define PAGES        (POOL_BYTES / PAGE)
#define GROWTH_BYTES (UINT64_C(1) << 20)
#define END_US       UINT64_C(30000000)

struct soak {
        struct fault_stage stage;
        struct soak_board *board;
        struct buddyclient *observer;
        unsigned kills, stops, checks, seed;
        uint64_t warm_bytes, most_bytes;
        int descriptors;
};

static struct soak soak;

/* ---- What the daemon uses ---- */

static uint64_t resident_bytes(void) {
        char path[40], line[128];
        unsigned long kilobytes = 0;
        snprintf(path, sizeof path, "/proc/%d/status", (int)soak.stage.daemon);
        FILE *file = fopen(path, "re");
        while (file && fgets(line, sizeof line, file))
                if (sscanf(line, "VmRSS: %lu", &kilobytes) == 1)
                        break;
        if (file)
                fclose(file);
        return kilobytes * 1024;
}

static struct buddyclient_stats stats(void) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        int result = buddyclient_stats(soak.observer, &stats);
        if (result != 0)
                stage_fail(
                        &soak.stage, "stats: %d (%s)", result, buddyclient_detail(soak.observer));
        return stats;
}

/* ---- The load ---- */

static void start(unsigned slot) {
        struct soak_slot *at = &soak.board->slots[slot];
        fflush(stdout);
        atomic_store(&soak.board->sessions[slot], 0);
        at->generation++;
        pid_t process = fork(); /* the board is the child's, too */
        if (process < 0)
                stage_fail(&soak.stage, "fork: %s", strerror(errno));
        if (process == 0)
                soak_worker_run(&soak.stage, soak.board, slot);
        at->pid = process;
}

static void expect_no_failure(void) {
        if (atomic_load(&soak.board->failures) > 0)
                stage_fail(&soak.stage, "%s", soak.board->failure);
}

static void kill_one(unsigned slot) {
        kill(soak.board->slots[slot].pid, SIGKILL);
        waitpid(soak.board->slots[slot].pid, NULL, 0);
        soak.kills++;
        start(slot);
}

/* Nobody else is held up. */
static void stop_one(unsigned slot) {
        kill(soak.board->slots[slot].pid, SIGSTOP);
        soak.stops++;
        uint64_t began = now_us();
        stats();
        if (now_us() - began > END_US)
                stage_fail(&soak.stage, "a stopped client holds up another");
        pause_us((uint64_t)rand_r(&soak.seed) % 100000);
        kill(soak.board->slots[slot].pid, SIGCONT);
}

static void load(uint64_t until) {
        while (now_us() < until) {
                unsigned choice = (unsigned)rand_r(&soak.seed);
                pause_us(20000 + choice % 60000);
                if (choice / 64 % 4 == 0)
                        stop_one(choice % SOAK_WORKERS);
                else if (choice / 64 % 4 == 1)
                        kill_one(choice % SOAK_WORKERS);
                if (choice / 1024 % 64 == 0) {
                        stage_check(&soak.stage);
                        soak.checks++;
                }
                expect_no_failure();
                uint64_t bytes = resident_bytes();
                if (bytes > soak.most_bytes)
                        soak.most_bytes = bytes;
        }
}

/* ---- The model ---- */

static unsigned quiet(void) {
        unsigned count = 0;
        for (unsigned i = 0; i < SOAK_WORKERS; i++)
                count += atomic_load(&soak.board->slots[i].quiet);
        return count;
}

static void await_quiet(void) {
        uint64_t deadline = now_us() + END_US;
        atomic_store(&soak.board->phase, SOAK_QUIET);
        while (quiet() < SOAK_WORKERS) {
                pause_us(1000);
                expect_no_failure();
                if (now_us() > deadline)
                        stage_fail(&soak.stage, "only %u clients have settled", quiet());
        }
}

/* The keys of every user, which outlive the clients. */
static void unpublish_all(void) {
        for (unsigned slot = 0; slot < 4; slot++) {
                pid_t process = fork();
                if (process == 0) {
                        uid_t uid = soak_uid(slot);
                        if (uid != geteuid() && setresuid(uid, uid, uid) != 0)
                                _exit(1);
                        struct buddyclient *client = stage_client(&soak.stage, "keys", 20000);
                        if (!client || buddyclient_connect(client) != 0)
                                _exit(1);
                        soak_unpublish(client);
                        buddyclient_destroy(client);
                        _exit(0);
                }
                int status = 1;
                waitpid(process, &status, 0);
                if (status != 0)
                        stage_fail(&soak.stage, "cannot remove the keys of a user");
        }
}

/* What the holders wrote down: the length of the range that begins at a page; and its bytes in all. */
static uint64_t model_fill(uint64_t lengths[PAGES]) {
        uint64_t bytes = 0;
        memset(lengths, 0, PAGES * sizeof *lengths);
        for (unsigned slot = 0; slot < SOAK_WORKERS; slot++) {
                const struct soak_slot *at = &soak.board->slots[slot];
                for (unsigned i = 0; i < at->count; i++) {
                        uint64_t page = at->held[i].offset / PAGE;
                        if (lengths[page] == 0)
                                bytes += at->held[i].length;
                        lengths[page] = at->held[i].length;
                }
        }
        return bytes;
}

/* Strikes out what buddyctl ranges names; returns how many of it are not in the model. */
static unsigned model_strike(uint64_t lengths[PAGES], unsigned *seen) {
        char command[512], *text = NULL;
        size_t text_bytes = 0;
        unsigned unknown = 0;
        snprintf(command, sizeof command, "'%s' --socket '%s' --pool '%s' ranges --json",
                soak.stage.buddyctl, soak.stage.socket, soak.stage.pool);
        FILE *out = popen(command, "re");
        static uint64_t known[PAGES];
        memcpy(known, lengths, sizeof known);
        const char *at = out && getdelim(&text, &text_bytes, '\0', out) > 0 ? text : "";
        while ((at = strstr(at, "\"offset\":"))) {
                const char *then = strstr(at, "\"length\":");
                uint64_t page = strtoull(at + 9, NULL, 10) / PAGE % PAGES;
                at += 9;
                unknown += !then || known[page] != strtoull(then + 9, NULL, 10);
                lengths[page] = 0;
                (*seen)++;
        }
        free(text);
        if (!out || pclose(out) != 0)
                stage_fail(&soak.stage, "buddyctl ranges");
        return unknown;
}

static void expect_model(void) {
        static uint64_t lengths[PAGES];
        unsigned seen = 0, missing = 0, ranges = 0;
        uint64_t bytes = model_fill(lengths);
        for (uint64_t page = 0; page < PAGES; page++)
                ranges += lengths[page] != 0;
        uint64_t deadline = now_us() + END_US;
        struct buddyclient_stats now;
        do /* what gone clients held is returned beside other work */
                now = stats();
        while (now.held_bytes + now.cached_bytes != bytes && now_us() < deadline);
        if (now.held_bytes != bytes || now.cached_bytes != 0 ||
                now.free_bytes != POOL_BYTES - bytes)
                stage_fail(&soak.stage, "%lu bytes are held and %lu free; the holders have %lu",
                        (unsigned long)now.held_bytes, (unsigned long)now.free_bytes,
                        (unsigned long)bytes);
        unsigned unknown = model_strike(lengths, &seen);
        for (uint64_t page = 0; page < PAGES; page++)
                missing += lengths[page] != 0;
        if (unknown > 0 || missing > 0)
                stage_fail(&soak.stage, "%u ranges nobody has, %u are missing", unknown, missing);
        printf("model: %u ranges of %lu bytes, %u holds, as their holders have them\n", ranges,
                (unsigned long)bytes, seen);
}

static void leave(void) {
        atomic_store(&soak.board->phase, SOAK_LEAVE);
        for (unsigned slot = 0; slot < SOAK_WORKERS; slot++) {
                int status = 1;
                waitpid(soak.board->slots[slot].pid, &status, 0);
                if (status != 0)
                        stage_fail(&soak.stage, "a client ended with 0x%x", (unsigned)status);
        }
        expect_no_failure();
        uint64_t deadline = now_us() + END_US;
        struct buddyclient_stats now;
        do {
                now = stats();
                if (now_us() > deadline)
                        stage_fail(&soak.stage, "%lu bytes are held by nobody, largest free %lu",
                                (unsigned long)now.held_bytes,
                                (unsigned long)now.largest_free_bytes);
        } while (now.free_bytes < POOL_BYTES || now.largest_free_bytes < POOL_BYTES);
        printf("free sets: one whole block of %lu bytes, as at the start\n",
                (unsigned long)POOL_BYTES);
}

/* ---- The report ---- */

static int descriptors(void) {
        return usage_descriptors(soak.stage.daemon);
}

static void expect_descriptors(void) {
        uint64_t deadline = now_us() + END_US;
        while (descriptors() > soak.descriptors)
                if (now_us() > deadline)
                        stage_fail(&soak.stage, "the daemon has %d descriptors, and had %d",
                                descriptors(), soak.descriptors);
}

static void report(uint64_t seconds) {
        uint64_t calls = 0, end_bytes = resident_bytes();
        for (unsigned i = 0; i < SOAK_CALLS; i++)
                calls += atomic_load(&soak.board->calls[i]);
        printf("%lu s: %lu calls, %u clients killed, %u stopped, %u checks, %lu pages checked\n",
                (unsigned long)seconds, (unsigned long)calls, soak.kills, soak.stops, soak.checks,
                (unsigned long)atomic_load(&soak.board->pages_checked));
        for (unsigned i = 0; i < SOAK_CALLS; i++)
                printf("  %-12s %10lu, %8lu refused\n", soak_call_names[i],
                        (unsigned long)soak.board->calls[i], (unsigned long)soak.board->refused[i]);
        for (int i = 0; i < SOAK_ERRORS; i++)
                if (soak.board->errors[i] > 0)
                        printf("  %-12s %10lu (%s)\n", strerrorname_np(i),
                                (unsigned long)soak.board->errors[i], buddyclient_strerror(-i));
        printf("resident: %lu KiB when warm, %lu at most, %lu at the end; descriptors: %d, %d\n",
                (unsigned long)soak.warm_bytes / 1024, (unsigned long)soak.most_bytes / 1024,
                (unsigned long)end_bytes / 1024, soak.descriptors, descriptors());
        /* A sanitizer keeps what was freed for a while. */
        if (!FAULT_SANITIZED && end_bytes > soak.warm_bytes + GROWTH_BYTES)
                stage_fail(&soak.stage, "the daemon has grown by %lu KiB",
                        (unsigned long)(end_bytes - soak.warm_bytes) / 1024);
}

int main(int argc, char **argv) {
        uint64_t seconds =
                argc == 4 && strcmp(argv[2], "--seconds") == 0 ? strtoul(argv[3], NULL, 10) : 5;
        if (argc < 2 || seconds == 0) {
                fprintf(stderr, "usage: fault_soak BUDDYD [--seconds N]\n");
                return 2;
        }
        setvbuf(stdout, NULL, _IOLBF, 0);
        soak.seed = (unsigned)time(NULL);
        soak.board = mmap(NULL, sizeof *soak.board, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (soak.board == MAP_FAILED)
                return 1;
        stage_open(&soak.stage, argv[1], FAULT_BUDDYCTL, POOL_BYTES);
        soak.stage.open = true;
        stage_start(&soak.stage, false);
        stage_await(&soak.stage);
        soak.observer = stage_client(&soak.stage, "observer", 20000);
        if (!soak.observer || buddyclient_set_cache_bytes(soak.observer, 0) != 0 ||
                buddyclient_connect(soak.observer) != 0)
                stage_fail(&soak.stage, "the observer cannot connect");
        soak.descriptors = descriptors();
        uint64_t began = now_us(), all_us = seconds * 1000000, warm_us = all_us / 5;
        for (unsigned slot = 0; slot < SOAK_WORKERS; slot++)
                start(slot);
        load(began + warm_us);
        soak.warm_bytes = resident_bytes();
        load(began + all_us);
        await_quiet();
        unpublish_all();
        expect_model();
        stage_check(&soak.stage);
        leave();
        stage_check(&soak.stage);
        expect_descriptors();
        report(seconds);
        buddyclient_destroy(soak.observer);
        stage_end(&soak.stage, SIGTERM);
        stage_close(&soak.stage);
        return 0;
}

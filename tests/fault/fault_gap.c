/* How long a client has to do without its daemon: a pool that is held to the last page by one client, in ranges of one page; the daemon is
 * killed and started again, and the client calls at once, while another thread of it waits for memory all the time. Printed is the time from
 * the new daemon's start to the answer.
 *
 * fault_gap BUDDYD [--size MIB] [--rounds N] */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/buddyclient.h"
#include "fault_stage.h"

#define BATCH      4096
#define ROUNDS_MAX 1000
#define TIMEOUT_MS 60000

static struct fault_stage stage;

static void need(const char *what, struct buddyclient *client, int result) {
        if (result != 0)
                stage_fail(&stage, "%s: %d (%s): %s", what, result, buddyclient_strerror(result),
                        buddyclient_detail(client));
}

static void expect_full(struct buddyclient *client, uint64_t size) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        need("stats", client, buddyclient_stats(client, &stats));
        if (stats.held_bytes != size)
                stage_fail(&stage, "%lu of %lu bytes held", (unsigned long)stats.held_bytes,
                        (unsigned long)size);
}

static uint64_t cpu_us(void) {
        struct timespec used;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
        return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

/* Waits for more than comes free before the end. */
static void *wait_on(void *client) {
        struct buddyclient_range range;
        need("wait", client, buddyclient_alloc_wait(client, (uint64_t)2 * 4096, -1, &range));
        return NULL;
}

/* Microseconds from the start of the daemon until a release is confirmed; takes the page again. */
static uint64_t gap_measure(
        struct buddyclient *client, struct buddyclient_range *range, uint64_t *worked) {
        stage_end(&stage, SIGKILL);
        uint64_t begin = now_us(), idle = cpu_us();
        stage_start(&stage, false);
        need("release", client, buddyclient_release(client, range));
        uint64_t gap = now_us() - begin;
        *worked = cpu_us() - idle;
        stage_await(&stage);
        need("alloc", client, buddyclient_alloc(client, 1, range));
        return gap;
}

static int compare(const void *one, const void *other) {
        const uint64_t *first = one, *second = other;
        return (*first > *second) - (*first < *second);
}

int main(int argc, char **argv) {
        unsigned long mib = 1024, rounds = 7;
        for (int each = 2; each + 1 < argc; each += 2) {
                if (strcmp(argv[each], "--size") == 0)
                        mib = strtoul(argv[each + 1], NULL, 10);
                else if (strcmp(argv[each], "--rounds") == 0)
                        rounds = strtoul(argv[each + 1], NULL, 10);
        }
        if (argc < 2 || argc % 2 != 0 || mib < BATCH * 4096 >> 20 || rounds < 1 ||
                rounds > ROUNDS_MAX) {
                fprintf(stderr,
                        "usage: fault_gap BUDDYD [--size MIB (at least 16)] [--rounds N]\n");
                return 2;
        }
        uint64_t size = (uint64_t)mib << 20, gaps[ROUNDS_MAX], worked[ROUNDS_MAX];
        size_t count = size / 4096 / BATCH * BATCH;
        struct buddyclient_range *ranges = calloc(size / 4096, sizeof *ranges);
        stage_open(&stage, argv[1], "", size);
        stage_start(&stage, false);
        stage_await(&stage);
        struct buddyclient *client = stage_client(&stage, "gap", TIMEOUT_MS);
        if (!client || !ranges)
                stage_fail(&stage, "no memory");
        need("connect", client, buddyclient_connect(client));
        for (size_t each = 0; each < count; each += BATCH)
                need("alloc_many", client, buddyclient_alloc_many(client, 1, BATCH, ranges + each));
        for (size_t each = count; each < size / 4096; each++)
                need("alloc", client, buddyclient_alloc(client, 1, ranges + each));
        pthread_t waiter;
        if (pthread_create(&waiter, NULL, wait_on, client) != 0)
                stage_fail(&stage, "no thread");
        for (unsigned long round = 0; round < rounds; round++) {
                expect_full(client, size);
                gaps[round] = gap_measure(client, &ranges[round * 7919 % count], &worked[round]);
        }
        expect_full(client, size);
        qsort(gaps, rounds, sizeof *gaps, compare);
        qsort(worked, rounds, sizeof *worked, compare);
        printf("%lu MiB held in %zu ranges, %lu kills: gap min %.1f ms, median %.1f ms, max %.1f "
               "ms; "
               "the client worked for %.1f ms of it\n",
                mib, (size_t)(size / 4096), rounds, (double)gaps[0] / 1000,
                (double)gaps[rounds / 2] / 1000, (double)gaps[rounds - 1] / 1000,
                (double)worked[rounds / 2] / 1000);
        need("release_many", client, buddyclient_release_many(client, ranges, size / 4096));
        pthread_join(waiter, NULL);
        buddyclient_destroy(client);
        stage_end(&stage, SIGTERM);
        stage_close(&stage);
        free(ranges);
        return 0;
}

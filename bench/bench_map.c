/* How long the parts of a map take on pools of 1 TiB: the longest call is what others on the same worker wait for, so
 * it is the CPU time of this thread that is measured. Prints a line for
 * each pool; the fragmented ones have every other page, or every page, granted. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "core/pool.h"

#define PAGES (UINT64_C(1) << 28)
#define CELLS 1024u

static struct pool *pool;
static struct ledger ledger;
static struct pool_map_share shares[4096];

static double clock_us(void) {
        struct timespec now;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void fail(const char *what) {
        fprintf(stderr, "bench_map: %s failed\n", what);
        exit(1);
}

static void pool_make(void) {
        struct ledger_layout layout;
        struct ledger_identity identity = {
                .pool = "bench", .page_shift = 12, .pages = PAGES, .pages_max = PAGES};
        char fault[256];
        ledger_layout(PAGES, &layout);
        void *memory = mmap(NULL, layout.total_bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
                fail("mmap");
        ledger_format(memory, &identity, &ledger);
        if (pool_new(&ledger, NULL, &pool, fault, sizeof fault) != 0)
                fail("pool_new");
}

/* Grants count blocks of an order, and returns every other one if half. */
static void pool_fill(uint32_t session, unsigned order, uint64_t count, bool half) {
        static struct block blocks[POOL_BATCH_MAX];
        for (uint64_t done = 0; done < count; done += POOL_BATCH_MAX) {
                if (pool_grant_many(pool, session, order, POOL_BATCH_MAX, blocks) != 0)
                        fail("grant");
                bool freed;
                for (unsigned i = 0; half && i < POOL_BATCH_MAX; i += 2)
                        if (pool_release(pool, session, blocks[i], &freed) != 0)
                                fail("release");
        }
}

static void measure(const char *name) {
        static uint64_t granted[CELLS];
        const struct pool_map_cells cells = {0, PAGES / CELLS, CELLS};
        for (int by_client = 0; by_client < 2; by_client++) {
                uint64_t cursor = 0;
                unsigned calls = 0;
                double longest = 0, sum = 0;
                bool ended;
                do {
                        size_t count;
                        double began = clock_us();
                        ended = by_client ? pool_map_shares(
                                                    pool, &cells, &cursor, shares, 4096, &count)
                                          : pool_map_granted(pool, &cells, &cursor, granted);
                        double took = clock_us() - began;
                        longest = took > longest ? took : longest;
                        sum += took;
                        calls++;
                } while (!ended);
                printf("%-26s %-10s %6u calls, the longest %7.0f us, all %8.1f ms\n", name,
                        by_client ? "by client" : "by share", calls, longest, sum / 1e3);
        }
}

int main(void) {
        struct pool_session_identity identity = {.pid = 1, .name = "bench"};
        uint32_t session;
        pool_make();
        if (pool_session_open(pool, &identity, &session) != 0)
                fail("session");
        measure("1 TiB, empty");
        pool_fill(session, 9, PAGES / 512 / 2, true);
        measure("1 TiB, 2 MiB blocks");
        pool_fill(session, 0, UINT64_C(1) << 25, true);
        measure("1 TiB, 128 GiB in pages");
        return 0;
}

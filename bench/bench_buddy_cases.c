#include "bench_buddy_cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAIR_SLICES  100u
#define PAIRS        250u
#define FILL_SLICE   2048u
#define CHURN_SLICE  256u
#define CHURN_SLICES 1500u
#define WARM_UP      500000u
#define BATCH        64u

static struct meter meter;

/* Blocks that are held, each a handle << 8 | order. */
struct live {
        uint64_t *blocks;
        size_t count;
        uint64_t pages;
};

/* An empty list with room for all that is ever held. Mapped once and not from the heap, where what it
 * leaves behind would change the yardstick. */
static struct live live_new(void) {
        static uint64_t *blocks = MAP_FAILED;
        if (blocks == MAP_FAILED)
                blocks = mmap(NULL, BENCH_PAGES_LARGE * sizeof *blocks, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (blocks == MAP_FAILED) {
                fputs("bench_buddy: no memory for the list of blocks\n", stderr);
                exit(1);
        }
        return (struct live){.blocks = blocks};
}

static void live_add(struct live *live, uint64_t handle, unsigned order) {
        if (handle == NO_BLOCK) {
                fputs("bench_buddy: a block was refused where one is free\n", stderr);
                exit(1);
        }
        live->blocks[live->count++] = handle << 8 | order;
        live->pages += order_pages(order);
}

static uint64_t live_take_random(struct live *live, uint64_t *random) {
        size_t index = random_step(random) % live->count;
        uint64_t block = live->blocks[index];
        live->blocks[index] = live->blocks[--live->count];
        live->pages -= order_pages((unsigned)block & 0xff);
        return block;
}

static void release(const struct contender *contender, uint64_t block) {
        contender->release(block >> 8, (unsigned)block & 0xff);
}

static void live_drop(const struct contender *contender, struct live *live) {
        while (contender->keeps_blocks && live->count > 0)
                release(contender, live->blocks[--live->count]);
}

static unsigned geometric_order(uint64_t *random) {
        return (unsigned)__builtin_ctzll(random_step(random) | UINT64_C(1) << (CHURN_ORDERS - 1));
}

static void fill_with(const struct contender *contender, struct live *live, unsigned order) {
        uint64_t blocks = BENCH_PAGES >> order;
        *live = live_new();
        while (live->count < blocks)
                live_add(live, contender->alloc(order), order);
}

static void release_share(
        const struct contender *contender, struct live *live, double share, uint64_t *random) {
        size_t rest = (size_t)((double)live->count * (1 - share));
        while (live->count > rest)
                release(contender, live_take_random(live, random));
}

static struct measure measure_pairs(const struct contender *contender, unsigned order) {
        meter_reset(&meter);
        for (unsigned slice = 0; slice < PAIR_SLICES; slice++) {
                meter_start(&meter);
                for (unsigned i = 0; i < PAIRS; i++)
                        contender->release(contender->alloc(order), order);
                meter_stop(&meter, PAIRS);
        }
        return meter_result(&meter);
}

struct measure case_empty_pair(const struct contender *contender, unsigned order, uint64_t seed) {
        (void)seed;
        contender->open(BENCH_PAGES);
        struct measure measure = measure_pairs(contender, order);
        contender->close();
        return measure;
}

struct measure case_full_pair(const struct contender *contender, unsigned order, uint64_t seed) {
        contender->open(BENCH_PAGES);
        struct live live;
        fill_with(contender, &live, order);
        release_share(contender, &live, 0.3, &seed);
        struct measure measure = measure_pairs(contender, order);
        live_drop(contender, &live);
        contender->close();
        return measure;
}

void case_fill(const struct contender *contender, uint64_t seed, struct measure *fill,
        struct measure *released) {
        contender->open(BENCH_PAGES);
        struct live live = live_new();
        meter_reset(&meter);
        while (live.count < BENCH_PAGES) {
                uint64_t handles[FILL_SLICE];
                meter_start(&meter);
                for (unsigned i = 0; i < FILL_SLICE; i++)
                        handles[i] = contender->alloc(0);
                meter_stop(&meter, FILL_SLICE);
                for (unsigned i = 0; i < FILL_SLICE; i++)
                        live_add(&live, handles[i], 0);
        }
        *fill = meter_result(&meter);

        meter_reset(&meter);
        while (live.count > 0) {
                uint64_t blocks[FILL_SLICE];
                for (unsigned i = 0; i < FILL_SLICE; i++)
                        blocks[i] = live_take_random(&live, &seed);
                meter_start(&meter);
                for (unsigned i = 0; i < FILL_SLICE; i++)
                        release(contender, blocks[i]);
                meter_stop(&meter, FILL_SLICE);
        }
        *released = meter_result(&meter);
        live_drop(contender, &live);
        contender->close();
}

/* Takes or releases until exactly so many pages, less than a largest block, are held. */
static void hold_pages(
        const struct contender *contender, struct live *live, uint64_t pages, uint64_t *random) {
        while (live->pages > pages)
                release(contender, live_take_random(live, random));
        while (live->pages < pages) {
                unsigned order = geometric_order(random);
                live_add(live, contender->alloc(order), order);
        }
}

/* One slice: as many releases as takes, one after the other. Which blocks and orders is settled before the
 * clock runs. */
static void churn_slice(
        const struct contender *contender, struct live *live, uint64_t pages, uint64_t *random) {
        uint64_t blocks[CHURN_SLICE];
        unsigned orders[CHURN_SLICE];
        uint64_t handles[CHURN_SLICE];
        for (unsigned i = 0; i < CHURN_SLICE; i++) {
                blocks[i] = live_take_random(live, random);
                orders[i] = geometric_order(random);
        }
        meter_start(&meter);
        for (unsigned i = 0; i < CHURN_SLICE; i++) {
                release(contender, blocks[i]);
                handles[i] = contender->alloc(orders[i]);
        }
        meter_stop(&meter, (size_t)2 * CHURN_SLICE);
        for (unsigned i = 0; i < CHURN_SLICE; i++)
                live_add(live, handles[i], orders[i]);
        hold_pages(contender, live, pages, random);
}

struct measure case_churn(const struct contender *contender, uint64_t pages, uint64_t seed) {
        contender->open(pages);
        uint64_t held_pages = pages * 7 / 10;
        struct live live = live_new();
        hold_pages(contender, &live, held_pages, &seed);
        size_t warm_up = live.count > WARM_UP ? live.count : WARM_UP;
        for (size_t i = 0; i < warm_up; i += 2) {
                release(contender, live_take_random(&live, &seed));
                hold_pages(contender, &live, held_pages, &seed);
        }
        meter_reset(&meter);
        for (unsigned slice = 0; slice < CHURN_SLICES; slice++)
                churn_slice(contender, &live, held_pages, &seed);
        struct measure measure = meter_result(&meter);
        live_drop(contender, &live);
        contender->close();
        return measure;
}

struct measure case_batch(uint64_t seed) {
        contender_buddy.open(BENCH_PAGES);
        struct live live;
        fill_with(&contender_buddy, &live, 0);
        release_share(&contender_buddy, &live, 0.3, &seed);
        meter_reset(&meter);
        for (unsigned slice = 0; slice < PAIR_SLICES; slice++) {
                uint32_t pages[BATCH];
                meter_start(&meter);
                buddy_alloc_many(&bench_buddy, 0, BATCH, pages);
                for (unsigned i = 0; i < BATCH; i++)
                        buddy_free(&bench_buddy, pages[i], 0);
                meter_stop(&meter, BATCH);
        }
        struct measure measure = meter_result(&meter);
        live_drop(&contender_buddy, &live);
        contender_buddy.close();
        return measure;
}

double case_fragmentation(uint64_t operations, uint64_t seed) {
        contender_buddy.open(BENCH_PAGES);
        uint64_t held_pages = BENCH_PAGES * 7 / 10;
        struct live live = live_new();
        for (uint64_t done = 0; done < operations; done++) {
                if (live.pages >= held_pages) {
                        release(&contender_buddy, live_take_random(&live, &seed));
                        continue;
                }
                unsigned order = geometric_order(&seed);
                live_add(&live, contender_buddy.alloc(order), order);
        }
        struct buddy_totals totals;
        buddy_totals(&bench_buddy, &totals);
        live_drop(&contender_buddy, &live);
        contender_buddy.close();
        return 1 - buddy_unusable_index(&totals, 9);
}

double case_init_large(double *bytes_per_page) {
        double started_ns = clock_ns();
        contender_buddy.open(BENCH_PAGES_LARGE);
        double elapsed_ns = clock_ns() - started_ns;
        *bytes_per_page =
                (double)(bench_buddy.memory_bytes + sizeof bench_buddy) / (double)BENCH_PAGES_LARGE;
        contender_buddy.close();
        return elapsed_ns;
}

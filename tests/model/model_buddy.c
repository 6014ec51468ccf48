/* Random operations on the allocator and on a plain array of page states side by side. Free sets that
 * are always merged are determined by which pages are free, so the model says not only whether a
 * request is granted but exactly which page it gets, and after every step what each order holds. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/buddy.h"

#define PAGES_MAX 600u
#define BATCH_MAX 40u

enum page_state { PAGE_UNMANAGED = 0, PAGE_FREE, PAGE_GRANTED };

struct model {
        uint8_t pages[PAGES_MAX];
        uint32_t page_count;
        unsigned order_count;
};

static struct buddy buddy;
static struct model model;
static uint64_t random_state;
static uint64_t seed;
static uint64_t step;

static uint64_t random_next(void) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state;
}

static uint32_t random_below(uint32_t limit) {
        return (uint32_t)(random_next() % limit);
}

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        fprintf(stderr, "model_buddy: seed %" PRIu64 ", step %" PRIu64 ": ", seed, step);
        vfprintf(stderr, format, arguments);
        fputc('\n', stderr);
        va_end(arguments);
        exit(1);
}

static void expect(const char *what, int64_t answered, int64_t expected) {
        if (answered != expected)
                fail("%s: got %" PRId64 ", expected %" PRId64, what, answered, expected);
}

static bool run_is(uint32_t first, uint32_t count, enum page_state state) {
        for (uint32_t page = first; page < first + count; page++)
                if (model.pages[page] != state)
                        return false;
        return true;
}

static bool run_has(uint32_t first, uint32_t count, enum page_state state) {
        return memchr(model.pages + first, (int)state, count) != NULL;
}

static void run_set(uint32_t first, uint32_t count, enum page_state state) {
        memset(model.pages + first, (int)state, count);
}

static uint32_t random_order(void) {
        uint32_t order = (uint32_t)__builtin_ctzll(random_next() | UINT64_C(1) << 40);
        return order < model.order_count ? order : random_below(model.order_count);
}

/* The lowest block of this order that is all free, or PAGE_NONE. */
static uint32_t model_find(unsigned order) {
        uint32_t size = 1u << order;
        for (uint32_t page = 0; page + size <= model.page_count; page += size)
                if (run_is(page, size, PAGE_FREE))
                        return page;
        return PAGE_NONE;
}

static void step_alloc(void) {
        unsigned order = random_order();
        uint32_t expected = model_find(order);
        uint32_t page = PAGE_NONE;
        expect("alloc", buddy_alloc(&buddy, order, &page), expected == PAGE_NONE ? -ENOMEM : 0);
        expect("page of alloc", page, expected);
        if (page != PAGE_NONE)
                run_set(page, 1u << order, PAGE_GRANTED);
}

static void step_alloc_many(void) {
        unsigned order = random_order();
        uint32_t count = random_below(BATCH_MAX + 1);
        struct model before = model;
        uint32_t expected[BATCH_MAX];
        int result = 0;
        for (uint32_t i = 0; i < count && result == 0; i++) {
                expected[i] = model_find(order);
                if (expected[i] == PAGE_NONE)
                        result = -ENOMEM;
                else
                        run_set(expected[i], 1u << order, PAGE_GRANTED);
        }
        if (result != 0)
                model = before;
        uint32_t pages[BATCH_MAX];
        expect("batch", buddy_alloc_many(&buddy, order, count, pages), result);
        for (uint32_t i = 0; result == 0 && i < count; i++)
                expect("page of batch", pages[i], expected[i]);
}

static void step_alloc_layout(void) {
        uint32_t count = 1 + random_below(40);
        uint32_t align = 1u << random_below(6);
        unsigned order = log2_ceil(count > align ? count : align);
        uint32_t page = PAGE_NONE;
        unsigned granted = order;
        if (order >= model.order_count) {
                expect("layout", buddy_alloc_layout(&buddy, count, align, &page, &granted), -E2BIG);
                return;
        }
        uint32_t expected = model_find(order);
        expect("layout", buddy_alloc_layout(&buddy, count, align, &page, &granted),
                expected == PAGE_NONE ? -ENOMEM : 0);
        expect("page of layout", page, expected);
        expect("order of layout", granted, order);
        if (page != PAGE_NONE)
                run_set(page, 1u << order, PAGE_GRANTED);
}

/* Any block whose pages are all granted may come back, also a part of what was granted at once. */
static void step_free(void) {
        unsigned order = random_order();
        uint32_t size = 1u << order;
        uint32_t block_count = model.page_count / size;
        uint32_t start = random_below(block_count);
        for (uint32_t i = 0; i < block_count; i++) {
                uint32_t page = (start + i) % block_count * size;
                if (!run_is(page, size, PAGE_GRANTED))
                        continue;
                expect("free", buddy_free(&buddy, page, order), 0);
                run_set(page, size, PAGE_FREE);
                return;
        }
}

static void step_bad_free(void) {
        unsigned order = random_order();
        uint32_t page = random_below(model.page_count + 8);
        if (page % (1u << order) != 0 || page + (1u << order) > model.page_count)
                expect("bad free", buddy_free(&buddy, page, order), -EINVAL);
        expect("free of an order that is none", buddy_free(&buddy, 0, model.order_count), -EINVAL);
        page = model_find(order);
        if (page != PAGE_NONE &&
                (order + 1 == model.order_count ||
                        !run_is(page & ~((2u << order) - 1), 2u << order, PAGE_FREE)))
                expect("free of a free block", buddy_free(&buddy, page, order), -ESTALE);
}

static void random_run(uint32_t *first, uint32_t *count) {
        *first = random_below(model.page_count);
        *count = 1 + random_below(random_below(8) == 0 ? model.page_count : 12);
        if (*count > model.page_count - *first)
                *count = model.page_count - *first;
}

static void step_claim(void) {
        uint32_t first, count;
        random_run(&first, &count);
        bool free_now = run_is(first, count, PAGE_FREE);
        expect("claim", buddy_claim(&buddy, first, count), free_now ? 0 : -EBUSY);
        if (free_now)
                run_set(first, count, PAGE_GRANTED);
}

static void step_free_range(void) {
        uint32_t first, count;
        random_run(&first, &count);
        if (run_has(first, count, PAGE_FREE)) {
                expect("free range", buddy_free_range(&buddy, first, count), -ESTALE);
        } else if (run_is(first, count, PAGE_GRANTED)) {
                expect("free range", buddy_free_range(&buddy, first, count), 0);
                run_set(first, count, PAGE_FREE);
        }
}

static void step_add_region(void) {
        uint32_t first, count;
        random_run(&first, &count);
        if (run_has(first, count, PAGE_FREE)) {
                expect("add region", buddy_add_region(&buddy, first, count), -EEXIST);
        } else if (run_is(first, count, PAGE_UNMANAGED)) {
                expect("add region", buddy_add_region(&buddy, first, count), 0);
                run_set(first, count, PAGE_FREE);
        }
}

static void step_is_free(void) {
        unsigned order = random_order();
        uint32_t size = 1u << order;
        uint32_t page = random_below(model.page_count / size) * size;
        expect("is_free", buddy_is_free(&buddy, page, order), run_is(page, size, PAGE_FREE));
}

/* What the model says is free, as the largest aligned blocks: per order in ascending order. */
struct walk {
        uint32_t next[ORDER_COUNT]; /* page behind the last block seen */
        uint64_t pages;
};

static void compare_block(void *context, uint32_t page, unsigned order) {
        struct walk *walk = context;
        uint32_t size = 1u << order;
        if (page < walk->next[order] || !run_is(page, size, PAGE_FREE))
                fail("dump: block of order %u at page %u is out of place", order, page);
        uint32_t parent = page & ~(2 * size - 1);
        if (parent + 2 * size <= model.page_count && run_is(parent, 2 * size, PAGE_FREE))
                fail("dump: block of order %u at page %u is not merged", order, page);
        walk->next[order] = page + size;
        walk->pages += size;
}

static void compare_all(void) {
        char fault[256];
        if (buddy_check(&buddy, fault, sizeof fault) != 0)
                fail("check: %s", fault);
        uint64_t free_pages = 0;
        uint64_t managed_pages = 0;
        for (uint32_t page = 0; page < model.page_count; page++) {
                free_pages += model.pages[page] == PAGE_FREE;
                managed_pages += model.pages[page] != PAGE_UNMANAGED;
        }
        struct walk walk = {0};
        buddy_dump(&buddy, compare_block, &walk);
        expect("free pages in the dump", (int64_t)walk.pages, (int64_t)free_pages);
        struct buddy_totals totals;
        buddy_totals(&buddy, &totals);
        expect("free pages", (int64_t)totals.free_pages, (int64_t)free_pages);
        expect("managed pages", (int64_t)totals.managed_pages, (int64_t)managed_pages);
}

typedef void step_function(void);

/* A step's weight is how often it stands here. */
static step_function *const steps[] = {
        step_alloc,
        step_alloc,
        step_alloc,
        step_alloc,
        step_alloc,
        step_alloc_many,
        step_alloc_layout,
        step_free,
        step_free,
        step_free,
        step_free,
        step_free,
        step_free,
        step_free,
        step_bad_free,
        step_claim,
        step_free_range,
        step_free_range,
        step_add_region,
        step_is_free,
};

/* One life of an allocator of random size, first with holes. */
static void run_life(uint64_t operations) {
        memset(&model, 0, sizeof model);
        model.page_count = 1 + random_below(PAGES_MAX - 1);
        model.order_count = log2_floor(model.page_count) + 1;
        expect("init", buddy_init(&buddy, model.page_count), 0);
        for (uint64_t i = 0; i < operations; i++, step++) {
                steps[random_below(sizeof steps / sizeof *steps)]();
                compare_all();
        }
        for (uint32_t page = 0; page < model.page_count; page++)
                if (model.pages[page] == PAGE_GRANTED) {
                        expect("last free", buddy_free(&buddy, page, 0), 0);
                        model.pages[page] = PAGE_FREE;
                }
        compare_all();
        buddy_deinit(&buddy);
}

int main(int argc, char **argv) {
        static const struct option options[] = {
                {"operations", required_argument, NULL, 'n'},
                {"seed", required_argument, NULL, 's'},
                {0},
        };
        uint64_t operations = 1000000;
        seed = (uint64_t)time(NULL);
        for (int option; (option = getopt_long(argc, argv, "n:s:", options, NULL)) != -1;) {
                if (option == 'n') {
                        operations = strtoull(optarg, NULL, 10);
                } else if (option == 's') {
                        seed = strtoull(optarg, NULL, 10);
                } else {
                        fprintf(stderr, "usage: model_buddy [--operations N] [--seed N]\n");
                        return 2;
                }
        }
        printf("model_buddy: %" PRIu64 " operations, --seed %" PRIu64 "\n", operations, seed);
        fflush(stdout);
        random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
        while (step < operations) {
                uint64_t life = 1 + random_below(5000);
                run_life(life < operations - step ? life : operations - step);
        }
        printf("model_buddy: all agree\n");
        return 0;
}

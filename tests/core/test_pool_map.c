/* The pool as cells: against a model that knows of each page whose it is. */
#include "core/pool.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "pool_fixture.h"

#define PAGES    (9u * CHUNK_PAGES + 77)
#define SESSIONS 4u
#define BLOCKS   600u

struct model {
        struct pool_fixture fixture;
        uint32_t sessions[SESSIONS];
        uint32_t owner[PAGES]; /* 0: free */
        struct block blocks[BLOCKS];
        size_t count;
        unsigned random;
};

static struct model model;

static unsigned model_random(unsigned below) {
        model.random = model.random * 1103515245u + 12345u;
        return (model.random >> 8) % below;
}

static void model_mark(struct block block, uint32_t owner) {
        for (uint64_t i = 0; i < order_pages(block.order); i++)
                model.owner[block.page + i] = owner;
}

static void model_grant(void) {
        uint32_t session = model.sessions[model_random(SESSIONS)];
        unsigned order = model_random(8) ? model_random(5) : 7 + model_random(5);
        struct block block;
        if (model.count == BLOCKS || pool_grant(model.fixture.pool, session, order, &block) != 0)
                return;
        model.blocks[model.count++] = block;
        model_mark(block, session);
}

static void model_return(void) {
        if (model.count == 0)
                return;
        size_t which = model_random((unsigned)model.count);
        struct block block = model.blocks[which];
        bool freed;
        cr_assert_eq(pool_release(model.fixture.pool, model.owner[block.page], block, &freed), 0);
        cr_assert(freed);
        model_mark(block, 0);
        model.blocks[which] = model.blocks[--model.count];
}

static void model_begin(unsigned seed) {
        memset(&model, 0, sizeof model);
        model.random = seed;
        fixture_init(&model.fixture, PAGES, PAGES);
        for (unsigned i = 0; i < SESSIONS; i++)
                model.sessions[i] = fixture_session(&model.fixture, "m", i);
        for (unsigned i = 0; i < 3000; i++)
                (model_random(5) < 3 ? model_grant : model_return)();
}

static void model_end(void) {
        fixture_check(&model.fixture);
        fixture_deinit(&model.fixture);
}

/* Pages of a cell that this session has; 0: that anybody has. */
static uint64_t model_pages(const struct pool_map_cells *cells, size_t cell, uint32_t session) {
        uint64_t from = cells->first + cell * cells->cell_pages, pages = 0;
        for (uint64_t page = from; page < from + cells->cell_pages && page < PAGES; page++)
                pages += session == 0 ? model.owner[page] != 0 : model.owner[page] == session;
        return pages;
}

static const struct pool_map_cells shapes[] = {
        {0, 1, PAGES},
        {0, 1, PAGES + 100},
        {0, PAGES, 1},
        {0, 2 * PAGES, 1},
        {0, 64, 74},
        {0, 7, 700},
        {513, 1000, 5},
        {1023, 33, 40},
        {PAGES - 1, 1, 4096},
        {PAGES, 16, 4},
};
#define SHAPES (sizeof shapes / sizeof *shapes)

static void expect_granted(const struct pool_map_cells *cells) {
        uint64_t *granted = calloc(cells->count, sizeof *granted);
        uint64_t cursor = cells->first;
        while (!pool_map_granted(model.fixture.pool, cells, &cursor, granted))
                continue;
        for (size_t cell = 0; cell < cells->count; cell++)
                cr_assert_eq(granted[cell], model_pages(cells, cell, 0),
                        "cell %zu of %lu pages from %lu: %lu", cell, cells->cell_pages,
                        cells->first, granted[cell]);
        free(granted);
}

Test(pool_map, granted_pages_are_the_models) {
        for (unsigned seed = 1; seed < 6; seed++) {
                model_begin(seed);
                for (size_t i = 0; i < SHAPES; i++)
                        expect_granted(&shapes[i]);
                model_end();
        }
}

/* Sums up what comes in parts, max shares at a time. */
static void expect_shares(const struct pool_map_cells *cells, size_t max) {
        uint64_t *pages = calloc(cells->count * (SESSIONS + 2), sizeof *pages);
        struct pool_map_share *shares = calloc(max, sizeof *shares);
        uint64_t cursor = cells->first;
        bool ended;
        do {
                size_t count;
                uint64_t before = cursor;
                ended = pool_map_shares(model.fixture.pool, cells, &cursor, shares, max, &count);
                cr_assert_leq(count, max);
                cr_assert(ended || cursor > before, "no progress from page %lu", before);
                for (size_t i = 0; i < count; i++) {
                        cr_assert_lt(shares[i].cell, cells->count);
                        for (unsigned s = 0; s < SESSIONS; s++)
                                if (model.sessions[s] == shares[i].session)
                                        pages[shares[i].cell * SESSIONS + s] += shares[i].pages;
                }
        } while (!ended);
        for (size_t cell = 0; cell < cells->count; cell++)
                for (unsigned s = 0; s < SESSIONS; s++)
                        cr_assert_eq(pages[cell * SESSIONS + s],
                                model_pages(cells, cell, model.sessions[s]),
                                "cell %zu of %lu pages from %lu, session %u: %lu", cell,
                                cells->cell_pages, cells->first, model.sessions[s],
                                pages[cell * SESSIONS + s]);
        free(shares);
        free(pages);
}

Test(pool_map, shares_are_the_models) {
        for (unsigned seed = 1; seed < 4; seed++) {
                model_begin(seed);
                for (size_t i = 0; i < SHAPES; i++) {
                        expect_shares(&shapes[i], 4096);
                        expect_shares(&shapes[i], 7);
                        expect_shares(&shapes[i], 2);
                }
                model_end();
        }
}

/* Also after all small blocks of a chunk went, and a large one covers it. */
Test(pool_map, a_large_block_is_seen_from_its_middle) {
        model_begin(3);
        while (model.count > 0)
                model_return();
        struct block block;
        cr_assert_eq(pool_grant(model.fixture.pool, model.sessions[0], CHUNK_ORDER + 2, &block), 0);
        model_mark(block, model.sessions[0]);
        struct pool_map_cells middle = {block.page + CHUNK_PAGES + 3, 5, 9};
        expect_shares(&middle, 2);
        expect_granted(&middle);
        model_end();
}

Test(pool_map, what_nobody_owns_is_its_holders) {
        model_begin(5);
        struct block block = fixture_granted(&model.fixture, model.sessions[0], 1);
        bool freed;
        cr_assert_eq(pool_attach(model.fixture.pool, model.sessions[1], block), 0);
        cr_assert_eq(pool_publish(model.fixture.pool, model.sessions[0], "k", block, 0), 0);
        cr_assert_eq(pool_release(model.fixture.pool, model.sessions[0], block, &freed), 0);
        struct pool_map_cells cells = {block.page, 2, 1};
        struct pool_map_share shares[2];
        uint64_t cursor = block.page;
        size_t count;
        cr_assert(pool_map_shares(model.fixture.pool, &cells, &cursor, shares, 2, &count));
        cr_assert_eq(count, 1);
        cr_expect_eq(shares[0].session, model.sessions[1]);
        cr_expect_eq(shares[0].pages, 2);
        cr_assert_eq(pool_release(model.fixture.pool, model.sessions[1], block, &freed), 0);
        cr_assert_not(freed, "the key holds it");
        cursor = block.page;
        cr_assert(pool_map_shares(model.fixture.pool, &cells, &cursor, shares, 2, &count));
        cr_assert_eq(count, 1);
        cr_expect_eq(shares[0].session, 0);
        model_end();
}

Test(pool_map, a_call_looks_at_a_bounded_part) {
        struct pool_fixture fixture;
        fixture_init(&fixture, UINT64_C(1) << 28, UINT64_C(1) << 28);
        struct pool_map_cells cells = {0, UINT64_C(1) << 24, 16};
        uint64_t granted[16] = {0}, cursor = 0;
        unsigned calls = 1;
        uint32_t session = fixture_session(&fixture, "m", 0);
        struct block block = fixture_granted(&fixture, session, 20);
        while (!pool_map_granted(fixture.pool, &cells, &cursor, granted))
                cr_assert_eq(cursor, (UINT64_C(1) << 22) * calls++);
        cr_expect_eq(calls, 64);
        cr_expect_eq(granted[0], order_pages(block.order));
        for (unsigned i = 1; i < 16; i++)
                cr_expect_eq(granted[i], 0);
        fixture_deinit(&fixture);
}

/* Random operations on a pool next to a plain model: an array of pages and, per live block, a list of who
 * holds it how often. Every answer is compared, and now and then the pool is dropped and taken over from its ledger.
 * usage: model_pool [OPERATIONS [SEED [PAGES]]] */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/core/pool_fixture.h"

#define SESSIONS 6
#define KEYS     4

struct model_block {
        struct block block;
        unsigned holds[SESSIONS];
        bool keys[KEYS];
};

static struct pool_fixture fixture;
static struct model_block *blocks; /* live ones, dense */
static size_t block_count;
static uint32_t *owner_of_page; /* index into blocks + 1 */
static uint64_t pages;
static uint32_t sessions[SESSIONS];
static uint64_t state;
static uint64_t operation;

static uint32_t next_random(uint32_t below) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (uint32_t)((state >> 20) % below);
}

static void fail(const char *what, long got, long want) {
        fprintf(stderr, "operation %llu: %s: got %ld, want %ld\n", (unsigned long long)operation,
                what, got, want);
        exit(1);
}

static void expect(const char *what, long got, long want) {
        if (got != want)
                fail(what, got, want);
}

/* ---- The model ---- */

static void mark_pages(size_t index, uint32_t value) {
        struct block block = blocks[index].block;
        for (uint64_t i = 0; i < order_pages(block.order); i++) {
                if (value && owner_of_page[block.page + i])
                        fail("page granted twice", block.page + (long)i, 0);
                owner_of_page[block.page + i] = value;
        }
}

static bool model_fits(unsigned order) {
        for (uint64_t page = 0; page + order_pages(order) <= pages; page += order_pages(order)) {
                uint64_t used = 0;
                for (uint64_t i = 0; i < order_pages(order) && !used; i++)
                        used = owner_of_page[page + i];
                if (!used)
                        return true;
        }
        return false;
}

static void model_add(struct block block, unsigned session) {
        struct model_block *entry = &blocks[block_count++];
        memset(entry, 0, sizeof *entry);
        entry->block = block;
        entry->holds[session] = 1;
        mark_pages(block_count - 1, (uint32_t)block_count);
}

static bool model_dead(const struct model_block *entry) {
        unsigned sum = 0;
        for (unsigned i = 0; i < SESSIONS; i++)
                sum += entry->holds[i];
        for (unsigned i = 0; i < KEYS; i++)
                sum += entry->keys[i];
        return sum == 0;
}

static bool model_remove_if_dead(size_t index) {
        if (!model_dead(&blocks[index]))
                return false;
        mark_pages(index, 0);
        blocks[index] = blocks[--block_count];
        if (index < block_count) {
                struct block block = blocks[index].block;
                for (uint64_t i = 0; i < order_pages(block.order); i++)
                        owner_of_page[block.page + i] = (uint32_t)index + 1;
        }
        return true;
}

/* ---- Operations ---- */

static void do_grant(void) {
        unsigned session = next_random(SESSIONS);
        unsigned order = next_random(4) ? next_random(4) : next_random(12);
        struct block got[64];
        size_t count = next_random(4) ? 1 : 1 + next_random(64);
        int r = pool_grant_many(fixture.pool, sessions[session], order, count, got);
        if (order > log2_floor(pages)) {
                expect("grant of an impossible order", r, -EINVAL);
                return;
        }
        if (r == -ENOMEM) {
                if (count == 1)
                        expect("false out of memory", model_fits(order), false);
                return;
        }
        expect("grant", r, 0);
        for (size_t i = 0; i < count; i++) {
                expect("order", got[i].order, order);
                model_add(got[i], session);
        }
}

static void do_release(void) {
        if (!block_count)
                return;
        size_t index = next_random((uint32_t)block_count);
        unsigned session = next_random(SESSIONS);
        struct model_block *entry = &blocks[index];
        bool freed = false;
        int r = pool_release(fixture.pool, sessions[session], entry->block, &freed);
        expect("release", r, entry->holds[session] ? 0 : -ESTALE);
        if (r == 0) {
                entry->holds[session]--;
                expect("freed", freed, model_remove_if_dead(index));
        }
}

static void do_wrong_release(void) {
        if (!block_count)
                return;
        struct block block = blocks[next_random((uint32_t)block_count)].block;
        bool freed;
        struct block stale = block;
        stale.generation--;
        expect("old generation", pool_release(fixture.pool, sessions[0], stale, &freed),
                stale.generation ? -ESTALE : -EINVAL);
        struct block future = block;
        future.generation++;
        expect("future generation", pool_release(fixture.pool, sessions[0], future, &freed),
                -EINVAL);
        struct block longer = block;
        longer.order++;
        if (longer.order != CHUNK_ORDER && longer.page % order_pages(longer.order) == 0 &&
                longer.page + order_pages(longer.order) <= pages)
                expect("wrong length", pool_release(fixture.pool, sessions[0], longer, &freed),
                        -EINVAL);
}

/* A batch with repeated blocks: refused as a whole unless there are as many holds. */
static void do_release_many(void) {
        struct block batch[24];
        size_t index[24];
        unsigned session = next_random(SESSIONS);
        size_t count = 0;
        bool enough = true;
        for (unsigned i = 0; i < 24 && block_count; i++) {
                size_t at = next_random((uint32_t)block_count);
                unsigned named = 0;
                for (size_t j = 0; j < count; j++)
                        named += index[j] == at;
                if (blocks[at].holds[session] <= named && next_random(40))
                        continue;
                enough &= blocks[at].holds[session] > named;
                index[count] = at;
                batch[count++] = blocks[at].block;
        }
        if (!count)
                return;
        size_t bad = SIZE_MAX;
        uint64_t freed_pages = 0;
        int r = pool_release_many(
                fixture.pool, sessions[session], batch, count, &bad, &freed_pages);
        expect("release_many", r, enough ? 0 : -ESTALE);
        for (size_t i = 0; i < count && r == 0; i++) {
                struct model_block *entry = &blocks[owner_of_page[batch[i].page] - 1];
                entry->holds[session]--;
                if (model_remove_if_dead((size_t)(entry - blocks)))
                        freed_pages -= order_pages(batch[i].order);
        }
        if (r == 0)
                expect("freed pages", (long)freed_pages, 0);
}

static void do_attach(void) {
        if (!block_count)
                return;
        struct model_block *entry = &blocks[next_random((uint32_t)block_count)];
        unsigned session = next_random(SESSIONS);
        expect("attach", pool_attach(fixture.pool, sessions[session], entry->block), 0);
        entry->holds[session]++;
}

static void do_give(void) {
        if (!block_count)
                return;
        struct model_block *entry = &blocks[next_random((uint32_t)block_count)];
        unsigned from = next_random(SESSIONS), to = next_random(SESSIONS);
        struct block pair[2] = {entry->block, entry->block};
        size_t count = 1 + next_random(2), bad;
        int r = pool_give_many(fixture.pool, sessions[from], pair, count, sessions[to], &bad);
        expect("give", r, entry->holds[from] >= count ? 0 : -ESTALE);
        if (r == 0) {
                entry->holds[from] -= (unsigned)count;
                entry->holds[to] += (unsigned)count;
        }
}

static const char *key_of(unsigned key) {
        static const char *const names[KEYS] = {"alpha", "beta", "gamma", "delta"};
        return names[key];
}

static long model_key_at(unsigned key) {
        for (size_t i = 0; i < block_count; i++)
                if (blocks[i].keys[key])
                        return (long)i;
        return -1;
}

static void do_publish(void) {
        if (!block_count)
                return;
        size_t index = next_random((uint32_t)block_count);
        unsigned session = next_random(SESSIONS), key = next_random(KEYS);
        int r = pool_publish(fixture.pool, sessions[session], key_of(key), blocks[index].block, 0);
        expect("publish", r, blocks[index].holds[session] ? 0 : -ESTALE);
        if (r < 0)
                return;
        long old = model_key_at(key);
        if (old >= 0)
                blocks[old].keys[key] = false;
        blocks[index].keys[key] = true;
        if (old >= 0)
                model_remove_if_dead((size_t)old);
}

static void do_lookup(void) {
        unsigned session = next_random(SESSIONS), key = next_random(KEYS);
        long at = model_key_at(key);
        struct block block;
        int r = pool_lookup(fixture.pool, sessions[session], key_of(key), &block, NULL);
        expect("lookup", r, at >= 0 ? 0 : -ENOENT);
        if (r == 0) {
                expect("looked up page", block.page, blocks[at].block.page);
                blocks[at].holds[session]++;
        }
}

static void do_unpublish(void) {
        unsigned key = next_random(KEYS);
        long at = model_key_at(key);
        expect("unpublish", pool_unpublish(fixture.pool, sessions[0], key_of(key)),
                at >= 0 ? 0 : -ENOENT);
        if (at >= 0) {
                blocks[at].keys[key] = false;
                model_remove_if_dead((size_t)at);
        }
}

static void do_close(void) {
        unsigned session = next_random(SESSIONS);
        fixture_close(&fixture, sessions[session]);
        for (size_t i = block_count; i-- > 0;) {
                blocks[i].holds[session] = 0;
                model_remove_if_dead(i);
        }
        sessions[session] = fixture_session(&fixture, "model", 0);
}

static void check(void) {
        struct pool_check_report report;
        if (pool_check(fixture.pool, &report) < 0) {
                fprintf(stderr, "operation %llu: check: %s\n", (unsigned long long)operation,
                        report.fault);
                exit(1);
        }
        expect("live blocks", (long)report.live_blocks, (long)block_count);
}

static void do_recover(void) {
        if (fixture_recover(&fixture) < 0) {
                fprintf(stderr, "operation %llu: recover: %s\n", (unsigned long long)operation,
                        fixture.fault);
                exit(1);
        }
        check();
}

/* Keeps the pool between full and empty by what it does more often for a while. */
static void step(void) {
        bool fill = operation / 500 % 2 == 0;
        uint32_t dice = next_random(100);
        if (dice < (fill ? 40u : 12u))
                do_grant();
        else if (dice < 60)
                do_release();
        else if (dice < 64)
                do_wrong_release();
        else if (dice < 72)
                do_release_many();
        else if (dice < 80)
                do_attach();
        else if (dice < 86)
                do_give();
        else if (dice < 91)
                do_publish();
        else if (dice < 95)
                do_lookup();
        else if (dice < 98)
                do_unpublish();
        else if (dice == 98)
                do_close();
        else if (next_random(10) == 0)
                do_recover();
}

int main(int argc, char **argv) {
        uint64_t operations = argc > 1 ? strtoull(argv[1], NULL, 0) : 300000;
        uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
        pages = argc > 3 ? strtoull(argv[3], NULL, 0) : 4099;
        state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
        blocks = calloc(pages, sizeof *blocks);
        owner_of_page = calloc(pages, sizeof *owner_of_page);
        fixture_init(&fixture, pages, pages);
        for (unsigned i = 0; i < SESSIONS; i++)
                sessions[i] = fixture_session(&fixture, "model", 0);
        for (operation = 0; operation < operations; operation++) {
                step();
                if (operation % 1000 == 0)
                        check();
        }
        do_recover();
        printf("%llu operations, seed %llu, %llu pages: pool and model agree\n",
                (unsigned long long)operations, (unsigned long long)seed,
                (unsigned long long)pages);
        fixture_deinit(&fixture);
        free(blocks);
        free(owner_of_page);
        return 0;
}

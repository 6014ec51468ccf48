/* Threads with sessions of their own work on one pool: grants, returns, attaches to each other's blocks, gives and
 * keys, with sessions that close in between. Each page bears a mark while it is held by its owner, so an overlap is seen;
 * at the end everything must be free and every invariant hold.
 * usage: stress_pool [SECONDS [THREADS]] */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/core/pool_fixture.h"

#define PAGES   8192
#define THREADS 16
#define HELD    64

static struct pool_fixture fixture;
static _Atomic uint8_t marks[PAGES];
static _Atomic uint64_t
        offered; /* page : 32 | generation : 32 of an order-0 block that somebody may attach to */
static _Atomic uint32_t peers[THREADS];
static _Atomic int stop;
static unsigned thread_count = 4;

struct actor {
        pthread_t thread;
        unsigned index;
        uint32_t session;
        uint64_t state;
        struct block held[HELD];
        size_t count;
        uint64_t operations;
};

static void require(bool condition, const char *what) {
        if (condition)
                return;
        fprintf(stderr, "stress_pool: %s\n", what);
        abort();
}

static uint32_t next_random(struct actor *actor, uint32_t below) {
        actor->state ^= actor->state << 13;
        actor->state ^= actor->state >> 7;
        actor->state ^= actor->state << 17;
        return (uint32_t)((actor->state >> 20) % below);
}

static void mark(struct block block, uint8_t from, uint8_t to) {
        for (uint64_t i = 0; i < order_pages(block.order); i++)
                require(atomic_exchange(&marks[block.page + i], to) == from,
                        "two holders of one page");
}

static void actor_grant(struct actor *actor) {
        struct block got[8];
        size_t count = next_random(actor, 3) ? 1 : 1 + next_random(actor, 8);
        if (actor->count + count > HELD)
                return;
        int r = pool_grant_many(fixture.pool, actor->session, next_random(actor, 10), count, got);
        require(r == 0 || r == -ENOMEM, "grant");
        for (size_t i = 0; i < count && r == 0; i++) {
                mark(got[i], 0, 1);
                actor->held[actor->count++] = got[i];
                if (got[i].order == 0)
                        atomic_store(&offered, (uint64_t)got[i].page << 32 | got[i].generation);
        }
}

/* The mark goes before the release: from then on the block may be somebody else's. Blocks of order 0 may be kept
 * alive by an attacher, which does not mark. */
static void actor_release(struct actor *actor) {
        if (!actor->count)
                return;
        size_t at = next_random(actor, (uint32_t)actor->count);
        struct block block = actor->held[at];
        actor->held[at] = actor->held[--actor->count];
        bool freed;
        mark(block, 1, 0);
        require(pool_release(fixture.pool, actor->session, block, &freed) == 0, "release");
        require(pool_release(fixture.pool, actor->session, block, &freed) < 0, "double release");
}

static void actor_attach(struct actor *actor) {
        uint64_t seen = atomic_load(&offered);
        struct block block = {.page = (uint32_t)(seen >> 32), .generation = (uint32_t)seen};
        int r = pool_attach(fixture.pool, actor->session, block);
        require(r == 0 || r == -ESTALE || r == -EINVAL, "attach");
        if (r < 0)
                return;
        bool freed;
        if (next_random(actor, 4) == 0) {
                char key[8];
                snprintf(key, sizeof key, "k%u", next_random(actor, 4));
                r = pool_publish(fixture.pool, actor->session, key, block, 0);
                require(r == 0, "publish");
        }
        require(pool_release(fixture.pool, actor->session, block, &freed) == 0,
                "release of an attached");
}

static void actor_lookup(struct actor *actor) {
        char key[8];
        struct block block;
        bool freed;
        snprintf(key, sizeof key, "k%u", next_random(actor, 4));
        if (next_random(actor, 2)) {
                int r = pool_unpublish(fixture.pool, actor->session, key);
                require(r == 0 || r == -ENOENT, "unpublish");
        } else if (pool_lookup(fixture.pool, actor->session, key, &block, NULL) == 0) {
                require(pool_release(fixture.pool, actor->session, block, &freed) == 0,
                        "release of a looked up");
        }
}

/* A given block is gone from us; the peer's reclaim returns it. */
static void actor_give(struct actor *actor) {
        if (!actor->count)
                return;
        uint32_t peer = atomic_load(&peers[next_random(actor, thread_count)]);
        struct block block = actor->held[actor->count - 1];
        if (peer == actor->session)
                return;
        size_t bad;
        mark(block, 1, 0);
        int r = pool_give_many(fixture.pool, actor->session, &block, 1, peer, &bad);
        require(r == 0 || r == -ENOENT, "give");
        if (r < 0)
                mark(block, 0, 1);
        else
                actor->count--;
}

static void actor_reopen(struct actor *actor) {
        for (size_t i = 0; i < actor->count; i++)
                mark(actor->held[i], 1, 0);
        actor->count = 0;
        fixture_close(&fixture, actor->session);
        actor->session = fixture_session(&fixture, "actor", 0);
        atomic_store(&peers[actor->index], actor->session);
}

/* Looks at all of it as cells, meanwhile: never more in one than there are pages. */
static void *looker_run(void *unused) {
        static struct pool_map_share shares[64];
        const struct pool_map_cells cells = {0, 37, (PAGES + 36) / 37};
        (void)unused;
        while (!atomic_load(&stop)) {
                static uint64_t granted[(PAGES + 36) / 37];
                uint64_t cursor = 0;
                size_t count;
                memset(granted, 0, sizeof granted);
                while (!pool_map_granted(fixture.pool, &cells, &cursor, granted))
                        continue;
                for (size_t i = 0; i < cells.count; i++)
                        require(granted[i] <= cells.cell_pages, "a cell of its pages");
                cursor = 0;
                while (!pool_map_shares(fixture.pool, &cells, &cursor, shares, 64, &count))
                        require(count <= 64, "as many shares as there is room for");
        }
        return NULL;
}

static void *actor_run(void *argument) {
        struct actor *actor = argument;
        while (!atomic_load(&stop)) {
                uint32_t dice = next_random(actor, 1000);
                if (dice < 430)
                        actor_grant(actor);
                else if (dice < 800)
                        actor_release(actor);
                else if (dice < 900)
                        actor_attach(actor);
                else if (dice < 960)
                        actor_lookup(actor);
                else if (dice < 998)
                        actor_give(actor);
                else
                        actor_reopen(actor);
                actor->operations++;
        }
        return NULL;
}

int main(int argc, char **argv) {
        unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 3;
        thread_count = argc > 2 ? (unsigned)atoi(argv[2]) : 4;
        require(thread_count > 0 && thread_count <= THREADS, "1 … 16 threads");
        static struct actor actors[THREADS];
        fixture_init(&fixture, PAGES, PAGES);
        for (unsigned i = 0; i < thread_count; i++) {
                actors[i] = (struct actor){.index = i, .state = i + 1};
                actors[i].session = fixture_session(&fixture, "actor", 0);
                peers[i] = actors[i].session;
        }
        for (unsigned i = 0; i < thread_count; i++)
                require(pthread_create(&actors[i].thread, NULL, actor_run, &actors[i]) == 0,
                        "thread");
        pthread_t looker;
        require(pthread_create(&looker, NULL, looker_run, NULL) == 0, "thread");
        nanosleep(&(struct timespec){.tv_sec = seconds}, NULL);
        atomic_store(&stop, 1);
        pthread_join(looker, NULL);
        uint64_t operations = 0;
        for (unsigned i = 0; i < thread_count; i++) {
                pthread_join(actors[i].thread, NULL);
                operations += actors[i].operations;
        }
        struct pool_check_report report;
        if (pool_check(fixture.pool, &report) < 0) {
                fprintf(stderr, "stress_pool: %s\n", report.fault);
                return 1;
        }
        for (unsigned i = 0; i < thread_count; i++)
                fixture_close(&fixture, actors[i].session);
        uint32_t last = fixture_session(&fixture, "last", 0);
        for (unsigned i = 0; i < 4; i++) {
                char key[8];
                snprintf(key, sizeof key, "k%u", i);
                (void)pool_unpublish(fixture.pool, last, key);
        }
        require(pool_check(fixture.pool, &report) == 0 && report.free_blocks == 1,
                "all merged at the end");
        printf("%llu operations by %u threads: no overlap, all merged\n",
                (unsigned long long)operations, thread_count);
        fixture_deinit(&fixture);
        return 0;
}

/* Kills every operation of a pool at every store to the ledger: the n-th store and all behind it do not happen,
 * for n = 1, 2, …; then the pool is taken over from the ledger, every invariant is walked, and what is
 * held must be what it was before the operation or what it is after it (for batches: after a part of it). Prints operations,
 * stores and outcomes. Built with LEDGER_HOOK. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/core/pool_fixture.h"

#define PAGES      2048
#define HOLDS_MAX  256
#define STORES_MAX 512

static jmp_buf killed;
static unsigned stores_left;
static unsigned stores_seen;

static void kill_at_store(const void *address, uint64_t value) {
        (void)address;
        (void)value;
        stores_seen++;
        if (stores_left-- == 0)
                longjmp(killed, 1);
}

/* What a client can rely on: who holds which block in which life, and which sessions there are. */
struct snapshot {
        size_t count;
        struct pool_hold holds[HOLDS_MAX];
        uint64_t live_sessions, closing_sessions;
};

struct scene {
        struct pool_fixture fixture;
        uint32_t ada, bob, eve; /* sessions */
        struct block single, shared, batch[8], keyed, large, filler;
};

static void require(bool condition, const char *what) {
        if (condition)
                return;
        fprintf(stderr, "crash_pool: %s\n", what);
        exit(1);
}

/* ada owns a single, a shared one (bob holds it twice more), a batch and a large one; "key" holds one alone. */
static void scene_init(struct scene *scene) {
        bool freed;
        fixture_init(&scene->fixture, PAGES, PAGES);
        struct pool *pool = scene->fixture.pool;
        scene->ada = fixture_session(&scene->fixture, "ada", 1);
        scene->bob = fixture_session(&scene->fixture, "bob", 1);
        scene->eve = fixture_session(&scene->fixture, "eve", 1);
        require(pool_grant(pool, scene->ada, 0, &scene->single) == 0, "grant single");
        require(pool_grant(pool, scene->ada, 2, &scene->shared) == 0, "grant shared");
        require(pool_attach(pool, scene->bob, scene->shared) == 0, "attach");
        require(pool_attach(pool, scene->bob, scene->shared) == 0, "attach again");
        require(pool_grant_many(pool, scene->ada, 1, 8, scene->batch) == 0, "grant batch");
        require(pool_grant(pool, scene->ada, 10, &scene->large) == 0, "grant large");
        require(pool_grant(pool, scene->ada, 8, &scene->filler) == 0, "fill the first chunk");
        require(pool_grant(pool, scene->ada, 1, &scene->keyed) == 0, "grant keyed");
        require(pool_publish(pool, scene->ada, "key", scene->keyed) == 0, "publish");
        require(pool_release(pool, scene->ada, scene->keyed, &freed) == 0 && !freed,
                "leave to key");
}

static int hold_compare(const void *a, const void *b) {
        const struct pool_hold *x = a, *y = b;
        if (x->block.page != y->block.page)
                return x->block.page < y->block.page ? -1 : 1;
        if (x->session != y->session)
                return x->session < y->session ? -1 : 1;
        return strcmp(x->key, y->key);
}

static void snapshot_take(struct scene *scene, struct snapshot *out) {
        struct pool *pool = scene->fixture.pool;
        memset(out, 0, sizeof *out);
        uint32_t cursor = 0;
        out->count = pool_list_holds(pool, 0, &cursor, out->holds, HOLDS_MAX);
        require(cursor == PAGE_NONE, "too many holds for the snapshot");
        for (size_t i = 0; i < out->count; i++)
                out->holds[i].age_s = 0;
        qsort(out->holds, out->count, sizeof *out->holds, hold_compare);
        for (uint32_t s = 0; (s = pool_session_next(pool, s)) != 0;) {
                struct pool_session_info info;
                require(pool_session_info(pool, s, &info) == 0, "session info");
                out->live_sessions += info.state == SESSION_LIVE;
                out->closing_sessions += info.state == SESSION_CLOSING;
        }
}

static bool hold_same(const struct pool_hold *a, const struct pool_hold *b) {
        return hold_compare(a, b) == 0 && a->block.order == b->block.order &&
               a->block.generation == b->block.generation;
}

static bool snapshot_same(const struct snapshot *a, const struct snapshot *b) {
        if (a->count != b->count || a->live_sessions != b->live_sessions ||
                a->closing_sessions != b->closing_sessions)
                return false;
        for (size_t i = 0; i < a->count; i++)
                if (!hold_same(&a->holds[i], &b->holds[i]))
                        return false;
        return true;
}

/* Each hold of now is one of before or of after, and none that both have is missing: a batch done in part. */
static bool snapshot_between(
        const struct snapshot *now, const struct snapshot *before, const struct snapshot *after) {
        size_t in_before = 0, in_after = 0, in_both = 0;
        for (size_t i = 0; i < now->count; i++) {
                bool b = false, a = false;
                for (size_t j = 0; j < before->count; j++)
                        b |= hold_same(&now->holds[i], &before->holds[j]);
                for (size_t j = 0; j < after->count; j++)
                        a |= hold_same(&now->holds[i], &after->holds[j]);
                if (!b && !a)
                        return false;
                in_before += b;
                in_after += a;
                in_both += b && a;
        }
        size_t common = 0;
        for (size_t i = 0; i < before->count; i++)
                for (size_t j = 0; j < after->count; j++)
                        if (hold_same(&before->holds[i], &after->holds[j])) {
                                common++;
                                break;
                        }
        return in_both >= common;
}

/* ---- The operations ---- */

static int run_grant(struct scene *s) {
        struct block out;
        return pool_grant(s->fixture.pool, s->bob, 0, &out);
}

static int run_grant_first_of_chunk(struct scene *s) {
        struct block out;
        return pool_grant(s->fixture.pool, s->bob, 8, &out);
}

static int run_grant_large(struct scene *s) {
        struct block out;
        return pool_grant(s->fixture.pool, s->bob, 9, &out);
}

static int run_grant_many(struct scene *s) {
        struct block out[8];
        return pool_grant_many(s->fixture.pool, s->bob, 0, 8, out);
}

static int run_release(struct scene *s) {
        bool freed;
        return pool_release(s->fixture.pool, s->ada, s->single, &freed);
}

static int run_release_large(struct scene *s) {
        bool freed;
        return pool_release(s->fixture.pool, s->ada, s->large, &freed);
}

static int run_release_owner_of_shared(struct scene *s) {
        bool freed;
        return pool_release(s->fixture.pool, s->ada, s->shared, &freed);
}

static int run_release_further_hold(struct scene *s) {
        bool freed;
        return pool_release(s->fixture.pool, s->bob, s->shared, &freed);
}

static int run_release_many(struct scene *s) {
        size_t bad;
        uint64_t freed;
        return pool_release_many(s->fixture.pool, s->ada, s->batch, 8, &bad, &freed);
}

static int run_attach(struct scene *s) {
        return pool_attach(s->fixture.pool, s->eve, s->single);
}

static int run_attach_to_keyed(struct scene *s) {
        return pool_attach(s->fixture.pool, s->eve, s->keyed);
}

static int run_give(struct scene *s) {
        size_t bad;
        return pool_give_many(s->fixture.pool, s->ada, &s->single, 1, s->eve, &bad);
}

static int run_give_further_hold(struct scene *s) {
        size_t bad;
        return pool_give_many(s->fixture.pool, s->bob, &s->shared, 1, s->eve, &bad);
}

static int run_give_many(struct scene *s) {
        size_t bad;
        return pool_give_many(s->fixture.pool, s->ada, s->batch, 8, s->eve, &bad);
}

static int run_publish(struct scene *s) {
        return pool_publish(s->fixture.pool, s->ada, "new", s->single);
}

static int run_publish_over(struct scene *s) {
        return pool_publish(s->fixture.pool, s->ada, "key", s->single);
}

static int run_lookup(struct scene *s) {
        struct block out;
        return pool_lookup(s->fixture.pool, s->eve, "key", &out);
}

static int run_unpublish(struct scene *s) {
        return pool_unpublish(s->fixture.pool, s->ada, "key");
}

static int run_session_open(struct scene *s) {
        struct pool_session_identity identity = {.pid = 1, .name = "new"};
        uint32_t session;
        return pool_session_open(s->fixture.pool, &identity, &session);
}

/* Recovery goes on with what was begun: a closing session's holds are reclaimed by whoever takes over. */
static int run_session_close(struct scene *s) {
        fixture_close(&s->fixture, s->ada);
        return 0;
}

static const struct operation {
        const char *name;
        int (*run)(struct scene *scene);
        bool batch; /* done in part is an outcome */
} operations[] = {
        {"grant, order 0", run_grant, false},
        {"grant, first of a chunk", run_grant_first_of_chunk, false},
        {"grant, order 9", run_grant_large, false},
        {"grant_many, 8", run_grant_many, true},
        {"release", run_release, false},
        {"release, order 10", run_release_large, false},
        {"release by the owner, shared", run_release_owner_of_shared, false},
        {"release of a further hold", run_release_further_hold, false},
        {"release_many, 8", run_release_many, true},
        {"attach", run_attach, false},
        {"attach, held by key only", run_attach_to_keyed, false},
        {"give", run_give, false},
        {"give of a further hold", run_give_further_hold, false},
        {"give_many, 8", run_give_many, true},
        {"publish", run_publish, false},
        {"publish over a key", run_publish_over, false},
        {"lookup", run_lookup, false},
        {"unpublish", run_unpublish, false},
        {"session open", run_session_open, false},
        {"session close", run_session_close, true},
};

/* Runs the operation with its n-th store and all behind it lost. True: it got to its end. */
static bool run_until(struct scene *scene, const struct operation *operation, unsigned n) {
        stores_left = n;
        stores_seen = 0;
        if (setjmp(killed) == 0) {
                ledger_store_hook = kill_at_store;
                int r = operation->run(scene);
                ledger_store_hook = NULL;
                require(r == 0, operation->name);
                return true;
        }
        ledger_store_hook = NULL;
        return false;
}

static void recover_and_check(struct scene *scene, const struct operation *operation, unsigned n) {
        struct pool_check_report report;
        if (fixture_recover(&scene->fixture) < 0 || pool_check(scene->fixture.pool, &report) < 0) {
                fprintf(stderr, "%s, killed at store %u: %s\n", operation->name, n,
                        scene->fixture.pool ? report.fault : scene->fixture.fault);
                exit(1);
        }
}

static void try_operation(const struct operation *operation) {
        static struct scene scene;
        static struct snapshot before, after, now;
        unsigned counts[3] = {0}; /* did not happen, in part, happened */
        scene_init(&scene);
        snapshot_take(&scene, &before);
        require(run_until(&scene, operation, STORES_MAX), "operation does not end");
        unsigned stores = stores_seen;
        recover_and_check(&scene, operation, stores);
        snapshot_take(&scene, &after);
        fixture_deinit(&scene.fixture);
        for (unsigned n = 0; n < stores; n++) {
                scene_init(&scene);
                require(!run_until(&scene, operation, n), "operation ended before its kill");
                recover_and_check(&scene, operation, n + 1);
                snapshot_take(&scene, &now);
                bool same_before = snapshot_same(&now, &before);
                bool same_after = snapshot_same(&now, &after);
                bool part = operation->batch && snapshot_between(&now, &before, &after);
                if (!same_before && !same_after && !part) {
                        fprintf(stderr, "%s, killed at store %u of %u: neither before nor after\n",
                                operation->name, n + 1, stores);
                        exit(1);
                }
                counts[same_after ? 2 : same_before ? 0 : 1]++;
                fixture_deinit(&scene.fixture);
        }
        printf("%-30s %7u %15u %8u %9u\n", operation->name, stores, counts[0], counts[1],
                counts[2]);
}

int main(void) {
        printf("%-30s %7s %15s %8s %9s\n", "operation", "stores", "did not happen", "in part",
                "happened");
        for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
                try_operation(&operations[i]);
        return 0;
}

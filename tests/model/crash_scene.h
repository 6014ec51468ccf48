/* A small pool with three clients that share blocks, and the operations that crash_pool and crash_pairs kill at each of their
 * stores. The scene is the same each time, so what an operation does is, too. */
#pragma once

#include "tests/core/pool_fixture.h"

#define SCENE_PAGES     2048
#define SCENE_PAGES_MAX 4096
#define SCENE_BATCH_MAX 8
#define SCENE_HOLDS_MAX 256
#define SCENE_REQUEST   7 /* what each session's operations are steps of */

struct scene {
        struct pool_fixture fixture;
        uint32_t ada, bob, eve; /* sessions */
        uint32_t opening;       /* one that has made no request yet */
        struct block single, shared, batch[SCENE_BATCH_MAX], keyed, large, own, gift;
        size_t batch_count;
};

/* ada owns a single, a shared one (bob holds it twice more), a batch and a large one; eve one of her own; "key" holds
 * one alone; ada has given one to eve twice. The second chunk is free. All three run a request of the same id. */
void scene_init(struct scene *scene, size_t batch_count);
void scene_deinit(struct scene *scene);

/* Begins that request, in a pool that was taken over. */
void scene_track(struct scene *scene);

/* How many changes of holds the ledger says that those requests have made, all three together. */
uint32_t scene_progress(struct scene *scene);

/* Reclaims every session that is closing, as whoever takes a pool over does. */
void scene_finish_closing(struct scene *scene);

/* What a client can rely on: who holds which block in which life, and which sessions there are. */
struct snapshot {
        size_t count;
        struct pool_hold holds[SCENE_HOLDS_MAX]; /* by page, then session, then key; ages 0 */
        uint64_t pages, opening_sessions, live_sessions, closing_sessions;
};

void snapshot_take(struct pool *pool, struct snapshot *out);
bool snapshot_same(const struct snapshot *a, const struct snapshot *b);

/* Each hold of now is one of before or of after, and none that both have is missing: a batch done in part. */
bool snapshot_between(
        const struct snapshot *now, const struct snapshot *before, const struct snapshot *after);

struct operation {
        const char *name;
        int (*run)(struct scene *scene);
        /* Block i alone of an operation on a batch, whose blocks may be done one by one; NULL: there is no half of it. */
        int (*run_part)(struct scene *scene, size_t i);
        bool in_steps; /* done in part is an outcome until a reclaim finishes it */
        int result;    /* in a scene where nothing else happened */
};

extern const struct operation operations[];
extern const size_t operation_count;

/* Ends the program with a line that names it. */
void require(bool condition, const char *what);

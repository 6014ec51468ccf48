/* See crash_scene.h. */
#include "crash_scene.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void require(bool condition, const char *what) {
        if (condition)
                return;
        fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
        exit(1);
}

static int give(struct scene *s, uint32_t session, struct block block, uint32_t peer) {
        size_t bad;
        return pool_give_many(s->fixture.pool, session, &block, 1, peer, &bad);
}

void scene_init(struct scene *scene, size_t batch_count) {
        memset(scene, 0, sizeof *scene);
        fixture_init(&scene->fixture, SCENE_PAGES, SCENE_PAGES_MAX);
        scene->batch_count = batch_count;
        struct pool *pool = scene->fixture.pool;
        struct block filler;
        bool freed;
        scene->ada = fixture_session(&scene->fixture, "ada", 1);
        scene->bob = fixture_session(&scene->fixture, "bob", 1);
        scene->eve = fixture_session(&scene->fixture, "eve", 1);
        require(pool_grant(pool, scene->ada, 0, &scene->single) == 0, "grant single");
        require(pool_grant(pool, scene->ada, 2, &scene->shared) == 0, "grant shared");
        require(pool_attach(pool, scene->bob, scene->shared) == 0, "attach");
        require(pool_attach(pool, scene->bob, scene->shared) == 0, "attach again");
        require(pool_grant_many(pool, scene->ada, 1, batch_count, scene->batch) == 0,
                "grant batch");
        require(pool_grant(pool, scene->ada, 10, &scene->large) == 0, "grant large");
        require(pool_grant(pool, SESSION_OPERATOR, 8, &filler) == 0, "fill the first chunk");
        require(pool_grant(pool, scene->eve, 0, &scene->own) == 0, "grant own");
        require(pool_grant(pool, scene->ada, 1, &scene->keyed) == 0, "grant keyed");
        require(pool_publish(pool, scene->ada, "key", scene->keyed, 0) == 0, "publish");
        require(pool_release(pool, scene->ada, scene->keyed, &freed) == 0 && !freed,
                "leave to key");
        require(pool_grant(pool, scene->ada, 0, &scene->gift) == 0, "grant gift");
        require(pool_attach(pool, scene->ada, scene->gift) == 0, "attach to gift");
        for (int i = 0; i < 2; i++)
                require(give(scene, scene->ada, scene->gift, scene->eve) == 0, "give gift");
        struct pool_session_identity identity = {.pid = 1, .name = "opening"};
        require(pool_session_open(pool, &identity, &scene->opening) == 0, "open");
        scene_track(scene);
}

void scene_track(struct scene *scene) {
        pool_session_request(scene->fixture.pool, scene->ada, SCENE_REQUEST);
        pool_session_request(scene->fixture.pool, scene->bob, SCENE_REQUEST);
        pool_session_request(scene->fixture.pool, scene->eve, SCENE_REQUEST);
}

uint32_t scene_progress(struct scene *scene) {
        const uint32_t sessions[] = {scene->ada, scene->bob, scene->eve};
        uint32_t done = 0;
        for (size_t i = 0; i < sizeof sessions / sizeof *sessions; i++) {
                struct pool_progress progress;
                pool_session_progress(scene->fixture.pool, sessions[i], &progress);
                done += progress.request == SCENE_REQUEST ? progress.done : 0;
        }
        return done;
}

void scene_deinit(struct scene *scene) {
        fixture_deinit(&scene->fixture);
}

void scene_finish_closing(struct scene *scene) {
        struct pool *pool = scene->fixture.pool;
        for (uint32_t s = 0; (s = pool_session_next(pool, s)) != 0;) {
                struct pool_session_info info;
                require(pool_session_info(pool, s, &info) == 0, "session info");
                if (info.state == SESSION_CLOSING)
                        fixture_close(&scene->fixture, s);
        }
}

/* ---- Snapshots ---- */

static int hold_compare(const void *a, const void *b) {
        const struct pool_hold *x = a, *y = b;
        if (x->block.page != y->block.page)
                return x->block.page < y->block.page ? -1 : 1;
        if (x->session != y->session)
                return x->session < y->session ? -1 : 1;
        return strcmp(x->key, y->key);
}

void snapshot_take(struct pool *pool, struct snapshot *out) {
        memset(out, 0, sizeof *out);
        uint32_t cursor = 0;
        out->pages = pool_pages(pool);
        out->count = pool_list_holds(pool, 0, &cursor, out->holds, SCENE_HOLDS_MAX);
        require(cursor == PAGE_NONE, "too many holds for the snapshot");
        for (size_t i = 0; i < out->count; i++)
                out->holds[i].age_s = 0;
        qsort(out->holds, out->count, sizeof *out->holds, hold_compare);
        for (uint32_t s = 0; (s = pool_session_next(pool, s)) != 0;) {
                struct pool_session_info info;
                require(pool_session_info(pool, s, &info) == 0, "session info");
                out->opening_sessions += info.state == SESSION_OPENING;
                out->live_sessions += info.state == SESSION_LIVE;
                out->closing_sessions += info.state == SESSION_CLOSING;
        }
}

static bool hold_same(const struct pool_hold *a, const struct pool_hold *b) {
        return hold_compare(a, b) == 0 && a->block.order == b->block.order &&
               a->block.generation == b->block.generation;
}

bool snapshot_same(const struct snapshot *a, const struct snapshot *b) {
        if (a->count != b->count || a->pages != b->pages || a->live_sessions != b->live_sessions ||
                a->opening_sessions != b->opening_sessions ||
                a->closing_sessions != b->closing_sessions)
                return false;
        for (size_t i = 0; i < a->count; i++)
                if (!hold_same(&a->holds[i], &b->holds[i]))
                        return false;
        return true;
}

static bool hold_is_in(const struct pool_hold *hold, const struct snapshot *snapshot) {
        for (size_t i = 0; i < snapshot->count; i++)
                if (hold_same(hold, &snapshot->holds[i]))
                        return true;
        return false;
}

bool snapshot_between(
        const struct snapshot *now, const struct snapshot *before, const struct snapshot *after) {
        size_t in_both = 0, common = 0;
        for (size_t i = 0; i < now->count; i++) {
                bool b = hold_is_in(&now->holds[i], before);
                bool a = hold_is_in(&now->holds[i], after);
                if (!b && !a)
                        return false;
                in_both += b && a;
        }
        for (size_t i = 0; i < before->count; i++)
                common += hold_is_in(&before->holds[i], after);
        return in_both >= common;
}

/* ---- The operations ---- */

static int grant(struct scene *s, uint32_t session, unsigned order) {
        struct block out;
        return pool_grant(s->fixture.pool, session, order, &out);
}

static int release(struct scene *s, uint32_t session, struct block block) {
        bool freed;
        return pool_release(s->fixture.pool, session, block, &freed);
}

static int lookup(struct scene *s, uint32_t session) {
        struct block out;
        return pool_lookup(s->fixture.pool, session, "key", &out, NULL);
}

static int run_grant(struct scene *s) {
        return grant(s, s->bob, 0);
}

static int run_grant_first_of_chunk(struct scene *s) {
        return grant(s, s->bob, 8);
}

static int run_grant_large(struct scene *s) {
        return grant(s, s->bob, 9);
}

static int run_grant_to_owner(struct scene *s) {
        return grant(s, s->ada, 8);
}

static int run_grant_many(struct scene *s) {
        struct block out[SCENE_BATCH_MAX];
        return pool_grant_many(s->fixture.pool, s->bob, 0, s->batch_count, out);
}

static int run_grant_part(struct scene *s, size_t i) {
        (void)i;
        return grant(s, s->bob, 0);
}

static int run_release(struct scene *s) {
        return release(s, s->ada, s->single);
}

static int run_release_large(struct scene *s) {
        return release(s, s->ada, s->large);
}

static int run_release_owner_of_shared(struct scene *s) {
        return release(s, s->ada, s->shared);
}

static int run_release_further_hold(struct scene *s) {
        return release(s, s->bob, s->shared);
}

static int run_release_by_receiver(struct scene *s) {
        return release(s, s->eve, s->single);
}

static int run_release_gift(struct scene *s) {
        return release(s, s->eve, s->gift);
}

static int run_give_gift(struct scene *s) {
        return give(s, s->eve, s->gift, s->bob);
}

static int run_give_gift_again(struct scene *s) {
        return give(s, s->eve, s->gift, s->ada);
}

static int run_release_many(struct scene *s) {
        size_t bad;
        uint64_t freed;
        return pool_release_many(s->fixture.pool, s->ada, s->batch, s->batch_count, &bad, &freed);
}

static int run_release_part(struct scene *s, size_t i) {
        return release(s, s->ada, s->batch[i]);
}

/* Both further holds of one session on one block. */
static int run_release_both(struct scene *s) {
        struct block blocks[2] = {s->shared, s->shared};
        size_t bad;
        uint64_t freed;
        return pool_release_many(s->fixture.pool, s->bob, blocks, 2, &bad, &freed);
}

static int run_release_both_part(struct scene *s, size_t i) {
        return i < 2 ? release(s, s->bob, s->shared) : 0;
}

static int run_attach(struct scene *s) {
        return pool_attach(s->fixture.pool, s->eve, s->single);
}

static int run_attach_to_shared(struct scene *s) {
        return pool_attach(s->fixture.pool, s->eve, s->shared);
}

static int run_attach_to_one_of_batch(struct scene *s) {
        return pool_attach(s->fixture.pool, s->eve, s->batch[1]);
}

static int run_attach_to_large(struct scene *s) {
        return pool_attach(s->fixture.pool, s->eve, s->large);
}

static int run_attach_to_keyed(struct scene *s) {
        return pool_attach(s->fixture.pool, s->eve, s->keyed);
}

static int run_give(struct scene *s) {
        return give(s, s->ada, s->single, s->eve);
}

static int run_give_back(struct scene *s) {
        return give(s, s->eve, s->single, s->ada);
}

static int run_give_owner_of_shared(struct scene *s) {
        return give(s, s->ada, s->shared, s->bob);
}

static int run_give_further_hold(struct scene *s) {
        return give(s, s->bob, s->shared, s->eve);
}

static int run_give_further_hold_to_owner(struct scene *s) {
        return give(s, s->bob, s->shared, s->ada);
}

static int run_give_many(struct scene *s) {
        size_t bad;
        return pool_give_many(s->fixture.pool, s->ada, s->batch, s->batch_count, s->eve, &bad);
}

static int run_give_part(struct scene *s, size_t i) {
        return give(s, s->ada, s->batch[i], s->eve);
}

static int run_publish(struct scene *s) {
        return pool_publish(s->fixture.pool, s->ada, "new", s->single, 0);
}

static int run_publish_by_another(struct scene *s) {
        return pool_publish(s->fixture.pool, s->bob, "new", s->shared, 0);
}

static int run_publish_over(struct scene *s) {
        return pool_publish(s->fixture.pool, s->ada, "key", s->single, 0);
}

static int run_publish_over_by_another(struct scene *s) {
        return pool_publish(s->fixture.pool, s->bob, "key", s->shared, 0);
}

static int run_lookup(struct scene *s) {
        return lookup(s, s->eve);
}

static int run_lookup_by_another(struct scene *s) {
        return lookup(s, s->bob);
}

static int run_unpublish(struct scene *s) {
        return pool_unpublish(s->fixture.pool, s->ada, "key");
}

static int run_session_open(struct scene *s) {
        struct pool_session_identity identity = {.pid = 1, .name = "new"};
        uint32_t session;
        return pool_session_open(s->fixture.pool, &identity, &session);
}

static int run_session_confirm(struct scene *s) {
        pool_session_confirm(s->fixture.pool, s->opening);
        return 0;
}

/* Recovery goes on with what was begun: a closing session's holds are reclaimed by whoever takes over. */
static int run_close(struct scene *s) {
        fixture_close(&s->fixture, s->ada);
        return 0;
}

static int run_close_holder(struct scene *s) {
        fixture_close(&s->fixture, s->bob);
        return 0;
}

static int run_close_peer(struct scene *s) {
        fixture_close(&s->fixture, s->eve);
        return 0;
}

static int run_grow(struct scene *s) {
        return pool_grow(s->fixture.pool, SCENE_PAGES + CHUNK_PAGES);
}

static int run_grow_further(struct scene *s) {
        return pool_grow(s->fixture.pool, SCENE_PAGES_MAX);
}

const struct operation operations[] = {
        {"grant, order 0", run_grant, NULL, false, 0},
        {"grant, first of a chunk", run_grant_first_of_chunk, NULL, false, 0},
        {"grant, to the owner", run_grant_to_owner, NULL, false, 0},
        {"grant, order 9", run_grant_large, NULL, false, 0},
        {"grant_many", run_grant_many, run_grant_part, false, 0},
        {"release", run_release, NULL, false, 0},
        {"release, order 10", run_release_large, NULL, false, 0},
        {"release by the owner, shared", run_release_owner_of_shared, NULL, false, 0},
        {"release of a further hold", run_release_further_hold, NULL, false, 0},
        {"release by the receiver", run_release_by_receiver, NULL, false, -ESTALE},
        {"release of one of two gifts", run_release_gift, NULL, false, 0},
        {"give of one of two gifts", run_give_gift, NULL, false, 0},
        {"give of the other", run_give_gift_again, NULL, false, 0},
        {"release_many", run_release_many, run_release_part, false, 0},
        {"release_many, twice the same", run_release_both, run_release_both_part, false, 0},
        {"attach", run_attach, NULL, false, 0},
        {"attach, shared", run_attach_to_shared, NULL, false, 0},
        {"attach, one of the batch", run_attach_to_one_of_batch, NULL, false, 0},
        {"attach, order 10", run_attach_to_large, NULL, false, 0},
        {"attach, held by key only", run_attach_to_keyed, NULL, false, 0},
        {"give", run_give, NULL, false, 0},
        {"give back by the receiver", run_give_back, NULL, false, -ESTALE},
        {"give by the owner, shared", run_give_owner_of_shared, NULL, false, 0},
        {"give of a further hold", run_give_further_hold, NULL, false, 0},
        {"give, further hold to owner", run_give_further_hold_to_owner, NULL, false, 0},
        {"give_many", run_give_many, run_give_part, false, 0},
        {"publish", run_publish, NULL, false, 0},
        {"publish by another", run_publish_by_another, NULL, false, 0},
        {"publish over a key", run_publish_over, NULL, false, 0},
        {"publish over it by another", run_publish_over_by_another, NULL, false, 0},
        {"lookup", run_lookup, NULL, false, 0},
        {"lookup by another", run_lookup_by_another, NULL, false, 0},
        {"unpublish", run_unpublish, NULL, false, 0},
        {"session open", run_session_open, NULL, false, 0},
        {"session's first request", run_session_confirm, NULL, false, 0},
        {"session close, the owner's", run_close, NULL, true, 0},
        {"session close, a holder's", run_close_holder, NULL, true, 0},
        {"session close, the receiver's", run_close_peer, NULL, true, 0},
        {"grow", run_grow, NULL, false, 0},
        {"grow further", run_grow_further, NULL, false, 0},
};
const size_t operation_count = sizeof operations / sizeof *operations;

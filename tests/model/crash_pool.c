/* Kills every operation of a pool at every store to the ledger: the n-th store and all behind it do not happen,
 * for n = 1, 2, …; then the pool is taken over from the ledger, every invariant is walked, and what is
 * held must be what it was before the operation or what it is after it (for batches: after a part of it). Prints operations,
 * stores and outcomes. Built with LEDGER_HOOK. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include "crash_scene.h"

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

/* Runs the operation with its n-th store and all behind it lost. True: it got to its end. */
static bool run_until(struct scene *scene, const struct operation *operation, unsigned n) {
        stores_left = n;
        stores_seen = 0;
        if (setjmp(killed) == 0) {
                ledger_store_hook = kill_at_store;
                int r = operation->run(scene);
                ledger_store_hook = NULL;
                require(r == operation->result, operation->name);
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

/* What the ledger says of its progress is what has happened: nothing, all, or so many blocks of a batch from its beginning. */
static void progress_check(struct scene *scene, const struct operation *operation,
        const struct snapshot *now, uint32_t done) {
        static struct scene partly;
        static struct snapshot expected;
        uint32_t said = scene_progress(scene);
        if (done == 0 ||
                operation->in_steps) /* it is no operation on holds that were there before */
                return;
        scene_init(&partly, SCENE_BATCH_MAX);
        for (uint32_t i = 0; i < said; i++)
                require((operation->run_part ? operation->run_part(&partly, i)
                                             : operation->run(&partly)) == 0,
                        operation->name);
        snapshot_take(partly.fixture.pool, &expected);
        require(snapshot_same(now, &expected), "the progress is not what has happened");
        scene_deinit(&partly);
}

static void try_operation(const struct operation *operation) {
        static struct scene scene;
        static struct snapshot before, after, now;
        unsigned counts[3] = {0}; /* did not happen, in part, happened */
        scene_init(&scene, SCENE_BATCH_MAX);
        snapshot_take(scene.fixture.pool, &before);
        require(run_until(&scene, operation, STORES_MAX), "operation does not end");
        unsigned stores = stores_seen;
        recover_and_check(&scene, operation, stores);
        snapshot_take(scene.fixture.pool, &after);
        uint32_t done = scene_progress(&scene);
        scene_deinit(&scene);
        for (unsigned n = 0; n < stores; n++) {
                scene_init(&scene, SCENE_BATCH_MAX);
                require(!run_until(&scene, operation, n), "operation ended before its kill");
                recover_and_check(&scene, operation, n + 1);
                snapshot_take(scene.fixture.pool, &now);
                bool same_before = snapshot_same(&now, &before);
                bool same_after = snapshot_same(&now, &after);
                bool part = (operation->run_part || operation->in_steps) &&
                            snapshot_between(&now, &before, &after);
                if (!same_before && !same_after && !part) {
                        fprintf(stderr, "%s, killed at store %u of %u: neither before nor after\n",
                                operation->name, n + 1, stores);
                        exit(1);
                }
                progress_check(&scene, operation, &now, done);
                counts[same_after ? 2 : same_before ? 0 : 1]++;
                scene_deinit(&scene);
        }
        printf("%-30s %7u %15u %8u %9u\n", operation->name, stores, counts[0], counts[1],
                counts[2]);
}

int main(void) {
        printf("%-30s %7s %15s %8s %9s\n", "operation", "stores", "did not happen", "in part",
                "happened");
        for (size_t i = 0; i < operation_count; i++)
                if (operations[i].result == 0)
                        try_operation(&operations[i]);
        return 0;
}

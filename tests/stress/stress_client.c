/* Threads on one connection against a real daemon: allocate, wait, release, in batches and
 * singly, share with a second client of the same process, while others look at the statistics.
 * Every range is marked by its holder; whoever finds another's mark has been granted what somebody
 * else holds. With --kill-ms the daemon is killed and started again so often, which no call may
 * notice: none fails, nothing is lost, and nothing is left over.
 *
 * stress_client BUDDYD [--seconds N] [--threads N] [--kill-ms N] */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/buddyclient.h"
#include "tests/client/daemon.h"

#define PAGE        UINT64_C(4096)
#define POOL_BYTES  (UINT64_C(4) << 20) /* small, so that there is waiting */
#define KEPT_MAX    32
#define BATCH       8
#define THREADS_MAX 64

static struct buddyclient *client, *peer;
static atomic_bool stop;
static atomic_bool failed;

struct worker {
        pthread_t thread;
        uint64_t mark; /* nobody else's; not 0 */
        unsigned seed;
        uint64_t grants, refusals;
        struct buddyclient_range kept[KEPT_MAX];
        size_t kept_count;
};

static void fail(const char *what, int rc) {
        fprintf(stderr, "stress_client: %s: %s (%s%s)\n", what, buddyclient_strerror(rc),
                buddyclient_detail(client), buddyclient_detail(peer));
        atomic_store(&failed, true);
        atomic_store(&stop, true);
}

/* The pool's bytes are shared with nobody but other threads here: atomics, so that a double
 * grant shows as a wrong mark. */
static _Atomic uint64_t *mark_of(const struct buddyclient_range *range) {
        return buddyclient_pointer(client, range);
}

static void keep(struct worker *worker, const struct buddyclient_range *range) {
        atomic_store(mark_of(range), worker->mark);
        worker->kept[worker->kept_count++] = *range;
        worker->grants++;
}

static void give_back(struct worker *worker, size_t count) {
        struct buddyclient_range *first = &worker->kept[worker->kept_count - count];
        for (size_t i = 0; i < count; i++)
                if (atomic_load(mark_of(&first[i])) != worker->mark)
                        fail("a range bears another's mark", -EUCLEAN);
        int rc = count == 1 ? buddyclient_release(client, first)
                            : buddyclient_release_many(client, first, count);
        if (rc < 0)
                fail("release", rc);
        worker->kept_count -= count;
}

static int take(struct worker *worker) {
        struct buddyclient_range ranges[BATCH];
        unsigned choice = (unsigned)rand_r(&worker->seed);
        uint64_t length = PAGE << choice % 7;
        size_t count = 1;
        int rc;
        if (choice % 5 == 0 && worker->kept_count + BATCH <= KEPT_MAX)
                rc = buddyclient_alloc_many(client, length, count = BATCH, ranges);
        else if (choice % 3 == 0)
                rc = buddyclient_alloc_wait(client, length, (int)(choice % 20), ranges);
        else
                rc = buddyclient_alloc(client, length, ranges);
        for (size_t i = 0; rc == 0 && i < count; i++)
                keep(worker, &ranges[i]);
        return rc;
}

/* ---- Sharing ---- */

static void need(const char *what, int rc) {
        if (rc < 0)
                fail(what, rc);
}

static void hold_twice(struct buddyclient_range *range) {
        need("attach", buddyclient_attach(client, range));
        need("release of an attach", buddyclient_release(client, range));
}

/* The peer's hold outlives the client's. */
static void hand_over(struct buddyclient_range *range, uint64_t mark) {
        need("attach of the peer", buddyclient_attach(peer, range));
        need("release before the peer", buddyclient_release(client, range));
        if (atomic_load(mark_of(range)) != mark)
                fail("a shared range bears another's mark", -EUCLEAN);
        need("release of the peer", buddyclient_release(peer, range));
}

static void give_away(struct buddyclient_range *ranges, size_t count) {
        need("give", buddyclient_give_many(client, ranges, count, buddyclient_id(peer)));
        need("release of gifts", buddyclient_release_many(peer, ranges, count));
}

static void give_to_and_fro(struct buddyclient_range *range) {
        need("give", buddyclient_give(client, range, buddyclient_id(peer)));
        need("give back", buddyclient_give(peer, range, buddyclient_id(client)));
}

static void put_under_key(struct buddyclient_range *range, uint64_t mark) {
        char key[32];
        struct buddyclient_range found = {0};
        snprintf(key, sizeof(key), "key-%" PRIu64, mark);
        need("publish", buddyclient_publish(client, key, range));
        need("lookup", buddyclient_lookup(peer, key, &found));
        if (found.offset != range->offset || found.generation != range->generation)
                fail("another range is under the key", -EUCLEAN);
        need("unpublish", buddyclient_unpublish(client, key));
        need("release of a lookup", buddyclient_release(peer, &found));
}

static void share(struct worker *worker) {
        size_t last = worker->kept_count - 1, half = worker->kept_count / 2;
        struct buddyclient_range *range = &worker->kept[last];
        switch (rand_r(&worker->seed) % 5) {
        case 0:
                hold_twice(range);
                break;
        case 1:
                hand_over(range, worker->mark);
                worker->kept_count--;
                break;
        case 2:
                give_away(&worker->kept[half], worker->kept_count - half);
                worker->kept_count = half;
                break;
        case 3:
                give_to_and_fro(range);
                break;
        default:
                put_under_key(range, worker->mark);
        }
}

/* ---- Threads ---- */

static void *work(void *context) {
        struct worker *worker = context;
        while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
                int rc = worker->kept_count < KEPT_MAX ? take(worker) : -ENOMEM;
                if (rc == -ENOMEM || rc == -ETIMEDOUT) {
                        worker->refusals++;
                        if (worker->kept_count > 0)
                                give_back(worker, 1 + worker->kept_count / 2 % BATCH);
                } else if (rc < 0) {
                        fail("alloc", rc);
                } else if (rand_r(&worker->seed) % 2) {
                        give_back(worker, 1);
                } else if (rand_r(&worker->seed) % 2) {
                        share(worker);
                }
        }
        while (worker->kept_count > 0)
                give_back(worker, 1);
        return NULL;
}

static int look(struct buddyclient_stats *stats) {
        stats->struct_size = sizeof(*stats);
        int rc = buddyclient_stats(client, stats);
        if (rc < 0)
                fail("stats", rc);
        else if (stats->held_bytes + stats->cached_bytes + stats->free_bytes != stats->size_bytes)
                fail("held + cached + free is not the size", -EUCLEAN);
        return rc;
}

static uint64_t kill_and_restart(struct daemon_process *daemon, const char *program) {
        daemon_process_kill(daemon);
        if (daemon_process_restart(daemon, program) < 0)
                fail("restart", -ECHILD);
        return 1;
}

static void run_until(
        time_t end, struct daemon_process *daemon, const char *program, long kill_ms) {
        struct buddyclient_stats stats;
        uint64_t kills = 0;
        while (time(NULL) < end && !atomic_load(&stop)) {
                if (look(&stats) < 0)
                        break;
                if (kill_ms == 0)
                        continue;
                nanosleep(&(struct timespec){kill_ms / 1000, kill_ms % 1000 * 1000000}, NULL);
                kills += kill_and_restart(daemon, program);
        }
        if (kills > 0)
                printf("%" PRIu64 " kills\n", kills);
}

static void start_workers(struct worker *workers, size_t count) {
        for (size_t i = 0; i < count; i++) {
                workers[i] = (struct worker){.mark = i + 1, .seed = (unsigned)i};
                if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
                        abort();
        }
}

static void join_workers(struct worker *workers, size_t count) {
        struct buddyclient_stats stats;
        atomic_store(&stop, true);
        for (size_t i = 0; i < count; i++)
                pthread_join(workers[i].thread, NULL);
        uint32_t id;
        need("find", buddyclient_find(peer, "stress-peer", &id));
        if (look(&stats) == 0 && stats.held_bytes != 0)
                fail("ranges are left over", -EUCLEAN);
}

static struct buddyclient *connect_peer(const struct daemon_process *daemon) {
        struct buddyclient *made = daemon_process_client(daemon);
        if (made && buddyclient_set_name(made, "stress-peer") == 0 &&
                buddyclient_connect(made) == 0)
                return made;
        buddyclient_destroy(made);
        return NULL;
}

static long option(int argc, char **argv, const char *name, long otherwise) {
        for (int i = 2; i + 1 < argc; i++)
                if (strcmp(argv[i], name) == 0)
                        return strtol(argv[i + 1], NULL, 10);
        return otherwise;
}

int main(int argc, char **argv) {
        static struct worker workers[THREADS_MAX];
        struct daemon_process daemon;
        if (argc < 2) {
                fprintf(stderr,
                        "usage: stress_client BUDDYD [--seconds N] [--threads N] [--kill-ms N]\n");
                return 2;
        }
        long threads = option(argc, argv, "--threads", 8);
        size_t count = threads < 1 || threads > THREADS_MAX ? THREADS_MAX : (size_t)threads;
        if (daemon_process_start(&daemon, argv[1], POOL_BYTES) < 0)
                return 1;
        client = daemon_process_connect(&daemon);
        peer = connect_peer(&daemon);
        bool connected = client && peer;
        if (connected) {
                start_workers(workers, count);
                run_until(time(NULL) + option(argc, argv, "--seconds", 3), &daemon, argv[1],
                        option(argc, argv, "--kill-ms", 0));
                join_workers(workers, count);
        }
        buddyclient_destroy(client);
        buddyclient_destroy(peer);
        uint64_t grants = 0, refusals = 0;
        for (size_t i = 0; i < count; i++) {
                grants += workers[i].grants;
                refusals += workers[i].refusals;
        }
        printf("%zu threads: %" PRIu64 " grants, %" PRIu64 " refusals\n", count, grants, refusals);
        bool stopped = daemon_process_stop(&daemon) == 0;
        return connected && grants > 0 && stopped && !atomic_load(&failed) ? 0 : 1;
}

/* Threads of one client with a cache take, return, attach, give and publish, while another process exhausts the pool again and
 * again, so that the daemon takes ranges out of the cache under their hands, and a third returns what it finds. Every page
 * bears its holder's mark: who finds another's mark in what it holds has been granted what somebody else holds. With
 * --kill-ms the daemon is killed and started again so often.
 *
 * stress_cache BUDDYD [--seconds N] [--threads N] [--kill-ms N] */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/buddyclient.h"
#include "tests/client/daemon.h"

#define PAGE        UINT64_C(4096)
#define POOL_BYTES  (UINT64_C(16) << 20) /* 256 KiB of cache */
#define KEPT_MAX    24
#define THREADS_MAX 16
#define EATEN_MAX   (POOL_BYTES / PAGE)
#define OFFERS      4 /* ranges that threads hold and others may attach to */

/* Shared with the process that exhausts the pool. */
struct board {
        atomic_bool stop, failed;
        atomic_uint eaters; /* that have connected */
        _Atomic uint64_t rounds, eaten;
};

static struct board *board;
static struct buddyclient *client, *peer;

struct worker {
        pthread_t thread;
        uint64_t mark; /* nobody else's; not 0 */
        unsigned seed;
        uint64_t grants, refusals, stale;
        struct buddyclient_range kept[KEPT_MAX];
        size_t kept_count;
};

/* The name of a range that some thread holds, or held a while ago; changed under the lock of it. */
static struct offer {
        pthread_mutex_t lock;
        struct buddyclient_range range;
} offers[OFFERS];

static void fail(const char *what, int rc) {
        fprintf(stderr, "stress_cache: %s: %s (%s)\n", what, buddyclient_strerror(rc),
                client ? buddyclient_detail(client) : "");
        atomic_store(&board->failed, true);
        atomic_store(&board->stop, true);
}

static void need(const char *what, int rc) {
        if (rc < 0)
                fail(what, rc);
}

static bool stopped(void) {
        return atomic_load_explicit(&board->stop, memory_order_relaxed);
}

/* ---- Marks ---- */

static _Atomic uint64_t *word_at(
        struct buddyclient *of, const struct buddyclient_range *range, uint64_t at) {
        char *bytes = buddyclient_pointer(of, range);
        return (_Atomic uint64_t *)(void *)(bytes + at);
}

static void mark(struct buddyclient *of, const struct buddyclient_range *range, uint64_t value) {
        for (uint64_t at = 0; at < range->length; at += PAGE)
                atomic_store(word_at(of, range, at), value);
}

static void expect_mark(
        struct buddyclient *of, const struct buddyclient_range *range, uint64_t value) {
        for (uint64_t at = 0; at < range->length; at += PAGE) {
                uint64_t found = atomic_load(word_at(of, range, at));
                if (found == value)
                        continue;
                fprintf(stderr, "page %" PRIu64 ": mark %" PRIx64 " where %" PRIx64 " holds\n",
                        (range->offset + at) / PAGE, found, value);
                fail("a range bears another's mark", -EUCLEAN);
                return;
        }
}

/* ---- Workers ---- */

static void offer(struct worker *worker, const struct buddyclient_range *range) {
        struct offer *place = &offers[(unsigned)rand_r(&worker->seed) % OFFERS];
        pthread_mutex_lock(&place->lock);
        place->range = *range;
        pthread_mutex_unlock(&place->lock);
}

static int take(struct worker *worker) {
        struct buddyclient_range *range = &worker->kept[worker->kept_count];
        unsigned choice = (unsigned)rand_r(&worker->seed);
        uint64_t length = PAGE << (choice % 16 == 0 ? 8 : choice % 4);
        int rc = choice / 16 % 8 == 0
                         ? buddyclient_alloc_wait(client, length, (int)(choice % 20), range)
                         : buddyclient_alloc(client, length, range);
        if (rc < 0)
                return rc;
        mark(client, range, worker->mark);
        worker->kept_count++;
        worker->grants++;
        if (choice / 128 % 4 == 0)
                offer(worker, range);
        return 0;
}

static void put(struct worker *worker, size_t which) {
        struct buddyclient_range range = worker->kept[which];
        expect_mark(client, &range, worker->mark);
        worker->kept[which] = worker->kept[--worker->kept_count];
        int rc = buddyclient_release(client, &range);
        if (rc < 0)
                fail("release", rc);
}

/* Attaches, with the peer, to what may have been returned, and returned and taken again. */
static void attach_to_offer(struct worker *worker) {
        struct offer *place = &offers[(unsigned)rand_r(&worker->seed) % OFFERS];
        pthread_mutex_lock(&place->lock);
        struct buddyclient_range range = place->range;
        pthread_mutex_unlock(&place->lock);
        if (range.length == 0)
                return;
        struct buddyclient *holder = rand_r(&worker->seed) % 2 ? peer : client;
        int rc = buddyclient_attach(holder, &range);
        if (rc == -ESTALE || rc == -ENOMEM) {
                worker->stale++;
                return;
        }
        if (rc < 0) {
                fail("attach", rc);
                return;
        }
        /* Held now: its owner's mark may not change any more. */
        uint64_t first = atomic_load(word_at(holder, &range, 0));
        for (int looks = 0; looks < 20; looks++)
                expect_mark(holder, &range, first);
        need("release of an attach", buddyclient_release(holder, &range));
}

static void share(struct worker *worker) {
        struct buddyclient_range *range = &worker->kept[worker->kept_count - 1], found;
        char key[32];
        switch (rand_r(&worker->seed) % 4) {
        case 0: /* the peer's hold outlives this one's */
                need("attach of the peer", buddyclient_attach(peer, range));
                need("release before the peer", buddyclient_release(client, range));
                expect_mark(peer, range, worker->mark);
                need("release of the peer", buddyclient_release(peer, range));
                worker->kept_count--;
                break;
        case 1:
                need("give", buddyclient_give(client, range, buddyclient_id(peer)));
                expect_mark(peer, range, worker->mark);
                need("give back", buddyclient_give(peer, range, buddyclient_id(client)));
                break;
        case 2:
                need("give for good", buddyclient_give(client, range, buddyclient_id(peer)));
                expect_mark(peer, range, worker->mark);
                need("release of a gift", buddyclient_release(peer, range));
                worker->kept_count--;
                break;
        default:
                snprintf(key, sizeof(key), "key-%" PRIu64, worker->mark);
                need("publish", buddyclient_publish(client, key, range));
                need("release of what is published", buddyclient_release(client, range));
                worker->kept_count--;
                need("lookup", buddyclient_lookup(peer, key, &found));
                need("unpublish", buddyclient_unpublish(client, key));
                expect_mark(peer, &found, worker->mark);
                need("release of a lookup", buddyclient_release(peer, &found));
        }
}

static void *work(void *context) {
        struct worker *worker = context;
        while (!stopped()) {
                int rc = worker->kept_count < KEPT_MAX ? take(worker) : -ENOMEM;
                unsigned choice = (unsigned)rand_r(&worker->seed);
                if (rc == -ENOMEM || rc == -ETIMEDOUT) {
                        worker->refusals++;
                        for (size_t turn = worker->kept_count / 2; turn > 0; turn--)
                                put(worker, choice % worker->kept_count);
                } else if (rc < 0) {
                        fail("alloc", rc);
                } else if (choice % 32 == 0) {
                        share(worker);
                } else if (choice % 32 == 1) {
                        attach_to_offer(worker);
                } else if (choice % 2) {
                        put(worker, choice / 2 % worker->kept_count);
                }
        }
        while (worker->kept_count > 0)
                put(worker, 0);
        return NULL;
}

/* ---- Who exhausts the pool ---- */

/* Takes pages until there are none, and returns all; a child process of one thread. */
static int eat(const struct daemon_process *daemon) {
        static struct buddyclient_range eaten[EATEN_MAX];
        struct buddyclient *eater = daemon_process_client(daemon);
        if (!eater || buddyclient_set_cache_bytes(eater, 0) < 0 || buddyclient_connect(eater) < 0)
                return 1;
        client = eater;
        atomic_fetch_add(&board->eaters, 1);
        for (unsigned round = 0; !stopped(); round++) {
                size_t count = 0;
                uint64_t length = PAGE << round % 3 * 2;
                int rc;
                while (count < EATEN_MAX &&
                        (rc = buddyclient_alloc(eater, length, &eaten[count])) == 0) {
                        mark(eater, &eaten[count], UINT64_MAX);
                        count++;
                }
                if (count < EATEN_MAX && rc != -ENOMEM)
                        fail("alloc of all", rc);
                for (size_t each = 0; each < count; each++)
                        expect_mark(eater, &eaten[each], UINT64_MAX);
                for (size_t at = 0; at < count; at += 4096) {
                        size_t batch = count - at < 4096 ? count - at : 4096;
                        need("return of all", buddyclient_release_many(eater, &eaten[at], batch));
                }
                atomic_fetch_add(&board->rounds, 1);
                atomic_fetch_add(&board->eaten, count);
        }
        buddyclient_destroy(eater);
        return 0;
}

static pid_t eater_start(const struct daemon_process *daemon) {
        pid_t process = fork();
        if (process != 0)
                return process;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(eat(daemon));
}

/* ---- The whole ---- */

static void look(void) {
        struct buddyclient_stats stats = {.struct_size = sizeof(stats)};
        int rc = buddyclient_stats(peer, &stats);
        if (rc < 0)
                fail("stats", rc);
        else if (stats.held_bytes + stats.cached_bytes + stats.free_bytes != stats.size_bytes)
                fail("held + cached + free is not the size", -EUCLEAN);
}

static void pause_ms(long ms) {
        nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void run_until(
        time_t end, struct daemon_process *daemon, const char *program, long kill_ms) {
        while (time(NULL) < end && !stopped()) {
                look();
                pause_ms(kill_ms > 0 ? kill_ms : 5);
                if (kill_ms <= 0)
                        continue;
                daemon_process_kill(daemon);
                if (daemon_process_restart(daemon, program) < 0)
                        fail("restart", -ECHILD);
        }
}

/* All is returned: whatever is cached must be there for one who wants everything. */
static void expect_whole(struct buddyclient *taker) {
        struct buddyclient_range all;
        need("alloc of the whole pool", buddyclient_alloc(taker, POOL_BYTES, &all));
        need("release of the whole pool", buddyclient_release(taker, &all));
}

static void run(
        struct daemon_process *daemon, char **argv, size_t count, long seconds, long kill_ms) {
        static struct worker workers[THREADS_MAX];
        int status = 1;
        pid_t eater = eater_start(daemon);
        client = daemon_process_connect(daemon);
        peer = daemon_process_connect(daemon);
        if (!client || !peer || eater < 0) {
                fail("connect", -ENOTCONN);
                return;
        }
        for (size_t i = 0; i < count; i++) {
                workers[i] = (struct worker){.mark = i + 1, .seed = (unsigned)i};
                if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
                        abort();
        }
        run_until(time(NULL) + seconds, daemon, argv[1], kill_ms);
        atomic_store(&board->stop, true);
        uint64_t grants = 0, refusals = 0, stale = 0;
        for (size_t i = 0; i < count; i++) {
                pthread_join(workers[i].thread, NULL);
                grants += workers[i].grants;
                refusals += workers[i].refusals;
                stale += workers[i].stale;
        }
        waitpid(eater, &status, 0);
        if (status != 0 || grants == 0)
                fail("who exhausts the pool has ended badly", -ECHILD);
        look();
        expect_whole(peer);
        printf("%zu threads: %" PRIu64 " grants, %" PRIu64 " refusals, %" PRIu64
               " stale; all taken %" PRIu64 " times, %" PRIu64 " ranges\n",
                count, grants, refusals, stale, atomic_load(&board->rounds),
                atomic_load(&board->eaten));
}

static long option(int argc, char **argv, const char *name, long otherwise) {
        for (int i = 2; i + 1 < argc; i++)
                if (strcmp(argv[i], name) == 0)
                        return strtol(argv[i + 1], NULL, 10);
        return otherwise;
}

int main(int argc, char **argv) {
        struct daemon_process daemon;
        if (argc < 2) {
                fprintf(stderr,
                        "usage: stress_cache BUDDYD [--seconds N] [--threads N] [--kill-ms N]\n");
                return 2;
        }
        board = mmap(
                NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (board == MAP_FAILED)
                return 1;
        for (size_t each = 0; each < OFFERS; each++)
                pthread_mutex_init(&offers[each].lock, NULL);
        long threads = option(argc, argv, "--threads", 4);
        size_t count = threads < 1 || threads > THREADS_MAX ? THREADS_MAX : (size_t)threads;
        if (daemon_process_start(&daemon, argv[1], POOL_BYTES) < 0)
                return 1;
        run(&daemon, argv, count, option(argc, argv, "--seconds", 3),
                option(argc, argv, "--kill-ms", 0));
        buddyclient_destroy(client);
        buddyclient_destroy(peer);
        bool ended = daemon_process_stop(&daemon) == 0;
        return ended && !atomic_load(&board->failed) ? 0 : 1;
}

/* Several clients with caches hand ranges to each other, each with threads of its own: they take, give, return what they were given, take
 * it again, attach to what others have or had, publish, and name what is outdated, while another process exhausts the pool again
 * and again. Every range bears the mark of its present use, which goes along with its name: who finds another mark in what it holds, or
 * is told that an outdated name is good, has found a fault. With --kill-ms the daemon is killed and started again so often.
 *
 * stress_gifts BUDDYD [--seconds N] [--threads N] [--kill-ms N] */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gift_table.h"
#include "tests/client/daemon.h"

#define POOL_BYTES  (UINT64_C(16) << 20) /* 256 KiB of cache */
#define THREADS_MAX 4                    /* of a client */
#define KEPT_MAX    16
#define EATEN_MAX   (POOL_BYTES / PAGE)

struct worker {
        pthread_t thread;
        struct player *player;
        unsigned seed;
        uint64_t grants, gifts, attaches, stale;
        struct parcel kept[KEPT_MAX];
        size_t kept_count;
};

static unsigned chance(struct worker *worker, unsigned of) {
        return (unsigned)rand_r(&worker->seed) / 8 % of;
}

/* ---- What a worker keeps ---- */

static void keep(struct worker *worker, const struct parcel *parcel) {
        worker->kept[worker->kept_count++] = *parcel;
}

static struct parcel drop(struct worker *worker, size_t which) {
        struct parcel parcel = worker->kept[which];
        worker->kept[which] = worker->kept[--worker->kept_count];
        parcel_expect(worker->player->client, &parcel, "kept");
        return parcel;
}

/* From now on anybody may attach to it, by a name that it keeps for as long as it is not released. */
static void offer(struct worker *worker, struct parcel *parcel) {
        parcel->offered = true;
        offer_put(chance(worker, OFFERS), parcel);
}

static int take(struct worker *worker) {
        struct parcel parcel;
        unsigned choice = chance(worker, 64);
        uint64_t length = PAGE << (choice == 0 ? 6 : choice % 3);
        int rc = choice % 16 == 1
                         ? buddyclient_alloc_wait(
                                   worker->player->client, length, (int)choice / 4, &parcel.range)
                         : buddyclient_alloc(worker->player->client, length, &parcel.range);
        if (rc != 0)
                return rc;
        parcel.offered = false;
        parcel_mark(worker->player->client, &parcel);
        if (choice % 2 == 0)
                offer(worker, &parcel);
        keep(worker, &parcel);
        worker->grants++;
        return 0;
}

/* Also more than once. */
static void put(struct worker *worker, size_t which) {
        struct buddyclient *client = worker->player->client;
        struct parcel parcel = drop(worker, which);
        need("release", buddyclient_release(client, &parcel.range));
        if (!parcel.offered && chance(worker, 4) == 0)
                need_stale("second release", buddyclient_release(client, &parcel.range));
}

static void put_many(struct worker *worker) {
        struct buddyclient_range ranges[KEPT_MAX + 1];
        struct buddyclient *client = worker->player->client;
        size_t count = 0;
        bool offered = false;
        if (worker->kept_count == 0)
                return;
        while (worker->kept_count > 0) {
                struct parcel parcel = drop(worker, worker->kept_count - 1);
                offered |= parcel.offered;
                ranges[count++] = parcel.range;
        }
        ranges[count] = ranges[0];
        if (!offered)
                need_stale("release of a batch with one twice",
                        buddyclient_release_many(client, ranges, count + 1));
        need("release of a batch", buddyclient_release_many(client, ranges, count));
        if (!offered)
                need_stale("second release of a batch",
                        buddyclient_release_many(client, ranges, count));
}

/* ---- Gifts ---- */

static struct player *another(struct worker *worker) {
        size_t self = (size_t)(worker->player - players);
        return &players[(self + 1 + chance(worker, CLIENTS - 1)) % CLIENTS];
}

static void give(struct worker *worker, size_t which) {
        struct player *to = another(worker);
        struct parcel parcel = drop(worker, which);
        struct buddyclient_range name = parcel.range;
        need("give", buddyclient_give(
                             worker->player->client, &parcel.range, buddyclient_id(to->client)));
        worker->gifts++;
        if (!parcel.offered && chance(worker, 4) == 0)
                need_stale(
                        "release by the giver", buddyclient_release(worker->player->client, &name));
        /* Where there is no room its new holder lets go of it at once. */
        if (!mail_post(to, &parcel)) {
                parcel_expect(to->client, &parcel, "given");
                need("release of a gift", buddyclient_release(to->client, &parcel.range));
        }
}

/* All that is kept goes to one other; each goes into its mail, or back from there at once. */
static void give_many(struct worker *worker) {
        struct parcel parcels[KEPT_MAX];
        struct buddyclient_range ranges[KEPT_MAX];
        struct player *to = another(worker);
        size_t count = 0;
        for (; worker->kept_count > 0; count++) {
                parcels[count] = drop(worker, worker->kept_count - 1);
                ranges[count] = parcels[count].range;
        }
        if (count == 0)
                return;
        need("give of a batch", buddyclient_give_many(worker->player->client, ranges, count,
                                        buddyclient_id(to->client)));
        worker->gifts += count;
        for (size_t each = 0; each < count; each++) {
                parcels[each].range = ranges[each];
                if (!mail_post(to, &parcels[each]))
                        need("release of a gift", buddyclient_release(to->client, &ranges[each]));
        }
}

static void receive(struct worker *worker) {
        struct parcel parcel;
        while (worker->kept_count < KEPT_MAX && mail_take(worker->player, &parcel)) {
                parcel_expect(worker->player->client, &parcel, "received");
                if (chance(worker, 4) == 0)
                        offer(worker, &parcel);
                keep(worker, &parcel);
                if (chance(worker, 2) == 0)
                        put(worker, worker->kept_count - 1);
        }
}

/* The peer returns it as soon as it is its own, maybe before the giver hears that it is. */
static void *give_beside(void *context) {
        struct worker *worker = context;
        struct parcel *parcel = &worker->kept[worker->kept_count - 1];
        struct buddyclient_range name = parcel->range;
        struct player *next = &players[(size_t)(worker->player - players + 1) % CLIENTS];
        need("give beside a release",
                buddyclient_give(worker->player->client, &name, buddyclient_id(next->client)));
        return NULL;
}

static void give_and_release_at_once(struct worker *worker) {
        struct player *next = &players[(size_t)(worker->player - players + 1) % CLIENTS];
        struct parcel parcel = worker->kept[worker->kept_count - 1];
        pthread_t thread;
        int rc;
        if (parcel.offered)
                return;
        if (pthread_create(&thread, NULL, give_beside, worker) != 0)
                abort();
        do
                rc = buddyclient_release(next->client, &parcel.range);
        while (rc == -ESTALE && !atomic_load(&board->failed));
        need("release beside its gift", rc);
        need_stale("second release beside", buddyclient_release(next->client, &parcel.range));
        pthread_join(thread, NULL);
        worker->kept_count--;
        worker->gifts++;
}

/* ---- Others' holds ---- */

/* By a name that is somebody's, or was. Who holds it then sees the bytes of that name until it lets go. */
static void attach_to_offer(struct worker *worker) {
        struct parcel parcel;
        if (!offer_look(chance(worker, OFFERS), &parcel))
                return;
        struct buddyclient *client = worker->player->client;
        int rc = buddyclient_attach(client, &parcel.range);
        if (rc == -ESTALE || rc == -ENOMEM) {
                worker->stale++;
                return;
        }
        need("attach", rc);
        worker->attaches++;
        for (int looks = 0; looks < 20; looks++)
                parcel_expect(client, &parcel, "attached");
        need("release of an attach", buddyclient_release(client, &parcel.range));
}

static void publish(struct worker *worker) {
        struct buddyclient *client = worker->player->client, *peer = another(worker)->client;
        struct parcel parcel = drop(worker, worker->kept_count - 1), found = parcel;
        char key[32];
        snprintf(key, sizeof(key), "key-%" PRIx64, parcel.mark);
        need("publish", buddyclient_publish(client, key, &parcel.range));
        need("release of what is published", buddyclient_release(client, &parcel.range));
        need("lookup", buddyclient_lookup(peer, key, &found.range));
        need("unpublish", buddyclient_unpublish(client, key));
        parcel_expect(peer, &found, "looked up");
        need("release of a lookup", buddyclient_release(peer, &found.range));
}

/* The peer holds it before it is given onwards, and after that longer than who was given it. */
static void share_and_give(struct worker *worker) {
        struct buddyclient *client = worker->player->client, *peer = another(worker)->client;
        struct parcel parcel = drop(worker, worker->kept_count - 1);
        struct buddyclient *next = another(worker)->client;
        need("attach of the peer", buddyclient_attach(peer, &parcel.range));
        need("give of what is shared",
                buddyclient_give(client, &parcel.range, buddyclient_id(next)));
        need("release of a shared gift", buddyclient_release(next, &parcel.range));
        parcel_expect(peer, &parcel, "shared");
        need("release of the peer", buddyclient_release(peer, &parcel.range));
}

/* ---- Workers ---- */

static void act(struct worker *worker) {
        size_t last = worker->kept_count - 1;
        switch (chance(worker, 40)) {
        case 0:
                publish(worker);
                break;
        case 1:
                share_and_give(worker);
                break;
        case 2:
                give_many(worker);
                break;
        case 3:
                put_many(worker);
                break;
        case 4:
                give_and_release_at_once(worker);
                break;
        case 5:
        case 6:
        case 7:
        case 8:
                attach_to_offer(worker);
                break;
        case 9:
        case 10:
        case 11:
        case 12:
        case 13:
        case 14:
        case 15:
        case 16:
                give(worker, last);
                break;
        default:
                put(worker, chance(worker, (unsigned)worker->kept_count));
        }
}

static void *work(void *context) {
        struct worker *worker = context;
        while (!table_stopped()) {
                receive(worker);
                int rc = worker->kept_count < KEPT_MAX ? take(worker) : 0;
                if (rc == -ENOMEM || rc == -ETIMEDOUT)
                        put_many(worker);
                else if (rc != 0)
                        fail("alloc", rc);
                for (unsigned turns = chance(worker, 3); turns > 0 && worker->kept_count > 0;
                        turns--)
                        act(worker);
        }
        while (worker->kept_count > 0)
                put(worker, 0);
        return NULL;
}

/* ---- Who exhausts the pool ---- */

/* Takes pages until there are none, and returns all; a child process of one thread. */
static int eat(const struct daemon_process *daemon, int ready) {
        static struct parcel eaten[EATEN_MAX];
        struct buddyclient *eater = daemon_process_client(daemon);
        if (!eater || buddyclient_set_cache_bytes(eater, 0) < 0 || buddyclient_connect(eater) < 0 ||
                write(ready, "", 1) != 1)
                return 1;
        while (!table_stopped()) {
                size_t count = 0;
                int rc = 0;
                for (; count < EATEN_MAX; count++) {
                        rc = buddyclient_alloc(eater, PAGE, &eaten[count].range);
                        if (rc != 0)
                                break;
                        parcel_mark(eater, &eaten[count]);
                }
                if (rc != -ENOMEM && count < EATEN_MAX)
                        fail("alloc of all", rc);
                for (size_t each = 0; each < count; each++) {
                        parcel_expect(eater, &eaten[each], "eaten");
                        need("return of all", buddyclient_release(eater, &eaten[each].range));
                }
                atomic_fetch_add(&board->rounds, 1);
        }
        buddyclient_destroy(eater);
        return 0;
}

static pid_t eater_start(const struct daemon_process *daemon) {
        int ready[2];
        char byte;
        if (pipe(ready) != 0)
                return -1;
        pid_t process = fork();
        if (process == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                _exit(eat(daemon, ready[1]));
        }
        close(ready[1]);
        bool up = process > 0 && read(ready[0], &byte, 1) == 1;
        close(ready[0]);
        return up ? process : -1;
}

/* ---- The whole ---- */

static void look(struct buddyclient *client) {
        struct buddyclient_stats stats = {.struct_size = sizeof(stats)};
        need("stats", buddyclient_stats(client, &stats));
        if (stats.held_bytes + stats.cached_bytes + stats.free_bytes != stats.size_bytes)
                fail("held + cached + free is not the size", -EUCLEAN);
}

static void pause_ms(long ms) {
        nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void run_until(
        time_t end, struct daemon_process *daemon, const char *program, long kill_ms) {
        while (time(NULL) < end && !table_stopped()) {
                look(players[0].client);
                pause_ms(kill_ms > 0 ? kill_ms : 5);
                if (kill_ms <= 0)
                        continue;
                daemon_process_kill(daemon);
                if (daemon_process_restart(daemon, program) < 0)
                        fail("restart", -ECHILD);
        }
}

/* What is in the mail is its receiver's; then nobody holds anything, and one can have everything. */
static void expect_whole(void) {
        struct buddyclient_stats stats = {.struct_size = sizeof(stats)};
        struct buddyclient_range all;
        struct parcel parcel;
        for (size_t each = 0; each < CLIENTS; each++) {
                while (mail_take(&players[each], &parcel)) {
                        parcel_expect(players[each].client, &parcel, "left in the mail");
                        need("release of mail",
                                buddyclient_release(players[each].client, &parcel.range));
                }
        }
        need("stats", buddyclient_stats(players[0].client, &stats));
        if (stats.held_bytes != 0)
                fail("something is held by nobody", -EUCLEAN);
        need("alloc of the whole pool", buddyclient_alloc(players[0].client, POOL_BYTES, &all));
        need("release of the whole pool", buddyclient_release(players[0].client, &all));
}

static void workers_run(struct worker *workers, size_t count, struct daemon_process *daemon,
        const char *program, const long *times) {
        for (size_t i = 0; i < count; i++) {
                workers[i] = (struct worker){.player = &players[i % CLIENTS], .seed = (unsigned)i};
                if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
                        abort();
        }
        run_until(time(NULL) + times[0], daemon, program, times[1]);
        atomic_store(&board->stop, true);
        for (size_t i = 0; i < count; i++)
                pthread_join(workers[i].thread, NULL);
}

static void run(
        struct daemon_process *daemon, const char *program, size_t threads, const long *times) {
        static struct worker workers[CLIENTS * THREADS_MAX];
        uint64_t grants = 0, gifts = 0, attaches = 0, stale = 0;
        int status = 1;
        pid_t eater = eater_start(daemon);
        for (size_t each = 0; each < CLIENTS; each++) {
                players[each].client = daemon_process_connect(daemon);
                if (!players[each].client || eater < 0) {
                        fail("connect", -ENOTCONN);
                        return;
                }
        }
        workers_run(workers, threads * CLIENTS, daemon, program, times);
        for (size_t i = 0; i < threads * CLIENTS; i++) {
                grants += workers[i].grants;
                gifts += workers[i].gifts;
                attaches += workers[i].attaches;
                stale += workers[i].stale;
        }
        waitpid(eater, &status, 0);
        if (status != 0 || gifts == 0)
                fail("who exhausts the pool has ended badly, or nothing was given", -ECHILD);
        if (!atomic_load(&board->failed))
                expect_whole();
        printf("%d clients of %zu threads: %" PRIu64 " grants, %" PRIu64 " gifts, %" PRIu64
               " attaches, %" PRIu64 " too late; all taken %" PRIu64 " times\n",
                CLIENTS, threads, grants, gifts, attaches, stale, atomic_load(&board->rounds));
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
                        "usage: stress_gifts BUDDYD [--seconds N] [--threads N] [--kill-ms N]\n");
                return 2;
        }
        if (!table_open())
                return 1;
        long threads = option(argc, argv, "--threads", 2);
        size_t count = threads < 1 || threads > THREADS_MAX ? THREADS_MAX : (size_t)threads;
        const long times[2] = {
                option(argc, argv, "--seconds", 3), option(argc, argv, "--kill-ms", 0)};
        if (daemon_process_start(&daemon, argv[1], POOL_BYTES) < 0)
                return 1;
        run(&daemon, argv[1], count, times);
        for (size_t each = 0; each < CLIENTS; each++)
                buddyclient_destroy(players[each].client);
        bool ended = daemon_process_stop(&daemon) == 0;
        return ended && !atomic_load(&board->failed) ? 0 : 1;
}

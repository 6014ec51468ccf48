/* Threads are granted blocks of a lazy pool, write to them, and return them, while others trim it all the time, on demand and by
 * time. Each block bears its owner's mark while it is held, so memory that was given back under somebody reads as zeroes; and
 * the pool always has room for what is asked, so a grant that is refused is a false one.
 * usage: stress_trim [SECONDS] */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "daemon/served_pool.h"
#include "daemon/trim.h"

#define MIB       (UINT64_C(1) << 20)
#define SIZE      (16 * MIB)
#define PAGE      UINT64_C(4096)
#define ACTORS    3
#define TRIMMERS  2
#define ORDER_MAX 9u /* 2 MiB: one unit */

static struct served_pool served;
static char *segment;
static _Atomic bool stop;

struct actor {
        pthread_t thread;
        uint32_t session;
        uint64_t state;
        uint64_t grants;
};

static void require(bool condition, const char *what) {
        if (condition)
                return;
        fprintf(stderr, "stress_trim: %s\n", what);
        abort();
}

static uint32_t next_random(struct actor *actor, uint32_t below) {
        actor->state ^= actor->state << 13;
        actor->state ^= actor->state >> 7;
        actor->state ^= actor->state << 17;
        return (uint32_t)((actor->state >> 20) % below);
}

/* A word of the first page and one of the last. */
static uint64_t *block_word(struct block block, bool last) {
        uint64_t page = block.page + (last ? order_pages(block.order) - 1 : 0);
        return (uint64_t *)(void *)(segment + page * PAGE) + last;
}

static void block_mark(struct block block, uint64_t mark) {
        *block_word(block, false) = mark;
        *block_word(block, true) = mark;
}

static void block_check(struct block block, uint64_t mark) {
        require(*block_word(block, false) == mark && *block_word(block, true) == mark,
                "a held page has lost its bytes");
}

/* Holds two blocks at a time: with all actors six of the eight that the pool has of the largest, however it is split. */
static void *actor_run(void *argument) {
        struct actor *actor = argument;
        struct block held[2];
        uint64_t marks[2];
        size_t count = 0;
        while (!atomic_load(&stop)) {
                if (count == 2) {
                        size_t at = next_random(actor, 2);
                        bool freed;
                        block_check(held[at], marks[at]);
                        require(pool_release(served.pool, actor->session, held[at], &freed) == 0,
                                "release");
                        held[at] = held[1];
                        marks[at] = marks[1];
                        count = 1;
                        continue;
                }
                unsigned order = next_random(actor, 2) ? ORDER_MAX : next_random(actor, ORDER_MAX);
                int error = pool_grant(served.pool, actor->session, order, &held[count]);
                require(error == 0, "a grant was refused that could be served");
                marks[count] = (uint64_t)actor->session << 48 | ++actor->grants << 16;
                block_mark(held[count], marks[count]);
                count++;
        }
        return NULL;
}

static void *trimmer_run(void *argument) {
        uint64_t *bytes = argument;
        for (unsigned round = 0; !atomic_load(&stop); round++) {
                struct trimmed trimmed = trim_pool(&served, round % 4 == 3, &stop);
                require(trimmed.error == 0, "trim");
                *bytes += trimmed.bytes;
                require(reserve_map_missing(&served.store->reserved) == 0,
                        "what is reserved has no memory");
        }
        return NULL;
}

static void stage(struct store **store) {
        struct pool_settings settings = {
                .size_bytes = SIZE,
                .max_size_bytes = SIZE,
                .page_bytes = PAGE,
                .backing = BACKING_MEMFD,
                .commit = COMMIT_LAZY,
        };
        snprintf(settings.name, sizeof(settings.name), "stress-trim-%d", (int)getpid());
        require(store_open(&settings, false, store) == 0, "no store");
        require(served_pool_init(&served, *store, 1) == 0, "no pool");
        segment = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, (*store)->segment_fd, 0);
        require(segment != MAP_FAILED, "no mapping");
}

static void actors_start(struct actor actors[ACTORS]) {
        for (uint32_t i = 0; i < ACTORS; i++) {
                struct pool_session_identity identity = {.token = {(uint8_t)i}};
                actors[i].state = 88172645463325252u + i * 7919;
                require(pool_session_open(served.pool, &identity, &actors[i].session) == 0,
                        "session");
                require(pthread_create(&actors[i].thread, NULL, actor_run, &actors[i]) == 0,
                        "thread");
        }
}

static uint64_t actors_end(struct actor actors[ACTORS]) {
        struct pool_reclaimed reclaimed = {0};
        uint64_t grants = 0;
        for (unsigned i = 0; i < ACTORS; i++) {
                pthread_join(actors[i].thread, NULL);
                pool_session_close(served.pool, actors[i].session);
                require(pool_session_reclaim(served.pool, actors[i].session, 8, &reclaimed),
                        "reclaim");
                grants += actors[i].grants;
        }
        return grants;
}

static void check_empty(void) {
        static const _Atomic bool never;
        struct pool_check_report report;
        trim_pool(&served, 0, &never);
        require(store_resident_bytes(served.store) == 0, "something stays resident");
        if (pool_check(served.pool, &report) != 0)
                require(false, report.fault);
}

int main(int argc, char **argv) {
        int seconds = argc > 1 ? atoi(argv[1]) : 3;
        struct actor actors[ACTORS] = {0};
        pthread_t trimmers[TRIMMERS];
        uint64_t bytes[TRIMMERS] = {0};
        struct store *store;
        stage(&store);
        actors_start(actors);
        for (unsigned i = 0; i < TRIMMERS; i++)
                require(pthread_create(&trimmers[i], NULL, trimmer_run, &bytes[i]) == 0, "thread");
        nanosleep(&(struct timespec){.tv_sec = seconds}, NULL);
        atomic_store(&stop, true);
        uint64_t grants = actors_end(actors);
        for (unsigned i = 0; i < TRIMMERS; i++)
                pthread_join(trimmers[i], NULL);
        check_empty();
        printf("%llu grants, none refused; %llu MiB given back meanwhile\n",
                (unsigned long long)grants, (unsigned long long)((bytes[0] + bytes[1]) / MIB));
        require(grants > 0 && bytes[0] + bytes[1] > 0, "nothing was done");
        munmap(segment, SIZE);
        served_pool_deinit(&served);
        store_close(store, false);
        return 0;
}

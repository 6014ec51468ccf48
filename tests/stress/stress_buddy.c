/* Several threads on one allocator. Every page carries an atomic mark of who owns it, so two grants
 * that overlap are seen at once, and every page that was promised is counted:
 *   mixed:   blocks of all orders, batches, claims and runs at random;
 *   tight:   each thread holds so little that a block is always free somewhere, so any -ENOMEM is false;
 *   whole:   the same with one block and single pages: it is being split or merged most of the time;
 *   drain:   threads take single pages until -ENOMEM; together they must get every page there is.
 * After each phase everything is returned and the whole allocator is checked. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/buddy.h"

#define PAGES_MAX   20000u
#define THREADS_MAX 16u
#define HELD_MAX    256u
#define BATCH       24u
#define WHOLE_PAGES 1024u

struct held {
        uint32_t page;
        unsigned order;
};

struct worker {
        pthread_t thread;
        uint32_t mark; /* in owners[]; never 0 */
        uint64_t random_state;
        uint64_t operations; /* done in this phase */
        uint64_t no_memory;
        struct held held[HELD_MAX];
        size_t held_count;
};

static struct buddy buddy;
static _Atomic uint32_t owners[PAGES_MAX];
static _Atomic bool stop;
static pthread_barrier_t start;
static struct worker workers[THREADS_MAX];
static unsigned thread_count = 3;
static unsigned tight_order; /* largest that a thread asks for in the phases that never run out */
static size_t tight_held;    /* how many blocks it holds at most */
static uint64_t operations_max; /* per thread and phase; 0: as the seconds say */

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        fputs("stress_buddy: ", stderr);
        vfprintf(stderr, format, arguments);
        fputc('\n', stderr);
        va_end(arguments);
        exit(1);
}

static uint64_t random_next(struct worker *worker) {
        worker->random_state ^= worker->random_state << 13;
        worker->random_state ^= worker->random_state >> 7;
        worker->random_state ^= worker->random_state << 17;
        return worker->random_state;
}

static uint32_t random_below(struct worker *worker, uint32_t limit) {
        return (uint32_t)(random_next(worker) % limit);
}

static unsigned random_order(struct worker *worker, unsigned limit) {
        return (unsigned)__builtin_ctzll(random_next(worker) | UINT64_C(1) << (limit - 1));
}

/* Relaxed: the marks must not order what the allocator itself fails to order. */
static void mark_pages(uint32_t first, uint64_t count, uint32_t from, uint32_t to) {
        for (uint64_t page = first; page < first + count; page++) {
                uint32_t before = atomic_exchange_explicit(&owners[page], to, memory_order_relaxed);
                if (before != from)
                        fail("page %" PRIu64 " belongs to %" PRIu32 ", not %" PRIu32, page, before,
                                from);
        }
}

static void keep(struct worker *worker, uint32_t page, unsigned order) {
        mark_pages(page, order_pages(order), 0, worker->mark);
        worker->held[worker->held_count++] = (struct held){page, order};
}

static void give_back(struct worker *worker, size_t index) {
        struct held held = worker->held[index];
        worker->held[index] = worker->held[--worker->held_count];
        mark_pages(held.page, order_pages(held.order), worker->mark, 0);
        int error = buddy_free(&buddy, held.page, held.order);
        if (error)
                fail("free of order %u at page %" PRIu32 ": error %d", held.order, held.page,
                        error);
}

static void give_all_back(struct worker *worker) {
        while (worker->held_count > 0)
                give_back(worker, worker->held_count - 1);
}

static bool refused(struct worker *worker, int error) {
        if (error == 0)
                return false;
        if (error != -ENOMEM && error != -EBUSY)
                fail("error %d", error);
        worker->no_memory++;
        return true;
}

static void take_one(struct worker *worker) {
        unsigned order = random_order(worker, 11);
        uint32_t page;
        if (!refused(worker, buddy_alloc(&buddy, order, &page)))
                keep(worker, page, order);
}

static void take_batch(struct worker *worker) {
        unsigned order = random_order(worker, 6);
        uint32_t pages[BATCH];
        size_t count = 1 + random_below(worker, BATCH);
        if (refused(worker, buddy_alloc_many(&buddy, order, count, pages)))
                return;
        for (size_t i = 0; i < count; i++)
                keep(worker, pages[i], order);
}

/* Claims a run and returns it at once, as a whole. */
static void claim_run(struct worker *worker) {
        uint32_t count = 1 + random_below(worker, 40);
        uint32_t first = random_below(worker, buddy.pages_max - count);
        if (refused(worker, buddy_claim(&buddy, first, count)))
                return;
        mark_pages(first, count, 0, worker->mark);
        mark_pages(first, count, worker->mark, 0);
        int error = buddy_free_range(&buddy, first, count);
        if (error)
                fail("free of a run: error %d", error);
}

static bool goes_on(const struct worker *worker) {
        return !atomic_load_explicit(&stop, memory_order_relaxed) &&
               (operations_max == 0 || worker->operations < operations_max);
}

static void *run_mixed(void *context) {
        struct worker *worker = context;
        pthread_barrier_wait(&start);
        for (; goes_on(worker); worker->operations++) {
                uint32_t choice = random_below(worker, 100);
                if (choice == 0)
                        claim_run(worker);
                else if (choice < 5 && worker->held_count + BATCH <= HELD_MAX)
                        take_batch(worker);
                else if (choice < 50 && worker->held_count < HELD_MAX)
                        take_one(worker);
                else if (worker->held_count > 0)
                        give_back(worker, random_below(worker, (uint32_t)worker->held_count));
        }
        give_all_back(worker);
        return NULL;
}

/* The pool has thread_count × tight_held blocks of tight_order or more, and a thread that asks holds fewer
 * than its share: one of them is whole at every instant. */
static void *run_tight(void *context) {
        struct worker *worker = context;
        pthread_barrier_wait(&start);
        for (; goes_on(worker); worker->operations++) {
                if (worker->held_count == tight_held ||
                        (worker->held_count > 0 && random_next(worker) & 1)) {
                        give_back(worker, random_below(worker, (uint32_t)worker->held_count));
                        continue;
                }
                unsigned order = random_order(worker, tight_order + 1);
                uint32_t page;
                int error = random_next(worker) & 1 ? buddy_alloc(&buddy, order, &page)
                                                    : buddy_alloc_many(&buddy, order, 1, &page);
                if (error)
                        fail("order %u: error %d although a block of order %u is free", order,
                                error, tight_order);
                keep(worker, page, order);
        }
        give_all_back(worker);
        return NULL;
}

static void *run_drain(void *context) {
        struct worker *worker = context;
        pthread_barrier_wait(&start);
        uint32_t page;
        while (buddy_alloc(&buddy, 0, &page) == 0) {
                mark_pages(page, 1, 0, worker->mark);
                worker->operations++;
        }
        return NULL;
}

static uint64_t free_pages(void) {
        struct buddy_totals totals;
        buddy_totals(&buddy, &totals);
        return totals.free_pages;
}

static void check_all_free(uint64_t pages) {
        char fault[256];
        if (buddy_check(&buddy, fault, sizeof fault) != 0)
                fail("check: %s", fault);
        if (free_pages() != pages)
                fail("%" PRIu64 " of %" PRIu64 " pages came back", free_pages(), pages);
}

static void run_threads(void *(*body)(void *), double seconds) {
        atomic_store(&stop, false);
        pthread_barrier_init(&start, NULL, thread_count + 1);
        for (unsigned i = 0; i < thread_count; i++) {
                workers[i].operations = workers[i].no_memory = 0;
                if (pthread_create(&workers[i].thread, NULL, body, &workers[i]) != 0)
                        fail("cannot start a thread");
        }
        pthread_barrier_wait(&start);
        if (operations_max == 0 && seconds > 0) {
                struct timespec length = {.tv_sec = (time_t)seconds,
                        .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
                nanosleep(&length, NULL); /* the length of the run, not a synchronisation */
                atomic_store(&stop, true);
        }
        for (unsigned i = 0; i < thread_count; i++)
                pthread_join(workers[i].thread, NULL);
        pthread_barrier_destroy(&start);
}

static void report(const char *phase) {
        uint64_t operations = 0;
        uint64_t no_memory = 0;
        for (unsigned i = 0; i < thread_count; i++) {
                operations += workers[i].operations;
                no_memory += workers[i].no_memory;
        }
        printf("%-6s %12" PRIu64 " operations, %" PRIu64 " refused\n", phase, operations,
                no_memory);
        fflush(stdout);
}

static void open_pool(uint64_t pages) {
        if (buddy_init(&buddy, pages) != 0 || buddy_add_region(&buddy, 0, pages) != 0)
                fail("cannot make an allocator of %" PRIu64 " pages", pages);
}

static void phase_mixed(double seconds) {
        open_pool(PAGES_MAX - 77);
        run_threads(run_mixed, seconds);
        report("mixed");
        check_all_free(PAGES_MAX - 77);
        buddy_deinit(&buddy);
}

static void phase_tight(double seconds) {
        tight_order = 6;
        tight_held = 2;
        uint64_t pages = (uint64_t)thread_count * tight_held << tight_order;
        open_pool(pages);
        run_threads(run_tight, seconds);
        report("tight");
        check_all_free(pages);
        buddy_deinit(&buddy);
}

static void phase_whole(double seconds) {
        tight_order = 0;
        tight_held = 1;
        open_pool(WHOLE_PAGES);
        run_threads(run_tight, seconds);
        report("whole");
        check_all_free(WHOLE_PAGES);
        buddy_deinit(&buddy);
}

static void phase_drain(unsigned rounds) {
        uint64_t pages = PAGES_MAX - 77;
        open_pool(pages);
        for (unsigned round = 0; round < rounds; round++) {
                run_threads(run_drain, 0);
                uint64_t granted = 0;
                for (unsigned i = 0; i < thread_count; i++)
                        granted += workers[i].operations;
                if (granted != pages)
                        fail("%" PRIu64 " of %" PRIu64 " pages were granted", granted, pages);
                for (uint32_t page = 0; page < pages; page++) {
                        atomic_store_explicit(&owners[page], 0, memory_order_relaxed);
                        if (buddy_free(&buddy, page, 0) != 0)
                                fail("page %" PRIu32 " was not granted", page);
                }
                check_all_free(pages);
        }
        report("drain");
        buddy_deinit(&buddy);
}

int main(int argc, char **argv) {
        static const struct option options[] = {
                {"seconds", required_argument, NULL, 'd'},
                {"operations", required_argument, NULL, 'n'},
                {"threads", required_argument, NULL, 't'},
                {"seed", required_argument, NULL, 's'},
                {0},
        };
        double seconds = 3;
        uint64_t seed = (uint64_t)time(NULL);
        for (int option; (option = getopt_long(argc, argv, "d:n:t:s:", options, NULL)) != -1;) {
                if (option == 'd') {
                        seconds = strtod(optarg, NULL);
                } else if (option == 'n') {
                        operations_max = strtoull(optarg, NULL, 10);
                } else if (option == 't') {
                        thread_count = (unsigned)strtoul(optarg, NULL, 10);
                } else if (option == 's') {
                        seed = strtoull(optarg, NULL, 10);
                } else {
                        thread_count = 0;
                        break;
                }
        }
        if (thread_count == 0 || thread_count > THREADS_MAX) {
                fprintf(stderr,
                        "usage: stress_buddy [--seconds S | --operations N] [--threads 1..%u] "
                        "[--seed N]\n",
                        THREADS_MAX);
                return 2;
        }
        printf("stress_buddy: %u threads, --seed %" PRIu64 "\n", thread_count, seed);
        for (unsigned i = 0; i < thread_count; i++) {
                workers[i].mark = i + 1;
                workers[i].random_state = (seed + i) * UINT64_C(0x9e3779b97f4a7c15) + 1;
        }
        phase_mixed(seconds / 4);
        phase_tight(seconds / 4);
        phase_whole(seconds / 2);
        phase_drain(20);
        printf("stress_buddy: nothing overlapped, nothing was lost\n");
        return 0;
}

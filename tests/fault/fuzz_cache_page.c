/* A client that writes whatever it likes into the memory that its cache shares with the daemon: random words, and such that
 * name its own, others' and nobody's ranges, in every place, while another thread of it works with the library, and while
 * well-behaved clients work and one of them exhausts the pool, so that the daemon takes ranges back. Nobody else may notice:
 * pages keep their marks, calls succeed, nothing is left over when the hostile client is gone, and buddyctl check finds
 * nothing. What becomes of the hostile client itself does not matter.
 *
 * fuzz_cache_page BUDDYD [--seconds N] [--seed N] */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fault_marks.h"
#include "fault_stage.h"
#include "proto/cache_area.h"

#define PAGE       UINT64_C(4096)
#define POOL_BYTES (UINT64_C(16) << 20) /* 256 KiB of cache */
#define PAGES_MAX  (POOL_BYTES / PAGE)
#define WORKERS    2
#define KEPT_MAX   40
#define TIMEOUT_MS 20000
#define END_US     30000000

/* What a worker holds, for others to attach to or to name: written by it alone. */
struct offer {
        atomic_uint sequence; /* odd: being written */
        _Atomic uint64_t offset, length, generation;
};

static struct board {
        atomic_bool stop;
        atomic_uint failures;
        char failure[300]; /* the first one's */
        struct offer offers[WORKERS];
        _Atomic uint64_t grants, gifts, attaches, eaten, scribbles, hostile_grants, hostile_gifts;
        _Atomic uint64_t words_seen;
} * board;

static struct fault_stage stage;

static void fail(const char *what, int result) {
        if (atomic_fetch_add(&board->failures, 1) == 0)
                snprintf(board->failure, sizeof board->failure, "%s: %d", what, result);
        atomic_store(&board->stop, true);
}

static bool stopped(void) {
        return atomic_load_explicit(&board->stop, memory_order_relaxed);
}

static struct buddyclient *connected(const char *name, bool cached) {
        struct buddyclient *client = stage_client(&stage, name, TIMEOUT_MS);
        if (client && (cached || buddyclient_set_cache_bytes(client, 0) == 0) &&
                buddyclient_connect(client) == 0)
                return client;
        buddyclient_destroy(client);
        return NULL;
}

/* ---- Offers ---- */

static void offer_write(struct offer *offer, const struct buddyclient_range *range) {
        atomic_fetch_add(&offer->sequence, 1);
        atomic_store(&offer->offset, range->offset);
        atomic_store(&offer->length, range->length);
        atomic_store(&offer->generation, range->generation);
        atomic_fetch_add(&offer->sequence, 1);
}

static bool offer_read(struct offer *offer, struct buddyclient_range *range) {
        unsigned sequence = atomic_load(&offer->sequence);
        range->offset = atomic_load(&offer->offset);
        range->length = atomic_load(&offer->length);
        range->generation = atomic_load(&offer->generation);
        return sequence != 0 && sequence % 2 == 0 && atomic_load(&offer->sequence) == sequence;
}

/* ---- The well-behaved ---- */

static uint64_t next_serial(void) {
        return atomic_fetch_add(&board->grants, 1) + 1;
}

struct held {
        struct buddyclient_range range;
        uint64_t serial;
        struct buddyclient *holder;
};

static void expect_marks(struct buddyclient *client, const struct held *held, const char *who) {
        uint64_t page, found;
        if (!marks_hold(client, &held->range, held->serial, &page, &found))
                fail(who, (int)page);
}

static void attach_and_look(struct buddyclient *client, struct offer *offer) {
        struct held held;
        if (!offer_read(offer, &held.range))
                return;
        int result = buddyclient_attach(client, &held.range);
        if (result == -ESTALE)
                return;
        if (result != 0) {
                fail("attach", result);
                return;
        }
        held.serial = marks_serial(client, &held.range);
        for (int looks = 0; looks < 5; looks++)
                expect_marks(client, &held, "a page that was attached changes");
        result = buddyclient_release(client, &held.range);
        if (result != 0)
                fail("release of an attach", result);
        atomic_fetch_add(&board->attaches, 1);
}

/* Two clients that give to each other. */
struct pair {
        struct buddyclient *clients[2];
};

static void take(struct pair *pair, struct held *held, size_t *count, unsigned choice) {
        held->holder = pair->clients[choice / 10 % 2];
        int result = buddyclient_alloc(held->holder, PAGE << choice % 5, &held->range);
        if (result == 0) {
                held->serial = next_serial();
                marks_write(held->holder, &held->range, held->serial);
                ++*count;
        } else if (result != -ENOMEM) {
                fail("alloc", result);
        }
}

/* Others may just be attaching to it. */
static void give(struct pair *pair, struct held *held) {
        struct buddyclient *to = pair->clients[held->holder == pair->clients[0]];
        int result = buddyclient_give(held->holder, &held->range, buddyclient_id(to));
        if (result != 0)
                fail("give", result);
        held->holder = to;
        atomic_fetch_add(&board->gifts, 1);
}

static void put_back(struct held *held) {
        expect_marks(held->holder, held, "a page that was held changes");
        int result = buddyclient_release(held->holder, &held->range);
        if (result != 0)
                fail("release", result);
}

static int work(unsigned number, unsigned seed) {
        struct held kept[KEPT_MAX];
        size_t count = 0;
        struct pair pair = {{connected("worker", true), connected("worker", true)}};
        if (!pair.clients[0] || !pair.clients[1])
                return 1;
        while (!stopped() || count > 0) {
                unsigned choice = (unsigned)rand_r(&seed);
                size_t which = count > 0 ? choice / 2 % count : 0;
                if (count < KEPT_MAX && choice % 2 && !stopped()) {
                        take(&pair, &kept[count], &count, choice / 2);
                } else if (count > 0 && choice / 256 % 4 == 0 && !stopped()) {
                        give(&pair, &kept[which]);
                } else if (count > 0) {
                        put_back(&kept[which]);
                        kept[which] = kept[--count];
                }
                if (count > 0 && choice / 16 % 8 == 0)
                        offer_write(&board->offers[number], &kept[count - 1].range);
                if (choice / 64 % 64 == 0)
                        attach_and_look(pair.clients[0], &board->offers[(number + 1) % WORKERS]);
        }
        buddyclient_destroy(pair.clients[0]);
        buddyclient_destroy(pair.clients[1]);
        return 0;
}

/* Exhausts the pool over and over, without a cache. */
static int eat(void) {
        static struct held eaten[PAGES_MAX];
        struct buddyclient *client = connected("eater", false);
        if (!client)
                return 1;
        while (!stopped()) {
                size_t count = 0;
                int result = 0;
                while (count < PAGES_MAX &&
                        (result = buddyclient_alloc(client, PAGE, &eaten[count].range)) == 0) {
                        eaten[count].serial = next_serial();
                        marks_write(client, &eaten[count].range, eaten[count].serial);
                        count++;
                }
                if (result != 0 && result != -ENOMEM)
                        fail("alloc of all", result);
                for (size_t each = 0; each < count; each++) {
                        expect_marks(client, &eaten[each], "a page of all changes");
                        result = buddyclient_release(client, &eaten[each].range);
                        if (result != 0)
                                fail("release of all", result);
                }
                atomic_fetch_add(&board->eaten, count);
        }
        buddyclient_destroy(client);
        return 0;
}

/* ---- The hostile ---- */

static struct cache_area *area_find(void) {
        char line[512];
        unsigned long begin, end;
        struct cache_area *area = NULL;
        FILE *maps = fopen("/proc/self/maps", "re");
        while (maps && !area && fgets(line, sizeof line, maps))
                if (strstr(line, "memfd:" CACHE_AREA_NAME) &&
                        sscanf(line, "%lx-%lx", &begin, &end) == 2)
                        area = (struct cache_area *)begin; /* NOLINT: that is where it is */
        if (maps)
                fclose(maps);
        return area;
}

static uint64_t random_word(unsigned *seed) {
        return (uint64_t)rand_r(seed) << 42 ^ (uint64_t)rand_r(seed) << 21 ^ (uint64_t)rand_r(seed);
}

/* A page that somebody holds, or any; and now and then none. */
static uint32_t some_page(unsigned *seed, uint32_t *generation) {
        struct buddyclient_range range;
        unsigned choice = (unsigned)rand_r(seed);
        *generation = choice / 8 % 8;
        if (choice / 512 % 65536 == 0) /* seldom: its own library trusts it and crashes */
                return (uint32_t)random_word(seed);
        if (choice % 4 == 1 || !offer_read(&board->offers[choice / 4 % WORKERS], &range))
                return choice / 64 % (unsigned)PAGES_MAX;
        *generation = (uint32_t)range.generation;
        return (uint32_t)(range.offset / PAGE);
}

static void scribble_slot(struct cache_area *area, unsigned *seed) {
        uint32_t generation, page = some_page(seed, &generation);
        unsigned choice = (unsigned)rand_r(seed);
        _Atomic uint64_t *at = &area->slots[choice % CACHE_ORDERS][choice / 8 % CACHE_SLOTS];
        switch (choice / 512 % 6) {
        case 0:
                atomic_store(at, random_word(seed) % (PAGES_MAX << 32));
                break;
        case 1: /* one range in two slots, and of another order */
                atomic_store(at, atomic_load(&area->slots[choice / 4096 % CACHE_ORDERS]
                                                         [choice / 32768 % CACHE_SLOTS]));
                break;
        case 2:
                atomic_fetch_xor(at, CACHE_TAKEN_BACK);
                break;
        case 3: /* the slot forgets what it has */
                atomic_store(at, 0);
                break;
        default:
                atomic_store(at, cache_slot_pack(page, generation));
        }
}

static void scribble_word(struct cache_area *area, unsigned *seed) {
        static const uint64_t flags[] = {CACHE_IN_USE, CACHE_SHARED, CACHE_COUNTED, CACHE_GIFT, 1,
                UINT64_C(1) << CACHE_USE_SHIFT, UINT64_C(1) << 56};
        uint32_t generation, page = some_page(seed, &generation);
        unsigned choice = (unsigned)rand_r(seed);
        _Atomic uint64_t *word = cache_word(area, page % (uint32_t)PAGES_MAX);
        if (atomic_load(word) != 0)
                atomic_fetch_add(&board->words_seen, 1);
        if (choice % 4 == 0)
                atomic_store(word, random_word(seed));
        else if (choice % 4 == 1)
                atomic_store(word, cache_word_pack(generation, choice / 4 % 8) | random_word(seed)
                                                                                         << 56);
        else
                atomic_fetch_xor(word, flags[choice / 4 % 7]);
}

static void *scribble(void *context) {
        struct cache_area *area = context;
        unsigned seed = (unsigned)getpid();
        for (;;) {
                unsigned choice = (unsigned)rand_r(&seed);
                if (choice % 2)
                        scribble_slot(area, &seed);
                else
                        scribble_word(area, &seed);
                switch (choice / 2 % 512) {
                case 0:
                        atomic_store(&area->used[choice / 1024 % CACHE_ORDERS],
                                choice % 3 ? (uint32_t)random_word(&seed) : CACHE_SLOTS);
                        break;
                case 1:
                        atomic_store(&area->counted, random_word(&seed));
                        break;
                case 2:
                        atomic_store(&area->closed, choice / 1024 % 2);
                        break;
                case 3:
                        atomic_store(&area->hits[choice / 1024 % CACHE_ORDERS]
                                                [choice / 8192 % CACHE_SLOTS],
                                random_word(&seed) % 1000);
                        break;
                case 4:
                        area->token[choice / 1024 % 16] ^= (uint8_t)choice;
                        break;
                default:
                        break;
                }
                atomic_fetch_add_explicit(&board->scribbles, 1, memory_order_relaxed);
        }
        return NULL;
}

/* It writes nothing into the segment: that it could do anyhow. What it is told is all the same to it. */
static int be_hostile(unsigned seed) {
        struct buddyclient_range ranges[64];
        struct buddyclient *client = connected("hostile", true);
        struct cache_area *area = client ? area_find() : NULL;
        struct buddyclient *friend = connected("friend", true);
        pthread_t thread;
        if (!area || !friend || pthread_create(&thread, NULL, scribble, area) != 0)
                return 1;
        memset(ranges, 0, sizeof ranges);
        while (!stopped()) {
                unsigned choice = (unsigned)rand_r(&seed);
                struct buddyclient_range *range = &ranges[choice % 64];
                switch (choice / 64 % 10) {
                case 0:
                case 1:
                case 2:
                        if (buddyclient_alloc(client, PAGE << choice / 512 % 8, range) == 0)
                                atomic_fetch_add(&board->hostile_grants, 1);
                        break;
                case 3:
                case 4:
                case 5:
                        buddyclient_release(client, range);
                        break;
                case 6:
                        buddyclient_release_many(client, &ranges[choice / 512 % 32], 16);
                        break;
                case 7: /* what it says of its words goes along */
                        if (buddyclient_give(client, range, buddyclient_id(friend)) == 0)
                                atomic_fetch_add(&board->hostile_gifts, 1);
                        break;
                case 8: /* and back, to where the daemon writes among the scribbles */
                        if (buddyclient_give(friend, range, buddyclient_id(client)) != 0)
                                buddyclient_release(friend, range);
                        break;
                default:
                        if (offer_read(&board->offers[choice / 512 % WORKERS], range))
                                buddyclient_attach(client, range);
                }
        }
        _exit(0); /* the daemon is to clear up by itself */
}

/* ---- The whole ---- */

static pid_t start(int which, unsigned seed) {
        fflush(stdout);
        pid_t process = fork();
        if (process < 0)
                stage_fail(&stage, "fork: %s", strerror(errno));
        if (process > 0)
                return process;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (which < WORKERS)
                _exit(work((unsigned)which, seed));
        if (which == WORKERS)
                _exit(eat());
        prctl(PR_SET_DUMPABLE, 1);
        if (!freopen("/dev/null", "w", stderr)) /* it may well crash */
                _exit(2);
        _exit(be_hostile(seed));
}

static void fail_if_failed(unsigned seed) {
        if (atomic_load(&board->failures) > 0)
                stage_fail(&stage, "%s (%u failures, --seed %u)", board->failure,
                        atomic_load(&board->failures), seed);
}

/* Replaces the hostile client when it has ended, and kills it now and then. How many there were. */
static unsigned trouble(uint64_t end_us, unsigned seed) {
        unsigned hostiles = 0;
        while (now_us() < end_us && !stopped()) {
                pid_t hostile = start(WORKERS + 1, seed + hostiles++);
                uint64_t until = now_us() + 100000 + (uint64_t)rand_r(&seed) % 300000;
                bool ended = false;
                while (!ended && now_us() < until) {
                        pause_us(5000);
                        ended = waitpid(hostile, NULL, WNOHANG) == hostile;
                }
                if (!ended) {
                        kill(hostile, SIGKILL);
                        waitpid(hostile, NULL, 0);
                }
                if (hostiles % 4 == 0)
                        stage_check(&stage);
        }
        return hostiles;
}

static void expect_whole(void) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        struct buddyclient *client = connected("supervisor", false);
        uint64_t deadline = now_us() + END_US;
        do {
                if (!client || buddyclient_stats(client, &stats) != 0 || now_us() > deadline)
                        stage_fail(&stage, "%lu bytes held, %lu cached by nobody",
                                (unsigned long)stats.held_bytes, (unsigned long)stats.cached_bytes);
                pause_us(1000);
        } while (stats.held_bytes > 0 || stats.largest_free_bytes < POOL_BYTES);
        buddyclient_destroy(client);
}

int main(int argc, char **argv) {
        unsigned seconds = 5, seed = (unsigned)time(NULL) ^ (unsigned)getpid() << 16;
        pid_t processes[WORKERS + 1];
        for (int each = 2; each + 1 < argc; each += 2) {
                unsigned value = (unsigned)strtoul(argv[each + 1], NULL, 10);
                *(strcmp(argv[each], "--seed") == 0 ? &seed : &seconds) = value;
        }
        if (argc < 2) {
                fprintf(stderr, "usage: fuzz_cache_page BUDDYD [--seconds N] [--seed N]\n");
                return 2;
        }
        board = mmap(
                NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (board == MAP_FAILED)
                return 1;
        printf("fuzz_cache_page: --seed %u\n", seed);
        stage_open(&stage, argv[1], FAULT_BUDDYCTL, POOL_BYTES);
        stage_start(&stage, false);
        stage_await(&stage);
        for (int each = 0; each <= WORKERS; each++)
                processes[each] = start(each, seed + (unsigned)each * 7919);
        unsigned hostiles = trouble(now_us() + seconds * UINT64_C(1000000), seed);
        atomic_store(&board->stop, true);
        for (int each = 0; each <= WORKERS; each++) {
                int status = 0;
                waitpid(processes[each], &status, 0);
                if (status != 0)
                        fail("a well-behaved client ended badly", status);
        }
        fail_if_failed(seed);
        expect_whole();
        stage_check(&stage);
        stage_end(&stage, SIGTERM);
        stage_close(&stage);
        printf("%u hostile clients: %lu scribbles, %lu words in use met, %lu grants, %lu gifts; "
               "others: %lu "
               "grants, %lu of them of all, %lu gifts, %lu attaches\n",
                hostiles, (unsigned long)board->scribbles, (unsigned long)board->words_seen,
                (unsigned long)board->hostile_grants, (unsigned long)board->hostile_gifts,
                (unsigned long)board->grants, (unsigned long)board->eaten,
                (unsigned long)board->gifts, (unsigned long)board->attaches);
        return board->scribbles > 0 && board->hostile_grants > 0 && board->eaten > 0 &&
                               board->gifts > 0
                       ? 0
                       : 1;
}

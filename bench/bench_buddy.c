/* Measures the buddy allocator and prints a table, or JSON with --json: ns per call and multiples of glibc's
 * malloc + free of 4 KiB, measured all the while between the slices of work. Each figure is the median
 * over runs that are interleaved with all others, each with a random state of its own. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench_buddy_threads.h"
#include "malloc_library.h"

#define RUNS_MAX       99u
#define ROWS_MAX       64u
#define CONTENDERS_MAX 4u

struct row {
        const char *name;
        const char *contender;
        double target; /* a ratio; 0: none */
        double ns[RUNS_MAX];
        double ratios[RUNS_MAX];
        size_t count;
};

/* Figures that are not times of a call. */
struct figures {
        double share_2mib;
        double init_us;
        double bytes_per_page;
        uint64_t allocations;
        uint64_t refused;
};

struct settings {
        unsigned runs;
        uint64_t allocations;
        bool large;
        bool json;
};

/* The yardstick of our own last case, for what has none of its own: glibc with its blocks in the heap, and
 * two threads. */
static double yardstick_ns;

static struct row rows[ROWS_MAX];
static size_t row_count;

/* Adds a run to the row of this name, which is made when it is first seen. */
static void record(const char *contender, const char *name, double target, struct measure measure) {
        size_t i = 0;
        while (i < row_count && (rows[i].name != name || rows[i].contender != contender))
                i++;
        if (i == ROWS_MAX)
                return;
        if (i == row_count)
                rows[row_count++] =
                        (struct row){.name = name, .contender = contender, .target = target};
        struct row *row = &rows[i];
        if (contender == contender_buddy.name && measure.ratio > 0)
                yardstick_ns = measure.ns / measure.ratio;
        if (row->count < RUNS_MAX) {
                row->ns[row->count] = measure.ns;
                row->ratios[row->count++] = measure.ns / yardstick_ns;
        }
}

/* The cases that every allocator can run, in the order of their names. */
#define SHARED_CASES 7u
static const char *const shared_names[SHARED_CASES] = {
        "pair, empty, 4 KiB",
        "pair, empty, 64 KiB",
        "pair, empty, 2 MiB",
        "pair, 70 % held, 4 KiB",
        "pair, 70 % held, 64 KiB",
        "pair, 70 % held, 2 MiB",
        "churn, 1 GiB",
};
static const double shared_targets[SHARED_CASES] = {0, 0, 0, 1.3, 1.3, 1.3, 1.1};

static void measure_shared(const struct contender *contender, uint64_t seed, struct measure *out) {
        static const unsigned orders[] = {0, 4, 9};
        for (unsigned i = 0; i < 3; i++) {
                out[i] = case_empty_pair(contender, orders[i], seed);
                out[3 + i] = case_full_pair(contender, orders[i], seed);
        }
        out[6] = case_churn(contender, BENCH_PAGES, seed);
}

static void run_ours(uint64_t seed) {
        const char *name = contender_buddy.name;
        struct measure shared[SHARED_CASES];
        struct measure fill, release;
        measure_shared(&contender_buddy, seed, shared);
        for (unsigned i = 0; i < SHARED_CASES; i++)
                record(name, shared_names[i], shared_targets[i], shared[i]);
        case_fill(&contender_buddy, seed, &fill, &release);
        record(name, "fill, 4 KiB", 0, fill);
        record(name, "random free, 4 KiB", 0, release);
        record(name, "batch of 64, 70 % held, 4 KiB", 0, case_batch(seed));
}

static void run_two_threads(uint64_t seed) {
        const char *name = contender_buddy.name;
        record(name, "two threads, pair, empty", 0, case_two_threads(0, seed));
        record(name, "two threads, pair, 70 % held", 0, case_two_threads(0.7, seed));
}

/* In a process of its own: the heap that it leaves behind would slow the yardstick down. */
static void run_other(const struct contender *contender, uint64_t seed) {
        struct measure shared[SHARED_CASES];
        int ends[2];
        if (pipe(ends) != 0)
                return;
        pid_t child = fork();
        if (child == 0) {
                measure_shared(contender, seed, shared);
                ssize_t written = write(ends[1], shared, sizeof shared);
                _exit(written == (ssize_t)sizeof shared ? 0 : 1);
        }
        close(ends[1]);
        if (child > 0 && read(ends[0], shared, sizeof shared) == (ssize_t)sizeof shared) {
                for (unsigned i = 0; i < SHARED_CASES; i++)
                        record(contender->name, shared_names[i], 0, shared[i]);
        }
        close(ends[0]);
        if (child > 0)
                waitpid(child, NULL, 0);
}

static void run_all(const struct settings *settings, struct figures *figures) {
        const struct contender *others[CONTENDERS_MAX];
        size_t other_count = contenders_load(others, CONTENDERS_MAX);
        double shares[RUNS_MAX], init_ns[RUNS_MAX];
        for (unsigned run = 0; run < settings->runs; run++) {
                uint64_t seed = (run + 1) * UINT64_C(0x9e3779b97f4a7c15);
                fprintf(stderr, "run %u of %u\n", run + 1, settings->runs);
                run_ours(seed);
                for (size_t i = 0; i < other_count; i++)
                        run_other(others[i], seed);
                shares[run] = case_fragmentation(10000000, seed);
                init_ns[run] = case_init_large(&figures->bytes_per_page);
        }
        figures->share_2mib = median(shares, settings->runs);
        figures->init_us = median(init_ns, settings->runs) / 1000;
        if (settings->large)
                record(contender_buddy.name, "churn, 1 TiB", 5,
                        case_churn(&contender_buddy, BENCH_PAGES_LARGE, 88172645));
        /* Last: from its first thread on glibc locks, and is a slower yardstick. */
        for (unsigned run = 0; run < settings->runs; run++)
                run_two_threads((run + 1) * UINT64_C(0x9e3779b97f4a7c15));
        figures->allocations = settings->allocations;
        figures->refused = case_false_no_memory(settings->allocations, 7);
}

static void print_table(const struct figures *figures) {
        printf("%-10s %-31s %9s %8s  %s\n", "allocator", "case", "ns", "x glibc", "target");
        for (size_t i = 0; i < row_count; i++) {
                struct row *row = &rows[i];
                double ratio = median(row->ratios, row->count);
                printf("%-10s %-31s %9.1f %8.2f", row->contender, row->name,
                        median(row->ns, row->count), ratio);
                if (row->target > 0)
                        printf("  <= %.1f %s", row->target,
                                ratio <= row->target ? "held" : "MISSED");
                putchar('\n');
        }
        printf("free memory in 2 MiB blocks after 10 M calls of churn: %.3f (>= 0.90)\n",
                figures->share_2mib);
        printf("metadata: %.3f bytes a page (<= 0.27)\n", figures->bytes_per_page);
        printf("init of 1 TiB: %.0f us (< 1000)\n", figures->init_us);
        printf("false out of memory, two threads, empty pool: %" PRIu64 " of %" PRIu64 " (0)\n",
                figures->refused, figures->allocations);
}

static void print_json(const struct figures *figures) {
        printf("{\"cases\": [");
        for (size_t i = 0; i < row_count; i++) {
                struct row *row = &rows[i];
                printf("%s\n  {\"allocator\": \"%s\", \"case\": \"%s\", \"ns\": %.2f, \"ratio\": "
                       "%.3f",
                        i ? "," : "", row->contender, row->name, median(row->ns, row->count),
                        median(row->ratios, row->count));
                if (row->target > 0)
                        printf(", \"target_ratio\": %.1f", row->target);
                printf("}");
        }
        printf("],\n \"share_2mib_after_churn\": %.4f, \"metadata_bytes_per_page\": %.4f, "
               "\"init_1tib_us\": %.1f, \"two_thread_allocations\": %" PRIu64
               ", \"false_out_of_memory\": %" PRIu64 "}\n",
                figures->share_2mib, figures->bytes_per_page, figures->init_us,
                figures->allocations, figures->refused);
}

static const char usage[] =
        "usage: bench_buddy [--runs N] [--allocations N] [--no-large] [--json]\n"
        "  --runs N         interleaved runs of every case, 1 to 99 (default 5)\n"
        "  --allocations N  allocations of the two-thread out-of-memory count (default 2000000)\n"
        "  --no-large       leave out the churn on 1 TiB, which needs 2.5 GiB of memory\n"
        "  --json           print JSON\n";

/* 0; 1: help was asked for; -1: wrong usage. */
static int parse(int argc, char **argv, struct settings *settings) {
        static const struct option options[] = {
                {"runs", required_argument, NULL, 'r'},
                {"allocations", required_argument, NULL, 'a'},
                {"no-large", no_argument, NULL, 'l'},
                {"json", no_argument, NULL, 'j'},
                {"help", no_argument, NULL, 'h'},
                {0},
        };
        for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
                switch (option) {
                case 'r':
                        settings->runs = (unsigned)strtoul(optarg, NULL, 10);
                        break;
                case 'a':
                        settings->allocations = strtoull(optarg, NULL, 10);
                        break;
                case 'l':
                        settings->large = false;
                        break;
                case 'j':
                        settings->json = true;
                        break;
                case 'h':
                        return 1;
                default:
                        return -1;
                }
        }
        return optind == argc && settings->runs >= 1 && settings->runs <= RUNS_MAX ? 0 : -1;
}

int main(int argc, char **argv) {
        struct settings settings = {.runs = 5, .allocations = 2000000, .large = true};
        int parsed = parse(argc, argv, &settings);
        if (parsed != 0) {
                fputs(usage, parsed > 0 ? stdout : stderr);
                return parsed > 0 ? 0 : 2;
        }
        malloc_make_room(argv);
        struct figures figures;
        pin_thread(1);
        run_all(&settings, &figures);
        if (settings.json)
                print_json(&figures);
        else
                print_table(&figures);
        return 0;
}

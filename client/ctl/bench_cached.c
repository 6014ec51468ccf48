/* Pairs of a client whose cache is on: of one thread, and of two on two CPUs. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "client/deadline.h"
#include "partner.h"

#define THREADS       2u
#define PAIRS_TRIED   8
#define PAIR_SHORT_NS 4000

static int pairs(struct buddyclient *client, uint64_t bytes, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
                struct buddyclient_range range;
                int error = buddyclient_alloc(client, bytes, &range);
                if (error == 0)
                        error = buddyclient_release(client, &range);
                if (error != 0)
                        return error;
        }
        return 0;
}

/* How many pairs a sample takes: many if the clock would cost as much as a pair, one if it takes so long that
 * a sample of many would be sure to be interrupted. */
static int pairs_per_sample(struct buddyclient *client, uint64_t bytes, unsigned *out) {
        int error = pairs(client, bytes, PAIRS_TRIED); /* the first ones fill the cache */
        int64_t begin = deadline_now();
        if (error == 0)
                error = pairs(client, bytes, PAIRS_TRIED);
        if (error == 0)
                *out = deadline_now() - begin < PAIRS_TRIED * PAIR_SHORT_NS ? BENCH_PAIRS : 1;
        return error;
}

static int cached_pairs(struct bench *bench) {
        return pairs(bench->cached, bench->pair_bytes, bench->pair_count);
}

static int choose_pairs(struct bench *bench, uint64_t bytes) {
        bench->pair_bytes = bytes;
        return pairs_per_sample(bench->cached, bytes, &bench->pair_count);
}

static int sample_cached(struct bench *bench, int64_t slice_ns, uint64_t bytes, double *figure) {
        double sample;
        int error = choose_pairs(bench, bytes);
        if (error == 0)
                error = bench_sample(bench, slice_ns, cached_pairs, &sample);
        if (error == 0)
                *figure = sample / bench->pair_count;
        return error;
}

int bench_cached_4k(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        static const struct bench_beside beside = {cached_pairs, bench_malloc_pairs, 4};
        double p50[2];
        int error = choose_pairs(bench, 4096);
        if (error == 0)
                error = bench_sample_beside(bench, slice_ns, &beside, &p50[0], &p50[1]);
        if (error != 0)
                return error;
        figures[FIGURE_CACHED_4K] = p50[0] / bench->pair_count;
        figures[FIGURE_MALLOC_PAIR] = p50[1] / BENCH_PAIRS;
        return 0;
}

int bench_cached_64k(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        return sample_cached(bench, slice_ns, 64 << 10, &figures[FIGURE_CACHED_64K]);
}

int bench_cached_1m(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        return sample_cached(bench, slice_ns, 1 << 20, &figures[FIGURE_CACHED_1M]);
}

struct racer {
        pthread_t thread;
        int cpu; /* -1: wherever it is put */
        struct race *race;
        struct bench_samples samples;
        double ns;
        int error;
};

/* In memory that the child shares. */
struct race {
        struct bench *bench;
        int64_t slice_ns;
        struct buddyclient *client;
        pthread_barrier_t start;
        struct racer racers[THREADS];
        double ns;
        int error;
        bool done;
};

static void *racer_run(void *context) {
        struct racer *racer = context;
        struct race *race = racer->race;
        racer->error = racer->cpu >= 0 ? cpu_move(racer->cpu) : 0;
        unsigned count = 1;
        if (racer->error == 0)
                racer->error = pairs_per_sample(race->client, 4096, &count);
        pthread_barrier_wait(&race->start);
        int64_t begin = deadline_now(), end = begin + race->slice_ns;
        while (racer->error == 0 && begin < end) {
                racer->error = pairs(race->client, 4096, count);
                int64_t now = deadline_now();
                bench_samples_add(&racer->samples, now - begin);
                begin = now;
        }
        racer->ns = bench_samples_take(&racer->samples) / count;
        return NULL;
}

static int race_start(struct race *race) {
        int error = -pthread_barrier_init(&race->start, NULL, THREADS);
        for (unsigned i = 0; error == 0 && i < THREADS; i++)
                error = -pthread_create(&race->racers[i].thread, NULL, racer_run, &race->racers[i]);
        return error; /* a thread that has started without the other ends with the process */
}

static void race_run(void *context) {
        struct race *race = context;
        race->error = bench_client_new(race->bench, true, &race->client);
        if (race->error == 0)
                race->error = race_start(race);
        for (unsigned i = 0; race->error == 0 && i < THREADS; i++) {
                pthread_join(race->racers[i].thread, NULL);
                race->ns += race->racers[i].ns / THREADS;
        }
        for (unsigned i = 0; race->error == 0 && i < THREADS; i++)
                race->error = race->racers[i].error;
        if (race->error == 0)
                buddyclient_destroy(race->client);
        race->done = true;
}

static int race_prepare(struct race *race, struct bench *bench, int64_t slice_ns) {
        int cpus[THREADS] = {-1, -1};
        if (bench->pin) {
                cpus[0] = cpu_pin_cpu(bench->pin);
                cpus[1] = cpu_pin_other_cpu(bench->pin);
                if (cpus[1] < 0)
                        return -ENODEV;
        }
        race->bench = bench;
        race->slice_ns = slice_ns;
        for (unsigned i = 0; i < THREADS; i++) {
                race->racers[i].cpu = cpus[i];
                race->racers[i].race = race;
        }
        return 0;
}

int bench_cached_threads(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        struct race *race = partner_memory_new(sizeof(*race));
        if (!race)
                return -ENOMEM;
        pid_t child;
        int error = race_prepare(race, bench, slice_ns);
        if (error == 0) {
                cpu_pin_loosen(bench->pin);
                error = partner_start(&child, race_run, race);
                if (error == 0)
                        partner_await(child);
                cpu_pin_tighten(bench->pin);
        }
        if (error == 0) {
                error = race->done ? race->error : -ECHILD;
                bench_say_of_child(bench, error);
        }
        if (error == 0)
                figures[FIGURE_CACHED_THREADS] = race->ns;
        partner_memory_free(race, sizeof(*race));
        return error;
}

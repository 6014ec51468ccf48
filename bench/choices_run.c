/* Each choice has up to three processes: one alone, which is also the first of two; the second of two; and one of two
 * threads, of its own because an allocator that has seen a second thread is a slower one from then on. */
#include "choices_run.h"

#include <signal.h>
#include <stdio.h>

#include "client/ctl/partner.h"

enum role { ROLE_ALONE, ROLE_SECOND, ROLE_THREADS, ROLES };

const uint64_t sizes[SIZES] = {4 << 10, 64 << 10, 1 << 20};

struct run {
        struct choices_result *result;
        const struct choices_daemon *daemon;
        struct choices_place place;
        struct gate {
                _Atomic uint32_t count;
        } * gate;               /* shared with the workers */
        uint32_t gate_expected; /* when all that were told to have come */
        struct worker workers[CHOICES_MAX][ROLES];
};

static bool has_role(const struct run *run, unsigned choice, enum role role) {
        bool has_two_cpus = run->result->cpus[0] != run->result->cpus[1];
        if (role == ROLE_ALONE)
                return true;
        return has_two_cpus && !choices[choice]->is_floor &&
               (role == ROLE_THREADS || choices[choice]->is_shared);
}

static void start_worker(struct run *run, unsigned choice, enum role role) {
        const int *cpus = run->result->cpus;
        struct worker_setup setup = {.choice = choices[choice],
                .place = &run->place,
                .gate = &run->gate->count,
                .cpus = {cpus[0], cpus[1]}};
        if (role == ROLE_SECOND)
                setup.cpus[0] = cpus[1];
        char why[WHY_BYTES];
        if (worker_start(&run->workers[choice][role], &setup, why) != 0)
                snprintf(run->result->why[choice], WHY_BYTES, "%s", why);
}

static void start_workers(struct run *run) {
        for (unsigned choice = 0; choice < choices_count; choice++)
                for (unsigned role = 0; role < ROLES; role++) {
                        run->workers[choice][role].fd = -1;
                        if (has_role(run, choice, (enum role)role) &&
                                run->result->why[choice][0] == '\0')
                                start_worker(run, choice, (enum role)role);
                }
}

static void stop_workers(struct run *run) {
        for (unsigned choice = 0; choice < choices_count; choice++)
                for (unsigned role = 0; role < ROLES; role++)
                        worker_stop(&run->workers[choice][role]);
}

/* One slice of one choice in one use; ns is the mean over its processes. */
static int measure(struct run *run, struct worker *const workers[2], uint64_t bytes,
        uint32_t threads, double *ns) {
        uint32_t count = workers[1] ? 2 : 1;
        run->gate_expected += count * threads;
        struct worker_order order = {.bytes = bytes,
                .slice_ns = (int64_t)run->result->slice_ms * 1000000,
                .gate = run->gate_expected,
                .threads = threads};
        double sum = 0, each = 0;
        for (uint32_t i = 0; i < count; i++)
                if (worker_order(workers[i], &order) != 0)
                        return -1;
        for (uint32_t i = 0; i < count; i++) {
                if (worker_report(workers[i], &each) != 0)
                        return -1;
                sum += each;
        }
        *ns = sum / count;
        return 0;
}

static bool can_run(const struct run *run, unsigned choice, enum use use) {
        static const enum role needed[USES] = {ROLE_ALONE, ROLE_THREADS, ROLE_SECOND};
        return run->result->why[choice][0] == '\0' && run->workers[choice][needed[use]].fd >= 0;
}

static int measure_choice(
        struct run *run, unsigned choice, enum use use, unsigned size, unsigned round) {
        struct worker *workers = run->workers[choice];
        struct worker *taking_part[2] = {
                &workers[use == USE_TWO_THREADS ? ROLE_THREADS : ROLE_ALONE],
                use == USE_TWO_PROCESSES ? &workers[ROLE_SECOND] : NULL};
        double *ns = &run->result->ns[choice][use][size][round];
        if (measure(run, taking_part, sizes[size], use == USE_TWO_THREADS ? 2 : 1, ns) != 0) {
                fprintf(stderr, "bench_choices: %s failed at %llu bytes; run it again\n",
                        choices[choice]->name, (unsigned long long)sizes[size]);
                return -1;
        }
        run->result->is_measured[choice][use][size] = true;
        return 0;
}

/* All choices one after the other: what is to be compared is measured within a few milliseconds. */
static int measure_all(struct run *run, enum use use, unsigned size, unsigned round) {
        for (unsigned choice = 0; choice < choices_count; choice++) {
                bool is_needless = choices[choice]->is_floor && size > 0;
                if (!can_run(run, choice, use) || is_needless)
                        continue;
                if (measure_choice(run, choice, use, size, round) != 0)
                        return -1;
        }
        return 0;
}

static int check_interrupted(void) {
        sigset_t pending;
        sigpending(&pending);
        if (sigismember(&pending, SIGINT) != 1 && sigismember(&pending, SIGTERM) != 1)
                return 0;
        fputs("bench_choices: interrupted before it was done; run it again\n", stderr);
        return -1;
}

static void move_daemon(const struct run *run, enum use use) {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET((size_t)run->result->cpus[0], &cpus);
        if (use != USE_ONE_PROCESS)
                CPU_SET((size_t)run->result->cpus[1], &cpus);
        choices_daemon_move(run->daemon, &cpus);
}

static int measure_round(struct run *run, unsigned round) {
        for (unsigned use = 0; use < USES; use++) {
                move_daemon(run, (enum use)use);
                for (unsigned size = 0; size < SIZES; size++)
                        if (check_interrupted() != 0 ||
                                measure_all(run, (enum use)use, size, round) != 0)
                                return -1;
        }
        return 0;
}

int choices_run(const struct choices_daemon *daemon, struct choices_result *result) {
        static struct run run; /* its size, not its life */
        run = (struct run){.result = result,
                .daemon = daemon,
                .place = {.socket = daemon->socket, .pool = daemon->pool}};
        run.gate = partner_memory_new(sizeof(*run.gate));
        if (!run.gate) {
                fputs("bench_choices: no memory; free some\n", stderr);
                return -1;
        }
        start_workers(&run);
        /* The first round only warms up: the next one overwrites it. */
        int error = measure_round(&run, 0);
        for (unsigned round = 0; error == 0 && round < result->rounds; round++)
                error = measure_round(&run, round);
        stop_workers(&run);
        partner_memory_free(run.gate, sizeof(*run.gate));
        return error;
}

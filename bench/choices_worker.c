#include "choices_worker.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench_meter.h"
#include "client/ctl/partner.h"

#define WARM_UP 8u
#define LOOK_NS 20000.0 /* between two looks at the clock */
#define AT_ONCE 256u
#define GATE_NS 1e9
#define THREADS 2u
#define FAILED  (-1.0)

struct opened {
        int error;
        char why[WHY_BYTES];
};

struct runner {
        pthread_t thread;
        const struct worker_setup *setup;
        const struct worker_order *order;
        int cpu;
        double ns; /* FAILED */
};

/* Spins until all have come, so that they begin at the same time; not for ever, as one may have died. */
static void gate_pass(_Atomic uint32_t *gate, uint32_t all) {
        double limit = clock_ns() + GATE_NS;
        atomic_fetch_add(gate, 1);
        while ((int32_t)(atomic_load(gate) - all) < 0 && clock_ns() < limit)
                sched_yield();
}

/* How many pairs last about LOOK_NS; 0: they fail. Also warms up. */
static unsigned find_count(const struct choice *choice, uint64_t bytes) {
        if (choice->pairs(bytes, WARM_UP) != 0)
                return 0;
        double begin = clock_ns();
        if (choice->pairs(bytes, WARM_UP) != 0)
                return 0;
        double count = LOOK_NS * WARM_UP / (clock_ns() - begin + 1);
        return count < 1 ? 1 : count > AT_ONCE ? AT_ONCE : (unsigned)count;
}

static double slice(const struct worker_setup *setup, const struct worker_order *order) {
        const struct choice *choice = setup->choice;
        unsigned count = find_count(choice, order->bytes);
        gate_pass(setup->gate, order->gate);
        double begin = clock_ns(), now = begin, done = 0;
        while (count > 0 && now - begin < (double)order->slice_ns) {
                if (choice->pairs(order->bytes, count) != 0)
                        return FAILED;
                done += count;
                now = clock_ns();
        }
        return count > 0 ? (now - begin) / done : FAILED;
}

static void *runner_run(void *context) {
        struct runner *runner = context;
        pin_thread((unsigned)runner->cpu);
        runner->ns = slice(runner->setup, runner->order);
        return NULL;
}

static double two_slices(const struct worker_setup *setup, const struct worker_order *order) {
        struct runner runners[THREADS];
        double sum = 0;
        for (unsigned i = 0; i < THREADS; i++) {
                runners[i] = (struct runner){
                        .setup = setup, .order = order, .cpu = setup->cpus[i], .ns = FAILED};
                if (pthread_create(&runners[i].thread, NULL, runner_run, &runners[i]) != 0)
                        _exit(1); /* the one that waits for it goes, too */
        }
        for (unsigned i = 0; i < THREADS; i++) {
                pthread_join(runners[i].thread, NULL);
                sum = sum < 0 || runners[i].ns < 0 ? FAILED : sum + runners[i].ns;
        }
        return sum < 0 ? FAILED : sum / THREADS;
}

struct worker_start {
        int fd;
        const struct worker_setup *setup;
};

static void worker_run(void *context) {
        const struct worker_start *start = context;
        const struct worker_setup *setup = start->setup;
        struct opened opened = {0};
        const char *why = "";
        pin_thread((unsigned)setup->cpus[0]);
        opened.error = setup->choice->open(setup->place, &why);
        snprintf(opened.why, sizeof(opened.why), "%s", why);
        if (send(start->fd, &opened, sizeof(opened), MSG_NOSIGNAL) < 0 || opened.error != 0)
                return;
        struct worker_order order;
        while (recv(start->fd, &order, sizeof(order), 0) == sizeof(order) && order.slice_ns > 0) {
                double ns =
                        order.threads == THREADS ? two_slices(setup, &order) : slice(setup, &order);
                if (send(start->fd, &ns, sizeof(ns), MSG_NOSIGNAL) < 0)
                        return;
        }
}

int worker_start(
        struct worker *worker, const struct worker_setup *setup, char why[static WHY_BYTES]) {
        int ends[2];
        struct opened opened = {.error = -1, .why = "its process ended"};
        worker->fd = -1;
        snprintf(why, WHY_BYTES, "cannot start a process");
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
                return -1;
        struct worker_start start = {.fd = ends[1], .setup = setup};
        int error = partner_start(&worker->pid, worker_run, &start);
        close(ends[1]);
        if (error != 0) {
                close(ends[0]);
                return -1;
        }
        worker->fd = ends[0];
        if (recv(worker->fd, &opened, sizeof(opened), 0) != sizeof(opened) || opened.error != 0) {
                memcpy(why, opened.why, WHY_BYTES);
                worker_stop(worker);
                return -1;
        }
        return 0;
}

int worker_order(struct worker *worker, const struct worker_order *order) {
        return send(worker->fd, order, sizeof(*order), MSG_NOSIGNAL) == sizeof(*order) ? 0 : -1;
}

int worker_report(struct worker *worker, double *ns) {
        double report;
        if (recv(worker->fd, &report, sizeof(report), 0) != sizeof(report) || report < 0)
                return -1;
        *ns = report;
        return 0;
}

void worker_stop(struct worker *worker) {
        if (worker->fd < 0)
                return;
        worker_order(worker, &(struct worker_order){0});
        close(worker->fd);
        worker->fd = -1;
        partner_await(worker->pid);
}

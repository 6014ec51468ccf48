/* What a second worker brings: the same load on a daemon of one worker and on one of two, in turn, and a table. The
 * load is client processes that each have 32 requests in flight. They need processors, too: where there are not enough
 * for all, the requests a second say little, and what the daemon spends on a request says whether its workers hinder
 * each other. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "raw_client.h"

#define IN_FLIGHT   32u
#define CLIENTS_MAX 64u
#define ROUNDS_MAX  99u

struct served {
        unsigned workers;
        pid_t daemon;
        struct sockaddr_un address;
        char pool[32];
        double rates[ROUNDS_MAX];   /* requests a second */
        double daemons[ROUNDS_MAX]; /* ns of processor time of the daemon, for one request */
        double clients[ROUNDS_MAX]; /* the same of all clients */
};

static struct {
        const char *buddyd;
        unsigned clients, rounds;
        double seconds; /* of one round */
        char folder[64];
} settings = {.buddyd = BUDDYD, .clients = 2, .rounds = 9, .seconds = 0.5};

static struct served two[2] = {{.workers = 1}, {.workers = 2}};

static int64_t clock_of(clockid_t clock) {
        struct timespec now = {0};
        clock_gettime(clock, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void finish(int status) {
        for (size_t i = 0; i < 2; i++) {
                if (two[i].daemon <= 0)
                        continue;
                kill(two[i].daemon, SIGTERM);
                waitpid(two[i].daemon, NULL, 0);
                unlink(two[i].address.sun_path);
        }
        rmdir(settings.folder);
        exit(status);
}

static void require(bool condition, const char *what) {
        if (condition)
                return;
        fprintf(stderr, "bench_workers: %s: %s\n", what, strerror(errno));
        finish(1);
}

/* ---- A client ---- */

struct client {
        struct raw_client raw;
        uint64_t places[IN_FLIGHT];
        uint32_t generations[IN_FLIGHT];
};

/* Sends IN_FLIGHT requests at once: allocs, or releases of what they brought. */
static bool client_send(struct client *client, bool release) {
        uint8_t frames[IN_FLIGHT * 128];
        size_t used = 0;
        for (size_t i = 0; i < IN_FLIGHT; i++) {
                struct request request = {.id = i + 1, .kind = REQUEST_ALLOC};
                request.alloc = (struct request_alloc){.length = 1, .count = 1};
                if (release) {
                        request.kind = REQUEST_RELEASE;
                        request.release = (struct request_release){
                                .ranges = {
                                        .places = &client->places[i],
                                        .generations = &client->generations[i],
                                        .count = 1,
                                }};
                }
                ptrdiff_t length = request_encode(&request, frames + used, sizeof(frames) - used);
                used += length > 0 ? (size_t)length : 0;
        }
        return send(client->raw.fd, frames, used, MSG_NOSIGNAL) == (ssize_t)used;
}

static bool client_burst(struct client *client) {
        struct reply reply;
        if (!client_send(client, false))
                return false;
        for (size_t i = 0; i < IN_FLIGHT; i++) {
                if (!raw_client_reply(&client->raw, &reply) || reply.kind != REPLY_RANGES)
                        return false;
                client->places[i] = reply.ranges.places[0];
                client->generations[i] = reply.ranges.generations[0];
        }
        if (!client_send(client, true))
                return false;
        for (size_t i = 0; i < IN_FLIGHT; i++)
                if (!raw_client_reply(&client->raw, &reply) || reply.kind != REPLY_DONE)
                        return false;
        return true;
}

/* Reports readiness, begins on a byte, and reports how many requests were answered. */
static _Noreturn void client_run(const struct served *served, int control) {
        static struct client client;
        char go = 0;
        uint64_t requests = 0;
        if (!raw_client_open(&client.raw, &served->address, served->pool) ||
                write(control, &go, 1) != 1 || read(control, &go, 1) != 1)
                _exit(1);
        int64_t end = clock_of(CLOCK_MONOTONIC) + (int64_t)(settings.seconds * 1e9);
        for (; clock_of(CLOCK_MONOTONIC) < end; requests += 2 * IN_FLIGHT)
                if (!client_burst(&client))
                        _exit(1);
        _exit(write(control, &requests, sizeof(requests)) != sizeof(requests));
}

/* ---- A round ---- */

struct round {
        int controls[CLIENTS_MAX];
        pid_t pids[CLIENTS_MAX];
};

static void round_start(struct round *round, const struct served *served) {
        for (unsigned i = 0; i < settings.clients; i++) {
                int ends[2];
                char ready;
                require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0,
                        "socketpair");
                round->pids[i] = fork();
                require(round->pids[i] >= 0, "fork");
                if (round->pids[i] == 0)
                        client_run(served, ends[1]);
                close(ends[1]);
                round->controls[i] = ends[0];
                require(read(ends[0], &ready, 1) == 1, "a client could not begin");
        }
        for (unsigned i = 0; i < settings.clients; i++)
                require(write(round->controls[i], "g", 1) == 1, "a client is gone");
}

/* Requests of all clients, and their processor time. */
static uint64_t round_end(struct round *round, double *client_ns) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < settings.clients; i++) {
                uint64_t requests = 0;
                struct rusage usage;
                require(read(round->controls[i], &requests, sizeof(requests)) == sizeof(requests),
                        "a client was refused or lost its connection");
                close(round->controls[i]);
                require(wait4(round->pids[i], NULL, 0, &usage) == round->pids[i], "wait");
                *client_ns += (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 +
                              (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
                sum += requests;
        }
        return sum;
}

static void round_run(struct served *served, unsigned index) {
        struct round round;
        clockid_t processor;
        double client_ns = 0;
        require(clock_getcpuclockid(served->daemon, &processor) == 0, "the daemon's clock");
        int64_t before = clock_of(processor);
        round_start(&round, served);
        double requests = (double)round_end(&round, &client_ns);
        served->rates[index] = requests / settings.seconds;
        served->daemons[index] = (double)(clock_of(processor) - before) / requests;
        served->clients[index] = client_ns / requests;
}

/* ---- All ---- */

static void daemon_start(struct served *served) {
        char workers[16];
        served->address.sun_family = AF_UNIX;
        snprintf(served->address.sun_path, sizeof(served->address.sun_path), "%s/%u",
                settings.folder, served->workers);
        snprintf(workers, sizeof(workers), "%u", served->workers);
        snprintf(served->pool, sizeof(served->pool), "bench-%d-%u", (int)getpid(), served->workers);
        served->daemon = fork();
        require(served->daemon >= 0, "fork");
        if (served->daemon == 0) {
                if (freopen("/dev/null", "w", stderr))
                        execl(settings.buddyd, settings.buddyd, "--socket",
                                served->address.sun_path, "--pool", served->pool, "--size", "64M",
                                "--workers", workers, NULL);
                _exit(127);
        }
        int fd = -1;
        for (int tries = 0; fd < 0 && tries < 1000; tries++) {
                fd = raw_client_connect(&served->address);
                if (fd < 0)
                        usleep(10000);
        }
        require(fd >= 0 && waitpid(served->daemon, NULL, WNOHANG) == 0, settings.buddyd);
        close(fd);
}

static int compare(const void *left, const void *right) {
        double a = *(const double *)left, b = *(const double *)right;
        return (a > b) - (a < b);
}

static double median(double *values) {
        qsort(values, settings.rounds, sizeof(*values), compare);
        return values[settings.rounds / 2];
}

static void print(void) {
        double rates[2], daemons[2];
        printf("%-8s %14s %22s %22s\n", "workers", "requests/s", "daemon, ns/request",
                "clients, ns/request");
        for (size_t i = 0; i < 2; i++) {
                rates[i] = median(two[i].rates);
                daemons[i] = median(two[i].daemons);
                printf("%-8u %14.0f %22.0f %22.0f\n", two[i].workers, rates[i], daemons[i],
                        median(two[i].clients));
        }
        printf("two workers: %.2f x the requests of one, at %.2f x the daemon's time for each\n",
                rates[1] / rates[0], daemons[1] / daemons[0]);
        printf("with a processor for each worker and client that is %.2f x the requests\n",
                2 * daemons[0] / daemons[1]);
        printf("medians of %u interleaved rounds of %g s, %u clients, %u requests in flight each, "
               "%ld processors\n",
                settings.rounds, settings.seconds, settings.clients, IN_FLIGHT,
                sysconf(_SC_NPROCESSORS_ONLN));
}

static void parse(int argc, char **argv) {
        static const struct option options[] = {{"buddyd", required_argument, NULL, 'b'},
                {"clients", required_argument, NULL, 'c'}, {"rounds", required_argument, NULL, 'r'},
                {"seconds", required_argument, NULL, 's'}, {0}};
        for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
                if (option == 'b')
                        settings.buddyd = optarg;
                else if (option == 'c')
                        settings.clients = (unsigned)strtoul(optarg, NULL, 10);
                else if (option == 'r')
                        settings.rounds = (unsigned)strtoul(optarg, NULL, 10);
                else if (option == 's')
                        settings.seconds = strtod(optarg, NULL);
                else
                        settings.clients = 0;
        }
        if (optind == argc && settings.clients >= 1 && settings.clients <= CLIENTS_MAX &&
                settings.rounds >= 1 && settings.rounds <= ROUNDS_MAX && settings.seconds > 0)
                return;
        fputs("bench_workers [--buddyd PATH] [--clients 1..64] [--rounds 1..99] [--seconds S]\n",
                stderr);
        exit(2);
}

int main(int argc, char **argv) {
        parse(argc, argv);
        signal(SIGPIPE, SIG_IGN);
        snprintf(settings.folder, sizeof(settings.folder), "/tmp/bench-workers-XXXXXX");
        require(mkdtemp(settings.folder) != NULL, "temporary folder");
        for (size_t i = 0; i < 2; i++)
                daemon_start(&two[i]);
        for (unsigned round = 0; round < settings.rounds; round++)
                for (size_t i = 0; i < 2; i++)
                        round_run(&two[i], round);
        print();
        finish(0);
}

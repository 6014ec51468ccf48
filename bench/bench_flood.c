/* What a flood of one user's leaves to another: a daemon of one worker, a well-behaved client, and 16 connections of
 * another uid that send requests as fast as they are taken. Rounds with and without the flood in turn; the table has the
 * well-behaved client's requests a second and their 99th percentile, and the share of its solo rate that it keeps. Needs root,
 * to become two other users. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "raw_client.h"

#define FLOODERS_MAX 64u
#define ROUNDS_MAX   99u
#define SAMPLES_MAX  4000000u

enum { FLOOD_UID = 12345, GOOD_UID = 12346 };

/* What one well-behaved client did in a round. */
struct result {
        double rate;   /* requests a second */
        double p99_us; /* of one burst */
};

struct flood_kind {
        const char *name;
        struct request request;
};

static const struct flood_kind kinds[] = {
        {"ping", {.id = 1, .kind = REQUEST_PING}},
        {"stats", {.id = 1, .kind = REQUEST_STATS}},
        {"alloc", {.id = 1, .kind = REQUEST_ALLOC, .alloc = {.length = 1, .count = 4096}}},
        {"refused", {.id = 1, .kind = REQUEST_LOOKUP, .lookup = {.key = "none"}}},
};
#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

static struct {
        const char *buddyd;
        unsigned flooders, rounds, in_flight;
        double seconds; /* of one round */
        bool pin;
        char folder[64], pool[32];
        struct sockaddr_un address;
        pid_t daemon;
} setup = {.buddyd = BUDDYD, .flooders = 16, .rounds = 5, .in_flight = 1, .seconds = 0.5};

static int64_t now_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void finish(int status) {
        if (setup.daemon > 0) {
                kill(setup.daemon, SIGTERM);
                waitpid(setup.daemon, NULL, 0);
        }
        unlink(setup.address.sun_path);
        rmdir(setup.folder);
        exit(status);
}

static void require(bool condition, const char *what) {
        if (condition)
                return;
        fprintf(stderr, "bench_flood: %s: %s\n", what, strerror(errno));
        finish(1);
}

static void pin(unsigned cpu) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (setup.pin)
                sched_setaffinity(0, sizeof(set), &set);
}

/* ---- Clients ---- */

static pid_t child(uid_t uid, unsigned cpu) {
        pid_t pid = fork();
        require(pid >= 0, "fork");
        if (pid != 0)
                return pid;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(cpu);
        if (setgroups(0, NULL) != 0 || setgid(uid) != 0 || setuid(uid) != 0)
                _exit(1);
        return 0;
}

/* Sends without end, and throws the replies away. */
static _Noreturn void flooder_run(const struct request *request, int ready) {
        static uint8_t frames[64 * 1024], trash[256 * 1024];
        struct raw_client client;
        size_t length = 0, at = 0;
        ptrdiff_t one;
        while ((one = request_encode(request, frames + length, sizeof(frames) - length)) > 0)
                length += (size_t)one;
        if (!raw_client_open(&client, &setup.address, setup.pool) || write(ready, "", 1) != 1)
                _exit(1);
        fcntl(client.fd, F_SETFL, O_NONBLOCK);
        for (;;) {
                struct pollfd wait = {.fd = client.fd, .events = POLLIN | POLLOUT};
                poll(&wait, 1, -1);
                ssize_t got = recv(client.fd, trash, sizeof(trash), 0);
                if (got == 0 || (got < 0 && errno != EAGAIN))
                        _exit(2);
                ssize_t sent = send(client.fd, frames + at, length - at, MSG_NOSIGNAL);
                at = sent > 0 ? (at + (size_t)sent) % length : at;
        }
}

static int compare(const void *left, const void *right) {
        double a = *(const double *)left, b = *(const double *)right;
        return (a > b) - (a < b);
}

/* in_flight requests at once, and their replies, over and over. */
static _Noreturn void good_run(int out) {
        static double samples[SAMPLES_MAX];
        uint8_t frames[4096];
        struct request ping = {.id = 1, .kind = REQUEST_ALLOC, .alloc = {.length = 1, .count = 1}};
        struct raw_client client;
        struct reply reply;
        uint64_t bursts = 0;
        if (!raw_client_open(&client, &setup.address, setup.pool))
                _exit(1);
        int64_t begin = now_ns(), end = begin + (int64_t)(setup.seconds * 1e9), now = begin;
        for (; now < end && bursts < SAMPLES_MAX; bursts++) {
                size_t length = 0;
                int64_t before = now;
                ping.kind = bursts % 2 ? REQUEST_PING : REQUEST_FIND;
                ping.find.name = "bench";
                for (unsigned i = 0; i < setup.in_flight; i++)
                        length += (size_t)request_encode(
                                &ping, frames + length, sizeof(frames) - length);
                if (send(client.fd, frames, length, MSG_NOSIGNAL) != (ssize_t)length)
                        _exit(1);
                for (unsigned i = 0; i < setup.in_flight; i++)
                        if (!raw_client_reply(&client, &reply))
                                _exit(1);
                now = now_ns();
                samples[bursts] = (double)(now - before) / 1e3;
        }
        qsort(samples, bursts, sizeof(*samples), compare);
        struct result result = {
                .rate = (double)bursts * setup.in_flight / ((double)(now - begin) / 1e9),
                .p99_us = bursts ? samples[bursts * 99 / 100] : 0,
        };
        _exit(write(out, &result, sizeof(result)) != sizeof(result));
}

/* ---- A round ---- */

static struct result round_run(const struct flood_kind *kind) {
        pid_t flooders[FLOODERS_MAX];
        int ready[2], results[2];
        struct result result = {0};
        char byte;
        require(pipe2(ready, O_CLOEXEC) == 0 && pipe2(results, O_CLOEXEC) == 0, "pipe");
        for (unsigned i = 0; kind && i < setup.flooders; i++) {
                flooders[i] = child(FLOOD_UID, 1);
                if (flooders[i] == 0)
                        flooder_run(&kind->request, ready[1]);
                require(read(ready[0], &byte, 1) == 1, "a flooder could not begin");
        }
        pid_t good = child(GOOD_UID, 1);
        if (good == 0)
                good_run(results[1]);
        close(results[1]);
        require(read(results[0], &result, sizeof(result)) == sizeof(result),
                "the well-behaved client lost its connection");
        waitpid(good, NULL, 0);
        for (unsigned i = 0; kind && i < setup.flooders; i++) {
                kill(flooders[i], SIGKILL);
                int status = 0;
                waitpid(flooders[i], &status, 0);
                require(WIFSIGNALED(status), "a flooder lost its connection");
        }
        close(ready[0]);
        close(ready[1]);
        close(results[0]);
        return result;
}

static double median(double *values) {
        qsort(values, setup.rounds, sizeof(*values), compare);
        return values[setup.rounds / 2];
}

static void measure(const struct flood_kind *kind) {
        double solo[ROUNDS_MAX], solo_p99[ROUNDS_MAX], flooded[ROUNDS_MAX], p99[ROUNDS_MAX];
        for (unsigned i = 0; i < setup.rounds; i++) {
                struct result alone = round_run(NULL), beside = round_run(kind);
                solo[i] = alone.rate;
                solo_p99[i] = alone.p99_us;
                flooded[i] = beside.rate;
                p99[i] = beside.p99_us;
        }
        double before = median(solo), after = median(flooded);
        printf("%-8s %12.0f %12.0f %12.0f %12.0f %8.0f %%\n", kind->name, before, median(solo_p99),
                after, median(p99), 100 * after / before);
        fflush(stdout);
}

/* ---- All ---- */

static void daemon_start(void) {
        require(mkdtemp(setup.folder) != NULL && chmod(setup.folder, 0755) == 0,
                "temporary folder");
        setup.address.sun_family = AF_UNIX;
        snprintf(setup.address.sun_path, sizeof(setup.address.sun_path), "%s/socket", setup.folder);
        snprintf(setup.pool, sizeof(setup.pool), "bench-flood-%d", (int)getpid());
        setup.daemon = fork();
        require(setup.daemon >= 0, "fork");
        if (setup.daemon == 0) {
                prctl(PR_SET_PDEATHSIG, SIGTERM);
                pin(0);
                if (freopen("/dev/null", "w", stderr))
                        execl(setup.buddyd, setup.buddyd, "--socket", setup.address.sun_path,
                                "--pool", setup.pool, "--size", "64M", "--workers", "1",
                                "--socket-mode", "0666", NULL);
                _exit(127);
        }
        struct raw_client client;
        bool open = false;
        for (int tries = 0; !open && tries < 1000; tries++) {
                open = raw_client_open(&client, &setup.address, setup.pool);
                if (open)
                        raw_client_close(&client);
                else
                        usleep(10000);
        }
        require(open && waitpid(setup.daemon, NULL, WNOHANG) == 0, setup.buddyd);
}

static void parse(int argc, char **argv) {
        static const struct option options[] = {{"buddyd", required_argument, NULL, 'b'},
                {"flooders", required_argument, NULL, 'f'},
                {"rounds", required_argument, NULL, 'r'},
                {"in-flight", required_argument, NULL, 'i'}, {"pin", no_argument, NULL, 'p'},
                {"seconds", required_argument, NULL, 's'}, {0}};
        for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
                if (option == 'b')
                        setup.buddyd = optarg;
                else if (option == 'f')
                        setup.flooders = (unsigned)strtoul(optarg, NULL, 10);
                else if (option == 'r')
                        setup.rounds = (unsigned)strtoul(optarg, NULL, 10);
                else if (option == 'i')
                        setup.in_flight = (unsigned)strtoul(optarg, NULL, 10);
                else if (option == 's')
                        setup.seconds = strtod(optarg, NULL);
                else if (option == 'p')
                        setup.pin = true;
                else
                        setup.rounds = 0;
        }
        if (optind == argc && setup.flooders >= 1 && setup.flooders <= FLOODERS_MAX &&
                setup.rounds >= 1 && setup.rounds <= ROUNDS_MAX && setup.seconds > 0 &&
                setup.in_flight >= 1 && setup.in_flight <= 128)
                return;
        fputs("bench_flood [--buddyd PATH] [--flooders 1..64] [--in-flight 1..128] [--rounds "
              "1..99] [--seconds S] [--pin]\n",
                stderr);
        exit(2);
}

int main(int argc, char **argv) {
        parse(argc, argv);
        signal(SIGPIPE, SIG_IGN);
        snprintf(setup.folder, sizeof(setup.folder), "/tmp/bench-flood-XXXXXX");
        if (geteuid() != 0) {
                fputs("bench_flood: needs to become two other users; run it as root\n", stderr);
                return 1;
        }
        daemon_start();
        printf("%-8s %12s %12s %12s %12s %10s\n", "flood", "solo/s", "p99, us", "beside/s",
                "p99, us", "kept");
        for (size_t i = 0; i < KIND_COUNT; i++)
                measure(&kinds[i]);
        printf("medians of %u interleaved rounds of %g s; %u flooding connections of one uid, a "
               "client of another with %u requests in flight; one worker, %ld processors%s\n",
                setup.rounds, setup.seconds, setup.flooders, setup.in_flight,
                sysconf(_SC_NPROCESSORS_ONLN),
                setup.pin ? ", daemon and clients pinned apart" : "");
        finish(0);
}

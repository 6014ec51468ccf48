/* The rows: what is done in a slice of time, and what of it is counted. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "bench.h"
#include "client/deadline.h"
#include "partner.h"

static int compare_doubles(const void *left, const void *right) {
        double a = *(const double *)left, b = *(const double *)right;
        return (a > b) - (a < b);
}

double bench_median(double *values, size_t count) {
        qsort(values, count, sizeof(*values), compare_doubles);
        return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static int compare_samples(const void *left, const void *right) {
        uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
        return (a > b) - (a < b);
}

void bench_samples_add(struct bench_samples *samples, int64_t ns) {
        samples->ns[samples->count++ % BENCH_SAMPLES] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

double bench_samples_take(struct bench_samples *samples) {
        size_t count = samples->count < BENCH_SAMPLES ? samples->count : BENCH_SAMPLES;
        samples->count = 0;
        if (count == 0)
                return 0;
        qsort(samples->ns, count, sizeof(samples->ns[0]), compare_samples);
        return samples->ns[count / 2];
}

/* Some operations in a row, each timed. */
static int sample_turn(struct bench *bench, bench_operation *operation, unsigned count,
        struct bench_samples *samples) {
        int64_t begin = deadline_now();
        for (unsigned i = 0; i < count; i++) {
                int error = operation(bench);
                if (error != 0)
                        return error;
                int64_t now = deadline_now();
                bench_samples_add(samples, now - begin);
                begin = now;
        }
        return 0;
}

int bench_sample(struct bench *bench, int64_t slice_ns, bench_operation *operation, double *p50) {
        int64_t end = deadline_now() + slice_ns;
        while (deadline_now() < end) {
                int error = sample_turn(bench, operation, 1, &bench->samples);
                if (error != 0)
                        return error;
        }
        *p50 = bench_samples_take(&bench->samples);
        return 0;
}

int bench_sample_beside(struct bench *bench, int64_t slice_ns, const struct bench_beside *beside,
        double *p50, double *floor_p50) {
        int64_t end = deadline_now() + slice_ns;
        while (deadline_now() < end) {
                int error = sample_turn(bench, beside->operation, beside->turn, &bench->samples);
                if (error == 0)
                        error = sample_turn(
                                bench, beside->floor, beside->turn, &bench->more_samples);
                if (error != 0)
                        return error;
        }
        *p50 = bench_samples_take(&bench->samples);
        *floor_p50 = bench_samples_take(&bench->more_samples);
        return 0;
}

/* What the daemon has run so far, all its threads, in nanoseconds; NAN: this kernel does not tell. */
static double daemon_cpu_ns(const struct bench *bench) {
        clockid_t clock;
        struct timespec spent;
        if (bench->daemon == 0 || clock_getcpuclockid(bench->daemon, &clock) != 0 ||
                clock_gettime(clock, &spent) != 0)
                return (double)NAN;
        return (double)spent.tv_sec * 1e9 + (double)spent.tv_nsec;
}

static void say(struct bench *bench, const char *detail) {
        snprintf(bench->detail, sizeof(bench->detail), "%s", detail);
}

void bench_say_of_child(struct bench *bench, int error) {
        say(bench, error == -ENOTCONN ? "it does not answer a second process"
                                      : buddyclient_strerror(error));
}

int bench_client_new(struct bench *bench, bool cached, struct buddyclient **out) {
        struct buddyclient *client;
        int error = buddyclient_new(&client);
        if (error != 0)
                return error;
        if (bench->socket)
                error = buddyclient_set_socket(client, bench->socket);
        if (error == 0)
                error = buddyclient_set_pool(client, bench->pool);
        if (error == 0)
                error = buddyclient_set_name(client, "buddyctl bench");
        if (error == 0 && !cached)
                error = buddyclient_set_cache_bytes(client, 0);
        if (error == 0)
                error = buddyclient_connect(client);
        if (error == 0) {
                *out = client;
                return 0;
        }
        say(bench, buddyclient_detail(client));
        buddyclient_destroy(client);
        return error;
}

int echo_exchange(struct bench *bench, unsigned messages) {
        char bytes[BENCH_MESSAGE_BYTES * BENCH_IN_FLIGHT] = {0};
        size_t length = messages * BENCH_MESSAGE_BYTES;
        int fd = bench->echo_fd;
        if (send(fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length)
                return -EIO;
        while (length > 0) {
                ssize_t got = recv(fd, bytes, length, 0);
                if (got <= 0)
                        return -EIO;
                length -= (size_t)got;
        }
        return 0;
}

static int echo_one(struct bench *bench) {
        return echo_exchange(bench, 1);
}

static int echo_burst(struct bench *bench) {
        return echo_exchange(bench, BENCH_IN_FLIGHT);
}

static int request_pair(struct bench *bench) {
        struct buddyclient_range range;
        bench->requests += 2;
        int error = buddyclient_alloc(bench->client, 1, &range);
        return error != 0 ? error : buddyclient_release(bench->client, &range);
}

static int futex_one(struct bench *bench) {
        return partner_echo_exchange(bench->futex);
}

int bench_futex_round_trip(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        return bench_sample(bench, slice_ns, futex_one, &figures[FIGURE_FUTEX_ROUND_TRIP]);
}

/* What one burst of requests was answered with. */
struct burst {
        uint64_t places[BENCH_IN_FLIGHT];
        uint32_t generations[BENCH_IN_FLIGHT];
        size_t granted;
};

/* What the observer says of a daemon that is not there for it, as a client would. */
static int unanswered(struct bench *bench, int error) {
        if (error == -EPROTO)
                return error;
        say(bench, error == -ETIMEDOUT    ? "the daemon does not answer"
                   : error == -ECONNRESET ? "the daemon closed the connection"
                                          : strerror(-error));
        return -ENOTCONN;
}

static int burst_send(struct bench *bench, struct request *request, const struct burst *release) {
        uint8_t frames[BENCH_IN_FLIGHT * 128];
        size_t used = 0;
        size_t count = release ? release->granted : BENCH_IN_FLIGHT;
        for (size_t i = 0; i < count; i++) {
                request->id = ++bench->raw.last_id;
                if (release)
                        request->release.ranges = (struct message_ranges){
                                .places = &release->places[i],
                                .generations = &release->generations[i],
                                .count = 1,
                        };
                ptrdiff_t length = request_encode(request, frames + used, sizeof(frames) - used);
                if (length < 0)
                        return (int)length;
                used += (size_t)length;
        }
        int error = observer_send(&bench->raw, frames, used);
        return error != 0 ? unanswered(bench, error) : 0;
}

/* Takes all replies, also behind a refused one, so that what was granted is known. */
static int burst_receive(struct bench *bench, size_t count, struct burst *grants) {
        int refused = 0;
        for (size_t i = 0; i < count; i++) {
                struct reply reply;
                int error = observer_receive(&bench->raw, &reply);
                if (error != 0)
                        return unanswered(bench, error);
                if (reply.kind == REPLY_REFUSED) {
                        say(bench, reply.refused.detail ? reply.refused.detail : "");
                        refused = status_to_errno(reply.refused.status);
                } else if (reply.kind == REPLY_RANGES && reply.ranges.count == 1 && grants) {
                        grants->places[grants->granted] = reply.ranges.places[0];
                        grants->generations[grants->granted++] = reply.ranges.generations[0];
                }
        }
        return refused;
}

static int request_bursts(struct bench *bench) {
        struct burst grants = {0};
        struct request alloc = {.kind = REQUEST_ALLOC, .alloc = {.length = 1, .count = 1}};
        struct request release = {.kind = REQUEST_RELEASE};
        int error = burst_send(bench, &alloc, NULL);
        if (error != 0)
                return error;
        bench->requests += 2 * BENCH_IN_FLIGHT;
        int refused = burst_receive(bench, BENCH_IN_FLIGHT, &grants);
        error = burst_send(bench, &release, &grants);
        if (error == 0)
                error = burst_receive(bench, grants.granted, NULL);
        return refused != 0 ? refused : error;
}

/* The daemon's CPU time of a request, too: the slice's, over its requests. */
static int sample_requests(struct bench *bench, int64_t slice_ns, const struct bench_beside *beside,
        double *figures, double *cpu_ns) {
        double before = daemon_cpu_ns(bench);
        bench->requests = 0;
        int error = bench_sample_beside(bench, slice_ns, beside, &figures[0], &figures[1]);
        if (error == 0)
                *cpu_ns = (daemon_cpu_ns(bench) - before) / (double)bench->requests;
        return error;
}

/* A pool in use: on an empty one each pair splits a block through all orders and merges it again. */
int bench_round_trips(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        static const struct bench_beside beside = {request_pair, echo_one, 8};
        struct buddyclient *client = bench->client;
        bool holds = buddyclient_size(client) > buddyclient_page_size(client);
        struct buddyclient_range held;
        double p50[2];
        int error = holds ? buddyclient_alloc(client, 1, &held) : 0;
        if (error != 0)
                return error;
        error = sample_requests(bench, slice_ns, &beside, p50, &figures[FIGURE_DAEMON_CPU]);
        int rc = holds ? buddyclient_release(client, &held) : 0;
        if (error != 0 || rc != 0)
                return error != 0 ? error : rc;
        figures[FIGURE_REQUEST_ROUND_TRIP] = p50[0] / 2;
        figures[FIGURE_SOCKET_ROUND_TRIP] = p50[1];
        return 0;
}

int bench_in_flight(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        static const struct bench_beside beside = {request_bursts, echo_burst, 2};
        double p50[2];
        int error = sample_requests(
                bench, slice_ns, &beside, p50, &figures[FIGURE_DAEMON_CPU_IN_FLIGHT]);
        if (error != 0)
                return error;
        figures[FIGURE_REQUEST_IN_FLIGHT] = p50[0] / (2 * BENCH_IN_FLIGHT);
        figures[FIGURE_SOCKET_IN_FLIGHT] = p50[1] / BENCH_IN_FLIGHT;
        return 0;
}

/* Alloc, release, and both, of one range of a batch. */
static int sample_batches(
        struct bench *bench, struct buddyclient *client, int64_t slice_ns, double figures[3]) {
        struct buddyclient_range ranges[BENCH_BATCH];
        int64_t now = deadline_now(), end = now + slice_ns;
        while (now < end) {
                int64_t begin = now;
                int error = buddyclient_alloc_many(client, 4096, BENCH_BATCH, ranges);
                if (error != 0)
                        return error;
                int64_t middle = deadline_now();
                error = buddyclient_release_many(client, ranges, BENCH_BATCH);
                if (error != 0)
                        return error;
                now = deadline_now();
                bench_samples_add(&bench->samples, middle - begin);
                bench_samples_add(&bench->more_samples, now - middle);
        }
        figures[0] = bench_samples_take(&bench->samples) / BENCH_BATCH;
        figures[1] = bench_samples_take(&bench->more_samples) / BENCH_BATCH;
        figures[2] = figures[0] + figures[1];
        return 0;
}

int bench_batch(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        return sample_batches(bench, bench->client, slice_ns, &figures[FIGURE_BATCH_ALLOC]);
}

int bench_cached_batch(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        return sample_batches(bench, bench->cached, slice_ns, &figures[FIGURE_CACHED_BATCH_ALLOC]);
}

int bench_malloc_pairs(struct bench *bench) {
        (void)bench;
        for (unsigned i = 0; i < BENCH_PAIRS; i++) {
                /* Volatile: the compiler may not drop the pair. */
                void *volatile memory = malloc(4096);
                free(memory);
        }
        return 0;
}

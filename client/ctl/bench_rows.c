/* The rows: what is done in a slice of time, and what of it is counted. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "bench.h"
#include "client/deadline.h"

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

/* p50 in nanoseconds of an operation, which is called until the slice is over. */
static int sample(
        struct bench *bench, int64_t slice_ns, int (*operation)(struct bench *), double *p50) {
        int64_t begin = deadline_now(), end = begin + slice_ns;
        while (begin < end) {
                int error = operation(bench);
                if (error != 0)
                        return error;
                int64_t now = deadline_now();
                bench_samples_add(&bench->samples, now - begin);
                begin = now;
        }
        *p50 = bench_samples_take(&bench->samples);
        return 0;
}

/* length bytes to the echoing child and back. */
static int echo_exchange(int fd, size_t length) {
        char bytes[BENCH_MESSAGE_BYTES * BENCH_IN_FLIGHT] = {0};
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
        return echo_exchange(bench->echo_fd, BENCH_MESSAGE_BYTES);
}

static int echo_burst(struct bench *bench) {
        return echo_exchange(bench->echo_fd, BENCH_MESSAGE_BYTES * BENCH_IN_FLIGHT);
}

static int request_pair(struct bench *bench) {
        struct buddyclient_range range;
        int error = buddyclient_alloc(bench->client, 1, &range);
        return error != 0 ? error : buddyclient_release(bench->client, &range);
}

int bench_socket_round_trip(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        return sample(bench, slice_ns, echo_one, &figures[FIGURE_SOCKET_ROUND_TRIP]);
}

int bench_request_round_trip(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        double pair;
        int error = sample(bench, slice_ns, request_pair, &pair);
        if (error == 0)
                figures[FIGURE_REQUEST_ROUND_TRIP] = pair / 2;
        return error;
}

int bench_socket_in_flight(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        double burst;
        int error = sample(bench, slice_ns, echo_burst, &burst);
        if (error == 0)
                figures[FIGURE_SOCKET_IN_FLIGHT] = burst / BENCH_IN_FLIGHT;
        return error;
}

/* What one burst of requests was answered with. */
struct burst {
        uint64_t places[BENCH_IN_FLIGHT];
        uint32_t generations[BENCH_IN_FLIGHT];
        size_t granted;
};

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
        return observer_send(&bench->raw, frames, used);
}

/* Takes all replies, also behind a refused one, so that what was granted is known. */
static int burst_receive(struct bench *bench, size_t count, struct burst *grants) {
        int refused = 0;
        for (size_t i = 0; i < count; i++) {
                struct reply reply;
                int error = observer_receive(&bench->raw, &reply);
                if (error != 0)
                        return error;
                if (reply.kind == REPLY_REFUSED) {
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
        int refused = burst_receive(bench, BENCH_IN_FLIGHT, &grants);
        error = burst_send(bench, &release, &grants);
        if (error == 0)
                error = burst_receive(bench, grants.granted, NULL);
        return refused != 0 ? refused : error;
}

int bench_request_in_flight(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        double bursts;
        int error = sample(bench, slice_ns, request_bursts, &bursts);
        if (error == 0)
                figures[FIGURE_REQUEST_IN_FLIGHT] = bursts / (2 * BENCH_IN_FLIGHT);
        return error;
}

int bench_batch(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        struct buddyclient_range ranges[BENCH_BATCH];
        int64_t now = deadline_now(), end = now + slice_ns;
        while (now < end) {
                int64_t begin = now;
                int error = buddyclient_alloc_many(bench->client, 1, BENCH_BATCH, ranges);
                if (error != 0)
                        return error;
                int64_t middle = deadline_now();
                error = buddyclient_release_many(bench->client, ranges, BENCH_BATCH);
                if (error != 0)
                        return error;
                now = deadline_now();
                bench_samples_add(&bench->samples, middle - begin);
                bench_samples_add(&bench->more_samples, now - middle);
        }
        figures[FIGURE_BATCH_ALLOC] = bench_samples_take(&bench->samples) / BENCH_BATCH;
        figures[FIGURE_BATCH_RELEASE] = bench_samples_take(&bench->more_samples) / BENCH_BATCH;
        return 0;
}

#define MALLOC_PAIRS 100

static int malloc_pairs(struct bench *bench) {
        (void)bench;
        for (int i = 0; i < MALLOC_PAIRS; i++) {
                /* Volatile: the compiler may not drop the pair. */
                void *volatile memory = malloc(4096);
                free(memory);
        }
        return 0;
}

int bench_malloc(struct bench *bench, int64_t slice_ns, double figures[FIGURE_COUNT]) {
        double pairs;
        int error = sample(bench, slice_ns, malloc_pairs, &pairs);
        if (error == 0)
                figures[FIGURE_MALLOC_PAIR] = pairs / MALLOC_PAIRS;
        return error;
}

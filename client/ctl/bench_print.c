/* What bench has found, as text and as JSON: one row of a table for each line. */
#include <errno.h>
#include <math.h>

#include "bench.h"
#include "json.h"
#include "quantity.h"

enum unit { UNIT_US, UNIT_NS, UNIT_NS_A_RANGE, UNIT_A_SECOND };

#define NO_FLOOR FIGURE_COUNT

struct line {
        const char *what;
        enum bench_figure figure;
        enum unit unit;
        enum bench_figure floor;
        const char *floor_name;
};

static const struct line lines[] = {
        {"bare socket round trip, 64 bytes, p50", FIGURE_SOCKET_ROUND_TRIP, UNIT_US, NO_FLOOR, ""},
        {"futex round trip, p50", FIGURE_FUTEX_ROUND_TRIP, UNIT_US, FIGURE_SOCKET_ROUND_TRIP,
                "a bare socket"},
        {"request round trip, no cache, p50", FIGURE_REQUEST_ROUND_TRIP, UNIT_US,
                FIGURE_SOCKET_ROUND_TRIP, "a bare socket"},
        {"the daemon's CPU time of a request", FIGURE_DAEMON_CPU, UNIT_US,
                FIGURE_REQUEST_ROUND_TRIP, "the round trip"},
        {"bare messages, 32 in flight", FIGURE_SOCKET_IN_FLIGHT, UNIT_A_SECOND, NO_FLOOR, ""},
        {"requests, 32 in flight", FIGURE_REQUEST_IN_FLIGHT, UNIT_A_SECOND, FIGURE_SOCKET_IN_FLIGHT,
                "the time"},
        {"the daemon's CPU time of one of them", FIGURE_DAEMON_CPU_IN_FLIGHT, UNIT_US, NO_FLOOR,
                ""},
        {"alloc in batches of 64, no cache", FIGURE_BATCH_ALLOC, UNIT_NS_A_RANGE, NO_FLOOR, ""},
        {"release in batches of 64, no cache", FIGURE_BATCH_RELEASE, UNIT_NS_A_RANGE, NO_FLOOR, ""},
        {"both, no cache", FIGURE_BATCH_PAIR, UNIT_NS_A_RANGE, FIGURE_SOCKET_ROUND_TRIP,
                "a bare socket"},
        {"malloc + free of 4 KiB (glibc)", FIGURE_MALLOC_PAIR, UNIT_NS, NO_FLOOR, ""},
        {"pair with cache, 4 KiB", FIGURE_CACHED_4K, UNIT_NS, FIGURE_MALLOC_PAIR, "malloc + free"},
        {"pair with cache, 64 KiB", FIGURE_CACHED_64K, UNIT_NS, FIGURE_MALLOC_PAIR,
                "malloc + free"},
        {"pair with cache, 1 MiB", FIGURE_CACHED_1M, UNIT_NS, FIGURE_MALLOC_PAIR, "malloc + free"},
        {"the same, 4 KiB, in each of two threads", FIGURE_CACHED_THREADS, UNIT_NS,
                FIGURE_CACHED_4K, "one thread"},
        {"alloc in batches of 64, with cache", FIGURE_CACHED_BATCH_ALLOC, UNIT_NS_A_RANGE, NO_FLOOR,
                ""},
        {"release in batches of 64, with cache", FIGURE_CACHED_BATCH_RELEASE, UNIT_NS_A_RANGE,
                NO_FLOOR, ""},
        {"both, with cache", FIGURE_CACHED_BATCH_PAIR, UNIT_NS_A_RANGE, FIGURE_MALLOC_PAIR,
                "malloc + free"},
        {"hand-overs of 64 KiB in batches of 64, 2 CPUs", FIGURE_HAND_OVER_BATCHED, UNIT_A_SECOND,
                NO_FLOOR, ""},
        {"hand-overs of 64 KiB, one per call, 2 CPUs", FIGURE_HAND_OVER_STREAM, UNIT_A_SECOND,
                FIGURE_REQUEST_ROUND_TRIP, "a request"},
        {"hand-over of 64 KiB, one at a time", FIGURE_HAND_OVER_SINGLE, UNIT_US,
                FIGURE_REQUEST_ROUND_TRIP, "a request"},
};

double bench_middle(const struct bench_result *result, enum bench_figure figure) {
        double values[BENCH_ROUNDS];
        for (size_t round = 0; round < BENCH_ROUNDS; round++) {
                values[round] = result->rounds[figure][round];
                if (isnan(values[round]))
                        return (double)NAN;
        }
        return bench_median(values, BENCH_ROUNDS);
}

double bench_ratio(
        const struct bench_result *result, enum bench_figure figure, enum bench_figure floor) {
        double values[BENCH_ROUNDS];
        for (size_t round = 0; round < BENCH_ROUNDS; round++) {
                values[round] = result->rounds[figure][round] / result->rounds[floor][round];
                if (!isfinite(values[round]))
                        return (double)NAN;
        }
        return bench_median(values, BENCH_ROUNDS);
}

static double per_second(double ns) {
        return ns > 0 ? 1e9 / ns : (double)NAN;
}

static void print_value(double ns, enum unit unit) {
        switch (unit) {
        case UNIT_US:
                printf(" %10.2f %-9s", ns / 1e3, quantity_microsecond());
                break;
        case UNIT_NS:
                printf(" %10.1f ns       ", ns);
                break;
        case UNIT_NS_A_RANGE:
                printf(" %10.1f ns a range", ns);
                break;
        case UNIT_A_SECOND:
                printf(" %10.0f a second", per_second(ns));
                break;
        }
}

static const char *why_not(int refused) {
        if (refused == -ENODEV)
                return "it takes a second CPU";
        if (refused == 0)
                return "the daemon's process is not visible from here";
        return buddyclient_strerror(refused);
}

static void print_line(const struct bench_result *result, const struct line *line) {
        double ns = bench_middle(result, line->figure);
        printf("%-46s", line->what);
        if (isnan(ns)) {
                printf(" not measured: %s\n", why_not(result->refused[line->figure]));
                return;
        }
        print_value(ns, line->unit);
        double ratio = line->floor != NO_FLOOR ? bench_ratio(result, line->figure, line->floor)
                                               : (double)NAN;
        if (!isnan(ratio))
                printf(" %8.*f x %s", ratio < 0.1 ? 3 : 2, ratio, line->floor_name);
        putchar('\n');
}

void bench_print_text(const struct bench_result *result) {
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
                print_line(result, &lines[i]);
        printf("medians of %d interleaved rounds in %g s; ", BENCH_ROUNDS, result->seconds);
        if (result->daemon_pinned)
                printf("but for 2 CPUs, client and daemon on CPU %d\n", result->cpu);
        else if (result->cpu >= 0)
                printf("client on CPU %d, the daemon could not be pinned: wake-ups between CPUs "
                       "count\n",
                        result->cpu);
        else
                puts("nobody pinned: wake-ups between CPUs count");
}

enum form { FORM_US, FORM_NS, FORM_PER_SECOND, FORM_RATIO };

static const struct member {
        const char *key;
        enum form form;
        enum bench_figure figure, floor; /* floor: of a ratio */
} members[] = {
        {"socket_round_trip_us", FORM_US, FIGURE_SOCKET_ROUND_TRIP, NO_FLOOR},
        {"futex_round_trip_us", FORM_US, FIGURE_FUTEX_ROUND_TRIP, NO_FLOOR},
        {"request_round_trip_us", FORM_US, FIGURE_REQUEST_ROUND_TRIP, NO_FLOOR},
        {"request_ratio", FORM_RATIO, FIGURE_REQUEST_ROUND_TRIP, FIGURE_SOCKET_ROUND_TRIP},
        {"daemon_cpu_us_per_request", FORM_US, FIGURE_DAEMON_CPU, NO_FLOOR},
        {"socket_in_flight_per_second", FORM_PER_SECOND, FIGURE_SOCKET_IN_FLIGHT, NO_FLOOR},
        {"requests_in_flight_per_second", FORM_PER_SECOND, FIGURE_REQUEST_IN_FLIGHT, NO_FLOOR},
        {"in_flight_ratio", FORM_RATIO, FIGURE_REQUEST_IN_FLIGHT, FIGURE_SOCKET_IN_FLIGHT},
        {"daemon_cpu_us_per_request_in_flight", FORM_US, FIGURE_DAEMON_CPU_IN_FLIGHT, NO_FLOOR},
        {"batch_alloc_ns_per_range", FORM_NS, FIGURE_BATCH_ALLOC, NO_FLOOR},
        {"batch_release_ns_per_range", FORM_NS, FIGURE_BATCH_RELEASE, NO_FLOOR},
        {"batch_pair_ns_per_range", FORM_NS, FIGURE_BATCH_PAIR, NO_FLOOR},
        {"malloc_pair_ns", FORM_NS, FIGURE_MALLOC_PAIR, NO_FLOOR},
        {"cached_pair_4k_ns", FORM_NS, FIGURE_CACHED_4K, NO_FLOOR},
        {"cached_pair_64k_ns", FORM_NS, FIGURE_CACHED_64K, NO_FLOOR},
        {"cached_pair_1m_ns", FORM_NS, FIGURE_CACHED_1M, NO_FLOOR},
        {"cached_pair_ratio", FORM_RATIO, FIGURE_CACHED_4K, FIGURE_MALLOC_PAIR},
        {"cached_pair_two_threads_ns", FORM_NS, FIGURE_CACHED_THREADS, NO_FLOOR},
        {"two_threads_ratio", FORM_RATIO, FIGURE_CACHED_THREADS, FIGURE_CACHED_4K},
        {"cached_batch_alloc_ns_per_range", FORM_NS, FIGURE_CACHED_BATCH_ALLOC, NO_FLOOR},
        {"cached_batch_release_ns_per_range", FORM_NS, FIGURE_CACHED_BATCH_RELEASE, NO_FLOOR},
        {"cached_batch_pair_ns_per_range", FORM_NS, FIGURE_CACHED_BATCH_PAIR, NO_FLOOR},
        {"hand_overs_batched_per_second", FORM_PER_SECOND, FIGURE_HAND_OVER_BATCHED, NO_FLOOR},
        {"hand_overs_single_per_second", FORM_PER_SECOND, FIGURE_HAND_OVER_STREAM, NO_FLOOR},
        {"hand_over_stream_ratio", FORM_RATIO, FIGURE_HAND_OVER_STREAM, FIGURE_REQUEST_ROUND_TRIP},
        {"hand_over_us", FORM_US, FIGURE_HAND_OVER_SINGLE, NO_FLOOR},
        {"hand_over_ratio", FORM_RATIO, FIGURE_HAND_OVER_SINGLE, FIGURE_REQUEST_ROUND_TRIP},
};

static double member_value(const struct bench_result *result, const struct member *member) {
        double value = bench_middle(result, member->figure);
        switch (member->form) {
        case FORM_US:
                return value / 1e3;
        case FORM_PER_SECOND:
                return per_second(value);
        case FORM_RATIO:
                return bench_ratio(result, member->figure, member->floor);
        default:
                return value;
        }
}

void bench_print_json(const struct bench_result *result) {
        struct json json = {.out = stdout};
        json_begin_object(&json, NULL);
        json_number(&json, "seconds", result->seconds);
        json_bool(&json, "pinned", result->cpu >= 0);
        json_bool(&json, "daemon_pinned", result->daemon_pinned);
        for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
                json_number(&json, members[i].key, member_value(result, &members[i]));
        json_end_object(&json);
        json_end_document(&json);
}

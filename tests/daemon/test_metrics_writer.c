/* The two formats of metrics, byte by byte. */
#include "daemon/metrics_writer.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const struct metric_family counter = {
        "grants_bytes", METRIC_COUNTER, "bytes", "Bytes that were granted."};
static const struct metric_family gauge = {"clients", METRIC_GAUGE, NULL, "Who is there."};
static const struct metric_family histogram = {
        "took_seconds", METRIC_HISTOGRAM, "seconds", "How long."};

static void write_all(struct metrics_writer *writer) {
        metrics_family(writer, &gauge);
        metrics_integer(writer, "", "", UINT64_MAX);
        metrics_number(writer, "", "order=\"3\"", -0.25);
        metrics_family(writer, &counter);
        metrics_counter(writer, "pool=\"a\"", 7, 1001);
        metrics_counter(writer, "pool=\"b\"", 8, 0);
        metrics_family(writer, &histogram);
        metrics_integer(writer, "_bucket", "le=\"+Inf\"", 2);
        metrics_created(writer, "", 60000);
        metrics_end(writer);
}

static void expect_text(enum metrics_format format, const char *expected) {
        char *text;
        size_t bytes;
        struct metrics_writer writer = {.out = open_memstream(&text, &bytes), .format = format};
        write_all(&writer);
        fclose(writer.out);
        cr_expect_str_eq(text, expected);
        free(text);
}

Test(metrics_writer, writes_openmetrics) {
        expect_text(METRICS_OPENMETRICS, "# HELP clients Who is there.\n"
                                         "# TYPE clients gauge\n"
                                         "clients 18446744073709551615\n"
                                         "clients{order=\"3\"} -0.25\n"
                                         "# HELP grants_bytes Bytes that were granted.\n"
                                         "# TYPE grants_bytes counter\n"
                                         "# UNIT grants_bytes bytes\n"
                                         "grants_bytes_total{pool=\"a\"} 7\n"
                                         "grants_bytes_created{pool=\"a\"} 1.001\n"
                                         "grants_bytes_total{pool=\"b\"} 8\n"
                                         "# HELP took_seconds How long.\n"
                                         "# TYPE took_seconds histogram\n"
                                         "# UNIT took_seconds seconds\n"
                                         "took_seconds_bucket{le=\"+Inf\"} 2\n"
                                         "took_seconds_created 60.000\n"
                                         "# EOF\n");
}

Test(metrics_writer, writes_the_older_text) {
        expect_text(METRICS_PROMETHEUS, "# HELP clients Who is there.\n"
                                        "# TYPE clients gauge\n"
                                        "clients 18446744073709551615\n"
                                        "clients{order=\"3\"} -0.25\n"
                                        "# HELP grants_bytes_total Bytes that were granted.\n"
                                        "# TYPE grants_bytes_total counter\n"
                                        "grants_bytes_total{pool=\"a\"} 7\n"
                                        "grants_bytes_total{pool=\"b\"} 8\n"
                                        "# HELP took_seconds How long.\n"
                                        "# TYPE took_seconds histogram\n"
                                        "took_seconds_bucket{le=\"+Inf\"} 2\n");
}

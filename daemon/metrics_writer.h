/* Lines of metrics, as OpenMetrics 1.0 or as Prometheus' older text. The two differ in what a family of counters is
 * called, and the older one knows neither units nor times of creation. Labels come ready made; what is in
 * them needs no escape. Whether everything was written the stream tells at its end. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "proto/message.h"

enum metric_type {
        METRIC_GAUGE,
        METRIC_COUNTER,
        METRIC_HISTOGRAM,
};

struct metric_family {
        const char *name; /* without _total */
        enum metric_type type;
        const char *unit; /* the end of the name; NULL: none */
        const char *help;
};

struct metrics_writer {
        FILE *out;
        enum metrics_format format;
        const struct metric_family *family;
};

/* Begins a family: all its samples follow. */
void metrics_family(struct metrics_writer *writer, const struct metric_family *family);

/* One sample of it. labels: a="b",c="d", or empty. */
void metrics_integer(
        struct metrics_writer *writer, const char *suffix, const char *labels, uint64_t value);
void metrics_number(
        struct metrics_writer *writer, const char *suffix, const char *labels, double value);

/* When what counts these labels began; milliseconds of the wall clock. */
void metrics_created(struct metrics_writer *writer, const char *labels, uint64_t wall_ms);

/* A counter's value, and when it began; 0: before this daemon. */
void metrics_counter(
        struct metrics_writer *writer, const char *labels, uint64_t value, uint64_t created_ms);

/* Ends the text. */
void metrics_end(struct metrics_writer *writer);

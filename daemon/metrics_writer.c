/* See metrics_writer.h. */
#include "metrics_writer.h"

#include <inttypes.h>
#include <stdbool.h>

static const char *type_name(enum metric_type type) {
        switch (type) {
        case METRIC_COUNTER:
                return "counter";
        case METRIC_HISTOGRAM:
                return "histogram";
        case METRIC_GAUGE:
                break;
        }
        return "gauge";
}

void metrics_family(struct metrics_writer *writer, const struct metric_family *family) {
        writer->family = family;
        /* In the older text a family is called as its samples are. */
        bool sample_name = writer->format == METRICS_PROMETHEUS && family->type == METRIC_COUNTER;
        const char *ending = sample_name ? "_total" : "";
        fprintf(writer->out, "# HELP %s%s %s\n# TYPE %s%s %s\n", family->name, ending, family->help,
                family->name, ending, type_name(family->type));
        if (family->unit && writer->format == METRICS_OPENMETRICS)
                fprintf(writer->out, "# UNIT %s %s\n", family->name, family->unit);
}

static void metrics_name(struct metrics_writer *writer, const char *suffix, const char *labels) {
        fprintf(writer->out, *labels ? "%s%s{%s} " : "%s%s%s ", writer->family->name, suffix,
                labels);
}

void metrics_integer(
        struct metrics_writer *writer, const char *suffix, const char *labels, uint64_t value) {
        metrics_name(writer, suffix, labels);
        fprintf(writer->out, "%" PRIu64 "\n", value);
}

void metrics_number(
        struct metrics_writer *writer, const char *suffix, const char *labels, double value) {
        metrics_name(writer, suffix, labels);
        fprintf(writer->out, "%.12g\n", value);
}

void metrics_created(struct metrics_writer *writer, const char *labels, uint64_t wall_ms) {
        if (writer->format == METRICS_PROMETHEUS)
                return;
        metrics_name(writer, "_created", labels);
        fprintf(writer->out, "%" PRIu64 ".%03" PRIu64 "\n", wall_ms / 1000, wall_ms % 1000);
}

void metrics_counter(
        struct metrics_writer *writer, const char *labels, uint64_t value, uint64_t created_ms) {
        metrics_integer(writer, "_total", labels, value);
        if (created_ms)
                metrics_created(writer, labels, created_ms);
}

void metrics_end(struct metrics_writer *writer) {
        if (writer->format == METRICS_OPENMETRICS)
                fputs("# EOF\n", writer->out);
}

/* Prints medians over the rounds. A ratio is the median of the ratios of each round, as the speed of a CPU changes
 * meanwhile. */
#include <stdio.h>
#include <string.h>

#include "bench_meter.h"
#include "choices_result.h"

static const char *const use_names[USES] = {
        "one process, one thread",
        "two threads of one process, two CPUs",
        "two processes, two CPUs",
};
static const char *const use_keys[USES] = {"one_process", "two_threads", "two_processes"};
static const char *const size_names[SIZES] = {"4 KiB", "64 KiB", "1 MiB"};

/* One case of a choice. */
struct cell {
        unsigned choice;
        enum use use;
        unsigned size;
};

static bool is_measured(const struct choices_result *result, struct cell cell) {
        return result->is_measured[cell.choice][cell.use][cell.size];
}

static const double *rounds_of(const struct choices_result *result, struct cell cell) {
        return result->ns[cell.choice][cell.use][cell.size];
}

static double middle(const struct choices_result *result, struct cell cell) {
        double values[ROUNDS_MAX];
        memcpy(values, rounds_of(result, cell), result->rounds * sizeof(values[0]));
        return median(values, result->rounds);
}

static double ratio(const struct choices_result *result, struct cell cell, struct cell floor) {
        double values[ROUNDS_MAX];
        for (unsigned i = 0; i < result->rounds; i++)
                values[i] = rounds_of(result, cell)[i] / rounds_of(result, floor)[i];
        return median(values, result->rounds);
}

static struct cell buddyd_beside(struct cell cell) {
        cell.choice = CHOICES_BUDDYD;
        return cell;
}

static void print_cell(const struct choices_result *result, struct cell cell) {
        if (!is_measured(result, cell)) {
                printf(" %22s", "not measured");
                return;
        }
        printf(" %12.1f", middle(result, cell));
        if (cell.choice != CHOICES_BUDDYD && is_measured(result, buddyd_beside(cell)))
                printf(" %7.2f x", ratio(result, buddyd_beside(cell), cell));
        else
                printf(" %9s", "");
}

static bool has_use(const struct choices_result *result, unsigned choice, enum use use) {
        bool any = false;
        for (unsigned size = 0; size < SIZES; size++)
                any = any || result->is_measured[choice][use][size];
        return any && !choices[choice]->is_floor;
}

static void print_use(const struct choices_result *result, enum use use) {
        if (!has_use(result, CHOICES_BUDDYD, use))
                return;
        printf("\n%-38s", use_names[use]);
        for (unsigned size = 0; size < SIZES; size++)
                printf(" %12s %9s", size_names[size], "");
        putchar('\n');
        for (unsigned choice = 0; choice < choices_count; choice++) {
                if (!has_use(result, choice, use))
                        continue;
                printf("  %-36s", choices[choice]->name);
                for (unsigned size = 0; size < SIZES; size++)
                        print_cell(result, (struct cell){choice, use, size});
                putchar('\n');
        }
}

static void print_floors(const struct choices_result *result) {
        puts("\nfloors");
        for (unsigned choice = 0; choice < choices_count; choice++) {
                struct cell cell = {choice, USE_ONE_PROCESS, 0};
                if (!choices[choice]->is_floor || !is_measured(result, cell))
                        continue;
                printf("  %-36s %12.1f\n", choices[choice]->name, middle(result, cell));
        }
}

void choices_print_table(const struct choices_result *result) {
        puts("ns of a pair of alloc and release; x: buddyd's pair as a multiple of that one");
        for (unsigned use = 0; use < USES; use++)
                print_use(result, (enum use)use);
        print_floors(result);
        putchar('\n');
        for (unsigned choice = 0; choice < choices_count; choice++)
                if (result->why[choice][0] != '\0')
                        printf("not measured: %s: %s\n", choices[choice]->name,
                                result->why[choice]);
        if (result->cpus[0] == result->cpus[1])
                puts("not measured: two CPUs: this process has one");
        printf("medians of %u interleaved rounds, slices of %u ms; with one process the daemon is "
               "on its CPU\n",
                result->rounds, result->slice_ms);
}

static void json_ratio(
        const struct choices_result *result, const char *key, struct cell cell, struct cell floor) {
        if (is_measured(result, cell) && is_measured(result, floor))
                printf(", \"%s\": %.4f", key, ratio(result, cell, floor));
        else
                printf(", \"%s\": null", key);
}

static void json_pair(const struct choices_result *result, struct cell cell, bool comma) {
        printf("%s\n  {\"allocator\": \"%s\", \"use\": \"%s\", \"bytes\": %llu, \"ns\": %.2f",
                comma ? "," : "", choices[cell.choice]->name, use_keys[cell.use],
                (unsigned long long)sizes[cell.size], middle(result, cell));
        json_ratio(result, "buddyd_ratio", buddyd_beside(cell), cell);
        printf("}");
}

static void json_pairs(const struct choices_result *result) {
        bool comma = false;
        printf("\"pairs\": [");
        for (unsigned i = 0; i < choices_count * USES * SIZES; i++) {
                struct cell cell = {i / (USES * SIZES), (enum use)(i / SIZES % USES), i % SIZES};
                if (choices[cell.choice]->is_floor || !is_measured(result, cell))
                        continue;
                json_pair(result, cell, comma);
                comma = true;
        }
        printf("],\n");
}

static void json_floors(const struct choices_result *result) {
        const char *comma = "";
        printf(" \"floors\": [");
        for (unsigned choice = 0; choice < choices_count; choice++) {
                struct cell cell = {choice, USE_ONE_PROCESS, 0};
                if (!choices[choice]->is_floor || !is_measured(result, cell))
                        continue;
                printf("%s{\"floor\": \"%s\", \"ns\": %.2f}", comma, choices[choice]->name,
                        middle(result, cell));
                comma = ", ";
        }
        printf("],\n");
}

static void json_missing(const struct choices_result *result) {
        const char *comma = "";
        printf(" \"missing\": [");
        for (unsigned choice = 0; choice < choices_count; choice++) {
                if (result->why[choice][0] == '\0')
                        continue;
                printf("%s\"%s\"", comma, choices[choice]->name);
                comma = ", ";
        }
        printf("]");
}

void choices_print_json(const struct choices_result *result) {
        printf("{\"rounds\": %u, \"slice_ms\": %u, ", result->rounds, result->slice_ms);
        json_pairs(result);
        json_floors(result);
        json_missing(result);
        puts("}");
}

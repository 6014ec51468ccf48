/* What was measured, and how it is printed. */
#pragma once

#include "choices.h"
#include "choices_worker.h"

#define ROUNDS_MAX 99u
#define SIZES      3u

enum use { USE_ONE_PROCESS, USE_TWO_THREADS, USE_TWO_PROCESSES, USES };

extern const uint64_t sizes[SIZES];

struct choices_result {
        /* ns of a pair, in each thread or process; only where is_measured. A floor has one size and use. */
        double ns[CHOICES_MAX][USES][SIZES][ROUNDS_MAX];
        bool is_measured[CHOICES_MAX][USES][SIZES];
        char why[CHOICES_MAX][WHY_BYTES]; /* a choice is missing; empty: it is not */
        unsigned rounds;
        unsigned slice_ms;
        int cpus[2];
};

void choices_print_table(const struct choices_result *result);
void choices_print_json(const struct choices_result *result);

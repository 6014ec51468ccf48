#include "bench_meter.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

#define YARDSTICK_EVERY 4u
#define YARDSTICK_PAIRS 400u

double clock_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int compare_doubles(const void *a, const void *b) {
        double x = *(const double *)a;
        double y = *(const double *)b;
        return (x > y) - (x < y);
}

double median(double *values, size_t count) {
        if (count == 0)
                return 0;
        qsort(values, count, sizeof *values, compare_doubles);
        return values[count / 2];
}

/* Fills the holes that the program's start left in the heap: a block that comes from one of them costs twice
 * as much as one from its end, and the yardstick is the faster of the two. */
static void plug_heap(void) {
        static void *plugs[64];
        for (size_t i = 0; i < sizeof plugs / sizeof *plugs && !plugs[i]; i++)
                plugs[i] = malloc(4096);
}

double yardstick_slice(void) {
        plug_heap();
        double started_ns = clock_ns();
        for (unsigned i = 0; i < YARDSTICK_PAIRS; i++) {
                void *volatile pointer = malloc(4096); /* volatile: or the pair is optimised away */
                free(pointer);
        }
        return (clock_ns() - started_ns) / YARDSTICK_PAIRS;
}

void meter_reset(struct meter *meter) {
        meter->slice_count = 0;
        meter->yardstick_count = 0;
}

void meter_start(struct meter *meter) {
        if (meter->slice_count % YARDSTICK_EVERY == 0)
                meter->yardsticks[meter->yardstick_count++ % METER_SLICES_MAX] = yardstick_slice();
        meter->started_ns = clock_ns();
}

void meter_stop(struct meter *meter, size_t operations) {
        double elapsed_ns = clock_ns() - meter->started_ns;
        meter->slices[meter->slice_count++ % METER_SLICES_MAX] = elapsed_ns / (double)operations;
}

static size_t at_most(size_t count) {
        return count < METER_SLICES_MAX ? count : METER_SLICES_MAX;
}

struct measure meter_result(struct meter *meter) {
        double yardstick_ns = median(meter->yardsticks, at_most(meter->yardstick_count));
        double ns = median(meter->slices, at_most(meter->slice_count));
        return (struct measure){.ns = ns, .ratio = ns / yardstick_ns};
}

void pin_thread(unsigned cpu) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        sched_setaffinity(0, sizeof set, &set);
}

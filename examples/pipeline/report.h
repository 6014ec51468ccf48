/* What one run did: counted by the reader, printed by the supervisor. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "options.h"

struct report {
        uint64_t files;           /* in the table */
        uint64_t unreadable;      /* files and folders that are not */
        uint64_t links, specials; /* skipped */
        uint64_t bytes;           /* of the files in the table */
        uint64_t compressed_bytes;
        uint64_t ranges;     /* granted */
        uint64_t waits;      /* allocations that had to wait … */
        uint64_t waited_us;  /* … and for how long in all */
        uint64_t peak_bytes; /* most bytes of the pool that were held at once */
        uint64_t pool_bytes;
        uint64_t repeats; /* files done again because their worker was lost … */
        uint64_t rereads; /* … of which had to be read again */
        uint64_t elapsed_us;
};

/* Microseconds of the monotonic clock. */
uint64_t report_clock_us(void);

/* Bytes as MiB. */
double report_mib(uint64_t bytes);

/* Prints the report, and what the pool says of itself now that nobody of this run is left. 0, or -errno if the pool
 * cannot be asked. */
int report_print(
        FILE *out, const struct report *report, const struct options *options, unsigned restarts);

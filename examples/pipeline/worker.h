/* A worker process: computes SHA-256 and compressed size of the files whose ranges it is sent. A range that
 * it is sent is its own; when it is done with it, it gives it to the writer. If it dies, its ranges are free. */
#pragma once

#include "options.h"

struct worker_links { /* the descriptors are owned by the process */
        int reader;   /* pieces in */
        int results;  /* to the writer */
        unsigned slot;
        uint32_t inlet; /* the writer, as the peer that this worker's ranges are given to */
};

/* Works until the reader has no more. Returns the process's exit code. */
int worker_run(const struct options *options, const struct worker_links *links);

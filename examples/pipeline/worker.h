/* A worker process: computes SHA-256 and compressed size of the files whose ranges it is sent. It reads the
 * pool and holds nothing of it, so that its death costs nothing but the work in hand. */
#pragma once

#include "options.h"

struct worker_links { /* descriptors; owned by the process */
        int reader;   /* pieces in, consumed pieces out */
        int results;  /* to the writer */
};

/* Works until the reader has no more. Returns the process's exit code. */
int worker_run(const struct options *options, const struct worker_links *links);

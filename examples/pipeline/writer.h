/* The writer process: collects the table, and releases the ranges that the workers give it. A file whose result comes twice (its first worker was lost after all was
 * done) is in it once. */
#pragma once

#include "options.h"

struct writer_links { /* descriptors; owned by the process */
        int results;  /* from the workers */
        int settled;  /* to the reader */
        int inlets;   /* to the supervisor */
};

/* Works until no worker is left. Returns the process's exit code. */
int writer_run(const struct options *options, const struct writer_links *links);

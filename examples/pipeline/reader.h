/* The reader process. It alone holds ranges. Two threads: the filler (the process's first thread) walks the folder,
 * takes ranges and reads into them; the courier carries records to and from the other processes and returns
 * ranges. The filler may wait for memory because the courier, which never waits for memory, gives it back. */
#pragma once

#include "options.h"

struct reader_links { /* descriptors; owned by the process */
        int control;  /* to the supervisor */
        int settled;  /* from the writer */
};

/* Runs the reader. Returns the process's exit code. */
int reader_run(const struct options *options, const struct reader_links *links);

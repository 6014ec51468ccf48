/* The supervisor: the process that was called. It starts reader, writer and workers, replaces workers that die
 * of a signal, ends all of them when one of the others fails, and prints the report. */
#pragma once

#include "options.h"

/* Runs it all. Returns the exit code. */
int supervisor_run(const struct options *options);

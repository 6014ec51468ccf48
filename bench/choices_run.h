/* Measures all choices in all uses, in rounds. */
#pragma once

#include "choices_daemon.h"
#include "choices_result.h"

/* 0; -1: interrupted, or a process failed, and stderr says so. result->rounds, slice_ms and cpus are set. */
int choices_run(const struct choices_daemon *daemon, struct choices_result *result);

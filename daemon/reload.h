/* The config file read again while the daemon runs: what may change under running clients is applied, and what may not is told. */
#pragma once

#include "settings.h"

struct serving;

/* Compares what is asked for now with what is served, applies admin-group, trim-after, grace, keep and limits, and logs each difference. On the
 * main thread. */
void reload_apply(struct serving *serving, const struct settings *asked);

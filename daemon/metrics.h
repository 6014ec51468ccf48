/* All that the daemon tells to monitoring, as one text: of itself and of each of its pools, per order and per uid,
 * never per process. Counters only rise as long as the daemon lives. What the names mean is in buddyd-metrics(7). */
#pragma once

#include <stddef.h>

#include "proto/message.h"

struct connection;
struct worker;

/* Renders it: of the pools that the peer of this connection is admitted to; NULL: of all. For a worker's thread. The caller frees *text, which ends with NUL behind its bytes. -ENOMEM. */
int metrics_render(struct worker *worker, enum metrics_format format,
        const struct connection *viewer, char **text, size_t *bytes);

/* Connecting a process of the pipeline to the pool. */
#pragma once

#include <stdbool.h>

#include <buddyclient.h>

#include "options.h"

/* A connected client, the caller's to destroy; name is what operators see. 0, or -errno after one line on standard
 * error. */
int pool_connect(
        const struct options *options, const char *name, bool read_only, struct buddyclient **out);

/* One line on standard error: what failed, and the library's reason. */
void pool_complain(const char *what, struct buddyclient *client, int error);

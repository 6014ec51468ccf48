/* The daemon's metrics, fetched page by page. No state of its own. */
#pragma once

#include "observer.h"

/* A growing text. */
struct metrics_text {
        char *bytes; /* owned; NULL while empty */
        size_t length;
};

/* Fetches all pages. 0; > 0: the daemon's refusal, an enum status; -errno of observer.h. In either case but 0 nothing is left
 * to free. */
int metrics_fetch(struct observer *observer, enum metrics_format format, struct metrics_text *out);

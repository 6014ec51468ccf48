/* A pool of 1 MiB with two clients: one that submits, without a cache, and a peer. */
#pragma once

#include "outcome.h"

#define STAGE_BYTES MIB

struct stage {
        struct scene scene;
        struct buddyclient *client, *peer;
};

void stage_open(struct stage *stage);

/* Nothing may be held any more. */
void stage_close(struct stage *stage);

/* What the client is granted and gives back while the test waits. */
struct buddyclient_range stage_grant(struct stage *stage, uint64_t length);
void stage_return(struct stage *stage, const struct buddyclient_range *range);

/* Nothing has been changed by what was refused, and this alone is held; then the stage is closed. */
void stage_expect_untouched(struct stage *stage, const struct buddyclient_range *held);

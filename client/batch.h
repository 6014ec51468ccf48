/* Ranges of a caller as the wire names them, in memory that a request may point at. Few of them
 * need no heap. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "buddyclient.h"
#include "proto/message.h"

#define BATCH_FEW 16u

struct batch {
        uint64_t *places; /* owned unless few_places */
        uint32_t *generations;
        size_t count;
        uint64_t few_places[BATCH_FEW];
        uint32_t few_generations[BATCH_FEW];
};

/* At most MESSAGE_BATCH_MAX ranges. -EINVAL: no pool has such a range; -ENOMEM. Refused with words;
 * after a failure there is nothing to deinit. The batch must not move. */
int batch_init(struct batch *batch, const struct buddyclient *client,
        const struct buddyclient_range *ranges, size_t count);
void batch_deinit(struct batch *batch);

/* The batch as a request has it. */
struct message_ranges batch_ranges(const struct batch *batch);

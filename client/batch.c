/* See batch.h. */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>

#include "client.h"

static int take_memory(struct batch *batch, size_t count) {
        batch->places = batch->few_places;
        batch->generations = batch->few_generations;
        batch->count = count;
        if (count <= BATCH_FEW)
                return 0;
        batch->places = calloc(count, sizeof(*batch->places));
        batch->generations = calloc(count, sizeof(*batch->generations));
        if (batch->places && batch->generations)
                return 0;
        batch_deinit(batch);
        return -ENOMEM;
}

int batch_init(struct batch *batch, const struct buddyclient *client,
        const struct buddyclient_range *ranges, size_t count) {
        int rc = take_memory(batch, count);
        if (rc < 0)
                return client_refuse(client, rc, "no memory left in this process");
        for (size_t i = 0; i < count; i++) {
                rc = client_place(client, &ranges[i], &batch->places[i], &batch->generations[i]);
                if (rc < 0) {
                        batch_deinit(batch);
                        return client_refuse_range(client, &ranges[i], rc);
                }
        }
        return 0;
}

void batch_deinit(struct batch *batch) {
        if (batch->places != batch->few_places)
                free(batch->places);
        if (batch->generations != batch->few_generations)
                free(batch->generations);
        batch->places = NULL;
        batch->generations = NULL;
}

struct message_ranges batch_ranges(const struct batch *batch) {
        return (struct message_ranges){batch->places, batch->generations, batch->count};
}

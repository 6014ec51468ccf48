/* buddyd, by its public header: a client as it is unless set otherwise, and one without a cache. */
#include <stdlib.h>

#include "choices.h"
#include "client/buddyclient.h"

static struct buddyclient *client; /* this process's; lives as long as the process */

static int open_client(const struct choices_place *place, bool cached, const char **why) {
        int error = buddyclient_new(&client);
        if (error == 0)
                error = buddyclient_set_socket(client, place->socket);
        if (error == 0)
                error = buddyclient_set_pool(client, place->pool);
        if (error == 0 && !cached)
                error = buddyclient_set_cache_bytes(client, 0);
        if (error == 0)
                error = buddyclient_connect(client);
        *why = buddyclient_strerror(error);
        return error == 0 ? 0 : -1;
}

static int buddyd_open(const struct choices_place *place, const char **why) {
        return open_client(place, true, why);
}

static int uncached_open(const struct choices_place *place, const char **why) {
        return open_client(place, false, why);
}

static int buddyd_pairs(uint64_t bytes, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
                struct buddyclient_range range;
                if (buddyclient_alloc(client, bytes, &range) != 0 ||
                        buddyclient_release(client, &range) != 0)
                        return -1;
        }
        return 0;
}

const struct choice choice_buddyd = {
        .name = "buddyd", .is_shared = true, .open = buddyd_open, .pairs = buddyd_pairs};

const struct choice choice_buddyd_uncached = {.name = "buddyd without cache",
        .is_shared = true,
        .open = uncached_open,
        .pairs = buddyd_pairs};

/* Where the pool is in this process. These work in a forked child too: the mapping is inherited. */
#include <stddef.h>

#include "client.h"

void *buddyclient_base(struct buddyclient *client) {
        return client && client->connected ? client->mapping.base : NULL;
}

uint64_t buddyclient_size(struct buddyclient *client) {
        return client ? atomic_load_explicit(&client->size_bytes, memory_order_relaxed) : 0;
}

uint64_t buddyclient_page_size(struct buddyclient *client) {
        return client ? client->page_bytes : 0;
}

void *buddyclient_pointer(struct buddyclient *client, const struct buddyclient_range *range) {
        uint64_t end;
        if (!client || !client->connected || !range || range->length == 0 ||
                __builtin_add_overflow(range->offset, range->length, &end) ||
                !mapping_covers(&client->mapping, end))
                return NULL;
        return client->mapping.base + range->offset;
}

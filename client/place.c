/* Ranges as the wire names them, and as the table of holdings has them. */
#include <errno.h>

#include "client.h"

#define PLACE_ORDER_MASK UINT64_C(0xfff)

static bool is_power_of_two(uint64_t value) {
        return value != 0 && (value & (value - 1)) == 0;
}

int client_place(const struct buddyclient *client, const struct buddyclient_range *range,
        uint64_t *place, uint32_t *generation) {
        if (!is_power_of_two(range->length) || range->length < client->page_bytes ||
                (range->offset & PLACE_ORDER_MASK) != 0 || range->generation >> 56 != 0)
                return -EINVAL;
        unsigned order =
                (unsigned)(__builtin_ctzll(range->length) - __builtin_ctzll(client->page_bytes));
        *place = range->offset | order;
        *generation = (uint32_t)range->generation;
        return 0;
}

int client_range(const struct buddyclient *client, uint64_t place, uint32_t generation,
        struct buddyclient_range *out) {
        uint64_t order = place & PLACE_ORDER_MASK;
        uint64_t offset = place & ~PLACE_ORDER_MASK;
        if (order >= MESSAGE_ORDERS_MAX || client->page_bytes > client->max_size_bytes >> order)
                return -EPROTO;
        uint64_t length = client->page_bytes << order;
        if (generation == 0 || (offset & (length - 1)) != 0 ||
                offset > client->max_size_bytes - length)
                return -EPROTO;
        *out = (struct buddyclient_range){offset, length, generation};
        return 0;
}

int client_refuse_range(
        const struct buddyclient *client, const struct buddyclient_range *range, int error) {
        return client_refuse(client, error,
                error == -ESTALE ? "the range at %llu of %llu bytes, generation %llu, is not held"
                                 : "%llu, %llu bytes, generation %llu: no pool has such a range",
                (unsigned long long)range->offset, (unsigned long long)range->length,
                (unsigned long long)range->generation);
}

struct holding client_holding(
        const struct buddyclient *client, uint64_t place, uint32_t generation) {
        return (struct holding){
                .offset = place & ~PLACE_ORDER_MASK,
                .length = client->page_bytes << (place & PLACE_ORDER_MASK),
                .generation = generation,
        };
}

void client_forget(struct buddyclient *client, const struct message_ranges *ranges) {
        holdings_lock(&client->holdings);
        for (size_t i = 0; i < ranges->count; i++) {
                struct holding holding =
                        client_holding(client, ranges->places[i], ranges->generations[i]);
                holdings_drop_locked(&client->holdings, &holding);
        }
        holdings_unlock(&client->holdings);
}

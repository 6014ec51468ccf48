/* Taking ranges. The daemon decides; what is refused here is only what could not be asked, or what
 * it would refuse in the same way. */
#include <errno.h>
#include <string.h>

#include "cache_slot.h"
#include "giveback.h"
#include "taking.h"

/* What the daemon granted as ranges of at least the length that was asked for. */
static int granted_range(const struct taking *taking, const struct message_ranges *ranges, size_t i,
        struct buddyclient_range *out) {
        int rc = client_range(taking->client, ranges->places[i], ranges->generations[i], out);
        if (rc < 0)
                return rc;
        return out->length >= taking->length &&
                               mapping_covers(&taking->client->mapping, out->offset + out->length)
                       ? 0
                       : -EPROTO;
}

/* Whether the cache counts it. */
static bool is_cached(const struct taking *taking, const struct buddyclient_range *range) {
        return taking->granted && cache_may_count(&taking->client->cache, range);
}

/* The holdings' lock is held. */
static int record_granted(struct taking *taking, const struct message_ranges *ranges, size_t i) {
        struct buddyclient_range range;
        int rc = granted_range(taking, ranges, i, &range);
        if (rc < 0)
                return rc;
        if (is_cached(taking, &range))
                return 0;
        struct holding holding = {
                .offset = range.offset,
                .length = range.length,
                .generation = (uint32_t)range.generation,
                .use = taking->use,
        };
        rc = holdings_add_locked(&taking->client->holdings, &holding);
        if (rc == 0)
                taking->recorded++;
        return rc;
}

static void unrecord_granted(struct taking *taking, const struct message_ranges *ranges) {
        for (size_t i = 0; i < taking->recorded; i++) {
                struct holding holding =
                        client_holding(taking->client, ranges->places[i], ranges->generations[i]);
                holdings_drop_locked(&taking->client->holdings, &holding);
        }
}

/* All or none. */
static int record_all(struct taking *taking, const struct message_ranges *ranges) {
        struct holdings *holdings = &taking->client->holdings;
        int rc = 0;
        holdings_lock(holdings);
        for (size_t i = 0; rc == 0 && i < taking->count; i++)
                rc = record_granted(taking, ranges, i);
        if (rc < 0)
                unrecord_granted(taking, ranges);
        holdings_unlock(holdings);
        return rc;
}

static struct buddyclient_range range_of(
        const struct buddyclient *client, const struct message_ranges *ranges, size_t i) {
        struct holding holding = client_holding(client, ranges->places[i], ranges->generations[i]);
        return (struct buddyclient_range){holding.offset, holding.length, holding.generation};
}

/* What there is no room for goes back; the channel's lock is held. Without memory for that it stays ours, unused, until the end
 * or the next time that the connection is made. */
static int keep_spares(struct taking *taking, const struct message_ranges *ranges) {
        struct buddyclient *client = taking->client;
        struct buddyclient_range spare;
        for (size_t i = taking->count; i < ranges->count; i++) {
                if (granted_range(taking, ranges, i, &spare) < 0)
                        return -EPROTO;
                if (cache_keep_spare(&client->cache, &spare))
                        continue;
                late_owe_copy(&client->channel.late,
                        &(struct message_ranges){&ranges->places[i], &ranges->generations[i], 1},
                        false);
        }
        return 0;
}

/* Writes the outputs only when nothing can fail any more. */
int taking_accept_ranges(void *context, const struct reply *reply) {
        struct taking *taking = context;
        const struct message_ranges *ranges = &reply->ranges;
        if (reply->kind != REPLY_RANGES || ranges->count < taking->count ||
                ranges->count - taking->count > taking->spare_max || record_all(taking, ranges) < 0)
                return -EPROTO;
        for (size_t i = 0; i < taking->count; i++) {
                taking->out[i] = range_of(taking->client, ranges, i);
                if (is_cached(taking, &taking->out[i]))
                        cache_note_granted(&taking->client->cache, &taking->out[i]);
        }
        return keep_spares(taking, ranges);
}

/* What a lookup found, under the name that it was published by. */
int taking_accept_range(void *context, const struct reply *reply) {
        struct taking *taking = context;
        struct buddyclient_range range = {
                reply->range.offset, reply->range.length, reply->range.generation};
        uint64_t place;
        uint32_t generation;
        taking->use = (uint32_t)(range.generation >> 32);
        if (taking->use == 0) /* a lookup whose reply was lost brings the daemon's name */
                taking->use = HOLDING_ANY_USE;
        if (reply->kind != REPLY_RANGE ||
                client_place(taking->client, &range, &place, &generation) < 0 ||
                record_all(taking, &(struct message_ranges){&place, &generation, 1}) < 0)
                return -EPROTO;
        *taking->out = range;
        return 0;
}

int taking_accept_done(void *context, const struct reply *reply) {
        struct taking *taking = context;
        struct message_ranges attached = batch_ranges(taking->batch);
        return reply->kind == REPLY_DONE && record_all(taking, &attached) == 0 ? 0 : -EPROTO;
}

int taking_exchange(struct taking *taking, struct request *request, call_accept *accept) {
        struct buddyclient *client = taking->client;
        int rc = holdings_reserve(&client->holdings, taking->count);
        if (rc < 0)
                return client_refuse(client, rc, "no memory left in this process");
        struct call call;
        call_init(&call, accept, taking, taking->batch);
        rc = client_exchange(client, request, &call);
        if (taking->recorded < taking->count)
                holdings_unreserve(&client->holdings, taking->count - taking->recorded);
        return rc;
}

static int alloc_ranges(struct buddyclient *client, const struct request_alloc *alloc,
        struct buddyclient_range *out) {
        struct taking taking = {.client = client,
                .length = alloc->length,
                .count = alloc->count,
                .spare_max = alloc->spare,
                .granted = true,
                .out = out};
        struct request request = {.kind = REQUEST_ALLOC, .alloc = *alloc};
        return taking_exchange(&taking, &request, taking_accept_ranges);
}

struct request_alloc taking_refill(
        struct buddyclient *client, uint64_t length, size_t count, size_t wanted) {
        struct cache_shift shift =
                cache_missed(&client->cache, cache_order(&client->cache, length), wanted);
        client_uncache_orders(client, shift.emptied);
        return (struct request_alloc){
                .length = length, .count = (uint32_t)count, .spare = shift.spare};
}

void taking_refilled(struct buddyclient *client, const struct request_alloc *alloc) {
        if (alloc->spare > 0)
                cache_refilled(&client->cache, cache_order(&client->cache, alloc->length));
}

/* Of an order of which the cache had too few, of `wanted` in all: these, and some more for the next times. */
static int alloc_and_refill(struct buddyclient *client, const struct request_alloc *missing,
        size_t wanted, struct buddyclient_range *out) {
        struct request_alloc alloc = taking_refill(client, missing->length, missing->count, wanted);
        int rc = alloc_ranges(client, &alloc, out);
        taking_refilled(client, &alloc);
        return rc;
}

int taking_check(const struct buddyclient *client, uint64_t length, size_t count) {
        if (length == 0)
                return client_refuse(client, -EINVAL, "a length of 0 bytes");
        if (count == 0 || count > MESSAGE_BATCH_MAX)
                return client_refuse(client, -EINVAL,
                        "%zu ranges in one request: 1 to %u can be had", count, MESSAGE_BATCH_MAX);
        return 0;
}

static int check_taking(const struct buddyclient *client, uint64_t length, size_t count,
        const struct buddyclient_range *out) {
        int rc = client_usable(client);
        if (rc < 0)
                return rc;
        if (!out)
                return client_refuse(client, -EINVAL, "no place for the result");
        return taking_check(client, length, count);
}

int buddyclient_alloc(struct buddyclient *client, uint64_t length, struct buddyclient_range *out) {
        if (client && out && process_mark_is_mine(&client->mark) &&
                cache_serves(&client->cache, length)) {
                if (cache_take(&client->cache, length, 1, out) == 1)
                        return 0;
                if (cache_is_open(&client->cache))
                        return alloc_and_refill(client,
                                &(struct request_alloc){.length = length, .count = 1}, 1, out);
        }
        int rc = check_taking(client, length, 1, out);
        if (rc < 0)
                return rc;
        struct request_alloc alloc = {.length = length, .count = 1};
        return alloc_ranges(client, &alloc, out);
}

int buddyclient_alloc_wait(struct buddyclient *client, uint64_t length, int timeout_ms,
        struct buddyclient_range *out) {
        int rc = check_taking(client, length, 1, out);
        if (rc < 0)
                return rc;
        if (timeout_ms < -1)
                return client_refuse(client, -EINVAL, "a timeout of %d ms", timeout_ms);
        struct request_alloc alloc = {
                .length = length, .count = 1, .wait = true, .timeout_ms = timeout_ms};
        return alloc_ranges(client, &alloc, out);
}

bool taking_all_cached(
        struct buddyclient *client, uint64_t length, size_t count, struct buddyclient_range *out) {
        struct buddyclient_range taken[CACHE_SLOTS];
        if (count > CACHE_SLOTS)
                return false;
        size_t had = cache_take(&client->cache, length, count, taken);
        if (had < count)
                giveback_unused(client, taken, had);
        else
                memcpy(out, taken, count * sizeof(*taken));
        return had == count;
}

/* What the cache has, and the rest by a request; all or none. */
static int alloc_many_cached(
        struct buddyclient *client, uint64_t length, size_t count, struct buddyclient_range *out) {
        struct buddyclient_range taken[CACHE_SLOTS];
        size_t most = count < CACHE_SLOTS ? count : CACHE_SLOTS;
        size_t had = cache_take(&client->cache, length, most, taken);
        if (had < count) {
                struct request_alloc missing = {.length = length, .count = (uint32_t)(count - had)};
                int rc = cache_is_open(&client->cache)
                                 ? alloc_and_refill(client, &missing, count, out + had)
                                 : alloc_ranges(client, &missing, out + had);
                if (rc < 0) {
                        buddyclient_release_many(client, taken, had);
                        return rc;
                }
        }
        memcpy(out, taken, had * sizeof(*taken));
        return 0;
}

int buddyclient_alloc_many(
        struct buddyclient *client, uint64_t length, size_t count, struct buddyclient_range *out) {
        int rc = check_taking(client, length, count, out);
        if (rc < 0)
                return rc;
        if (cache_serves(&client->cache, length))
                return alloc_many_cached(client, length, count, out);
        struct request_alloc alloc = {.length = length, .count = (uint32_t)count};
        return alloc_ranges(client, &alloc, out);
}

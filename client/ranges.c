/* Taking ranges. The daemon decides; what is refused here is only what could not be asked, or what
 * it would refuse in the same way. */
#include <errno.h>

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

/* The holdings' lock is held. */
static int record_granted(struct taking *taking, const struct message_ranges *ranges, size_t i) {
        struct buddyclient_range range;
        int rc = granted_range(taking, ranges, i, &range);
        if (rc < 0)
                return rc;
        struct holding holding = {
                .offset = range.offset,
                .length = range.length,
                .generation = (uint32_t)range.generation,
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

/* Writes the outputs only when nothing can fail any more. */
int taking_accept_ranges(void *context, const struct reply *reply) {
        struct taking *taking = context;
        if (reply->kind != REPLY_RANGES || reply->ranges.count != taking->count ||
                record_all(taking, &reply->ranges) < 0)
                return -EPROTO;
        for (size_t i = 0; i < taking->count; i++) {
                struct holding holding = client_holding(
                        taking->client, reply->ranges.places[i], reply->ranges.generations[i]);
                taking->out[i] = (struct buddyclient_range){
                        holding.offset, holding.length, holding.generation};
        }
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
        struct call call = {.accept = accept, .context = taking, .batch = taking->batch};
        rc = client_exchange(client, request, &call);
        if (taking->recorded < taking->count)
                holdings_unreserve(&client->holdings, taking->count - taking->recorded);
        return rc;
}

static int alloc_ranges(struct buddyclient *client, const struct request_alloc *alloc,
        struct buddyclient_range *out) {
        struct taking taking = {
                .client = client, .length = alloc->length, .count = alloc->count, .out = out};
        struct request request = {.kind = REQUEST_ALLOC, .alloc = *alloc};
        return taking_exchange(&taking, &request, taking_accept_ranges);
}

/* What the daemon would refuse in any case. */
static int check_taking(
        const struct buddyclient *client, uint64_t length, const struct buddyclient_range *out) {
        int rc = client_usable(client);
        if (rc < 0)
                return rc;
        if (!out)
                return client_refuse(client, -EINVAL, "no place for the result");
        if (length == 0)
                return client_refuse(client, -EINVAL, "a length of 0 bytes");
        return 0;
}

int buddyclient_alloc(struct buddyclient *client, uint64_t length, struct buddyclient_range *out) {
        int rc = check_taking(client, length, out);
        if (rc < 0)
                return rc;
        struct request_alloc alloc = {.length = length, .count = 1};
        return alloc_ranges(client, &alloc, out);
}

int buddyclient_alloc_wait(struct buddyclient *client, uint64_t length, int timeout_ms,
        struct buddyclient_range *out) {
        int rc = check_taking(client, length, out);
        if (rc < 0)
                return rc;
        if (timeout_ms < -1)
                return client_refuse(client, -EINVAL, "a timeout of %d ms", timeout_ms);
        struct request_alloc alloc = {
                .length = length, .count = 1, .wait = true, .timeout_ms = timeout_ms};
        return alloc_ranges(client, &alloc, out);
}

int buddyclient_alloc_many(
        struct buddyclient *client, uint64_t length, size_t count, struct buddyclient_range *out) {
        int rc = check_taking(client, length, out);
        if (rc < 0)
                return rc;
        if (count == 0 || count > MESSAGE_BATCH_MAX)
                return client_refuse(client, -EINVAL,
                        "%zu ranges in one request: 1 to %u can be had", count, MESSAGE_BATCH_MAX);
        struct request_alloc alloc = {.length = length, .count = (uint32_t)count};
        return alloc_ranges(client, &alloc, out);
}

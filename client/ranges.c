/* Taking and returning ranges. The daemon decides; what is refused here is only what could not be
 * asked, or what it would refuse in the same way. */
#include <errno.h>
#include <stdlib.h>

#include "client.h"

#define PLACE_ORDER_MASK UINT64_C(0xfff)
#define BATCH_ON_STACK   16u

/* ---- Ranges on the wire ---- */

static bool is_power_of_two(uint64_t value) {
        return value != 0 && (value & (value - 1)) == 0;
}

int client_place(const struct buddyclient *client, const struct buddyclient_range *range,
        uint64_t *place, uint32_t *generation) {
        if (!is_power_of_two(range->length) || range->length < client->page_bytes ||
                (range->offset & PLACE_ORDER_MASK) != 0 || range->generation > UINT32_MAX)
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
        if (generation == 0 || offset % length != 0 || offset > client->max_size_bytes - length)
                return -EPROTO;
        *out = (struct buddyclient_range){offset, length, generation};
        return 0;
}

static struct holding holding_of(const struct buddyclient_range *range) {
        return (struct holding){
                .offset = range->offset,
                .length = range->length,
                .generation = (uint32_t)range->generation,
        };
}

/* ---- Taking ---- */

struct grant {
        struct buddyclient *client;
        uint64_t length; /* at least */
        size_t count;
        struct buddyclient_range *out;
        size_t recorded; /* reservations of holdings that were used up */
};

/* What the daemon granted as ranges of at least the length that was asked for. */
static int granted_range(const struct grant *grant, const struct message_ranges *ranges, size_t i,
        struct buddyclient_range *out) {
        int rc = client_range(grant->client, ranges->places[i], ranges->generations[i], out);
        if (rc < 0)
                return rc;
        return out->length >= grant->length &&
                               mapping_covers(&grant->client->mapping, out->offset + out->length)
                       ? 0
                       : -EPROTO;
}

/* The holdings' lock is held. */
static int record_granted(struct grant *grant, const struct message_ranges *ranges, size_t i) {
        struct buddyclient_range range;
        int rc = granted_range(grant, ranges, i, &range);
        if (rc < 0)
                return rc;
        struct holding holding = holding_of(&range);
        rc = holdings_add_locked(&grant->client->holdings, &holding);
        if (rc == 0)
                grant->recorded++;
        return rc;
}

static void unrecord_granted(struct grant *grant, const struct message_ranges *ranges) {
        for (size_t i = 0; i < grant->recorded; i++) {
                struct buddyclient_range range;
                granted_range(grant, ranges, i, &range);
                struct holding holding = holding_of(&range);
                holdings_drop_locked(&grant->client->holdings, &holding);
        }
}

/* All or none. */
static int record_all(struct grant *grant, const struct message_ranges *ranges) {
        struct holdings *holdings = &grant->client->holdings;
        int rc = 0;
        holdings_lock(holdings);
        for (size_t i = 0; rc == 0 && i < grant->count; i++)
                rc = record_granted(grant, ranges, i);
        if (rc < 0)
                unrecord_granted(grant, ranges);
        holdings_unlock(holdings);
        return rc;
}

/* Writes the outputs only when nothing can fail any more. */
static int accept_grant(void *context, const struct reply *reply) {
        struct grant *grant = context;
        if (reply->kind != REPLY_RANGES || reply->ranges.count != grant->count ||
                record_all(grant, &reply->ranges) < 0)
                return -EPROTO;
        for (size_t i = 0; i < grant->count; i++)
                granted_range(grant, &reply->ranges, i, &grant->out[i]);
        return 0;
}

static int take_ranges(struct buddyclient *client, const struct request_alloc *alloc,
        int64_t timeout_ms, struct buddyclient_range *out) {
        int rc = holdings_reserve(&client->holdings, alloc->count);
        if (rc < 0)
                return client_refuse(client, rc, "no memory left in this process");
        struct grant grant = {
                .client = client, .length = alloc->length, .count = alloc->count, .out = out};
        struct request request = {.kind = REQUEST_ALLOC, .alloc = *alloc};
        struct call call = {.accept = accept_grant, .context = &grant};
        rc = client_exchange(client, &request, &call, timeout_ms);
        if (grant.recorded < alloc->count)
                holdings_unreserve(&client->holdings, alloc->count - grant.recorded);
        return rc;
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
        return take_ranges(client, &alloc, client->timeout_ms, out);
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
        int64_t patience_ms = timeout_ms < 0 || client->timeout_ms < 0
                                      ? -1
                                      : (int64_t)timeout_ms + client->timeout_ms;
        return take_ranges(client, &alloc, patience_ms, out);
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
        return take_ranges(client, &alloc, client->timeout_ms, out);
}

/* ---- Returning ---- */

struct giveback {
        struct buddyclient *client;
        const struct buddyclient_range *ranges;
        size_t count;
};

static void forget_ranges(const struct giveback *giveback) {
        struct holdings *holdings = &giveback->client->holdings;
        holdings_lock(holdings);
        for (size_t i = 0; i < giveback->count; i++) {
                struct holding holding = holding_of(&giveback->ranges[i]);
                holdings_drop_locked(holdings, &holding);
        }
        holdings_unlock(holdings);
}

static int accept_release(void *context, const struct reply *reply) {
        if (reply->kind != REPLY_DONE)
                return -EPROTO;
        forget_ranges(context);
        return 0;
}

/* One request. A range whose return the daemon has not confirmed in time counts as returned: it
 * will be, and nothing else may be done with it. */
static int return_request(struct giveback *giveback, const struct message_ranges *ranges) {
        struct request request = {.kind = REQUEST_RELEASE, .release = {.ranges = *ranges}};
        struct call call = {.accept = accept_release, .context = giveback};
        int rc = client_exchange(giveback->client, &request, &call, giveback->client->timeout_ms);
        if (rc == -ENOTCONN && call.sent)
                forget_ranges(giveback);
        return rc;
}

static int refuse_range(
        const struct buddyclient *client, const struct buddyclient_range *range, int error) {
        return client_refuse(client, error,
                error == -ESTALE ? "the range at %llu of %llu bytes, generation %llu, is not held"
                                 : "%llu, %llu bytes, generation %llu: no pool has such a range",
                (unsigned long long)range->offset, (unsigned long long)range->length,
                (unsigned long long)range->generation);
}

/* At most MESSAGE_BATCH_MAX ranges; places and generations have room for them. */
static int return_batch(struct giveback *giveback, uint64_t *places, uint32_t *generations) {
        for (size_t i = 0; i < giveback->count; i++) {
                const struct buddyclient_range *range = &giveback->ranges[i];
                int rc = client_place(giveback->client, range, &places[i], &generations[i]);
                if (rc < 0)
                        return refuse_range(giveback->client, range, rc);
        }
        struct message_ranges ranges = {places, generations, giveback->count};
        return return_request(giveback, &ranges);
}

/* Looks at all ranges before any is returned: what goes to the daemon in several requests must
 * not be refused half-way. */
static int check_held(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count) {
        struct holding *holdings = calloc(count, sizeof(*holdings));
        if (!holdings)
                return client_refuse(client, -ENOMEM, "no memory left in this process");
        int rc = 0;
        size_t bad = 0;
        for (; bad < count; bad++) {
                uint64_t place;
                rc = client_place(client, &ranges[bad], &place, &holdings[bad].generation);
                if (rc < 0)
                        break;
                holdings[bad] = holding_of(&ranges[bad]);
        }
        if (rc == 0 && holdings_cover(&client->holdings, holdings, count, &bad) < 0)
                rc = -ESTALE;
        free(holdings);
        return rc < 0 ? refuse_range(client, &ranges[bad], rc) : 0;
}

static int return_many(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count) {
        size_t batch = count < MESSAGE_BATCH_MAX ? count : MESSAGE_BATCH_MAX;
        uint64_t *places = calloc(batch, sizeof(*places));
        uint32_t *generations = calloc(batch, sizeof(*generations));
        int rc = places && generations
                         ? 0
                         : client_refuse(client, -ENOMEM, "no memory left in this process");
        for (size_t done = 0; rc == 0 && done < count; done += batch) {
                size_t left = count - done;
                struct giveback giveback = {client, ranges + done, left < batch ? left : batch};
                rc = return_batch(&giveback, places, generations);
        }
        free(places);
        free(generations);
        return rc;
}

int buddyclient_release_many(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count) {
        int rc = client_usable(client);
        if (rc < 0 || count == 0)
                return rc;
        if (!ranges)
                return client_refuse(client, -EINVAL, "no range");
        if (count <= BATCH_ON_STACK) {
                uint64_t places[BATCH_ON_STACK];
                uint32_t generations[BATCH_ON_STACK];
                struct giveback giveback = {client, ranges, count};
                return return_batch(&giveback, places, generations);
        }
        if (count > MESSAGE_BATCH_MAX) {
                rc = check_held(client, ranges, count);
                if (rc < 0)
                        return rc;
        }
        return return_many(client, ranges, count);
}

int buddyclient_release(struct buddyclient *client, const struct buddyclient_range *range) {
        int rc = client_usable(client);
        if (rc < 0)
                return rc;
        if (!range)
                return client_refuse(client, -EINVAL, "no range");
        return buddyclient_release_many(client, range, 1);
}

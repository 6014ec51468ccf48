/* What every call does that adds holds: room in the table before the request, the table and the
 * caller's memory on the reply, all or nothing. */
#pragma once

#include "client.h"

struct taking {
        struct buddyclient *client;
        uint64_t length; /* of each range, at least */
        size_t count;
        size_t spare_max; /* so many more may come, for the cache */
        uint32_t use;     /* of the name of what is attached or looked up */
        bool granted;     /* by an alloc: the cache may count them, instead of the table */
        struct buddyclient_range *out;
        struct batch *batch; /* of an attach, instead of out */
        size_t recorded;     /* reservations of holdings that were used up */
};

/* What the daemon would refuse in any case: -EINVAL. */
int taking_check(const struct buddyclient *client, uint64_t length, size_t count);

/* An alloc of these, of `wanted` of which the cache had too few, and of some more for the next times; afterwards, whatever came
 * of it. */
struct request_alloc taking_refill(
        struct buddyclient *client, uint64_t length, size_t count, size_t wanted);
void taking_refilled(struct buddyclient *client, const struct request_alloc *alloc);

/* Takes all out of the cache, or none; waits for nothing. */
bool taking_all_cached(
        struct buddyclient *client, uint64_t length, size_t count, struct buddyclient_range *out);

/* Makes the request. accept is given the taking. */
int taking_exchange(struct taking *taking, struct request *request, call_accept *accept);

/* Accepts a reply with exactly the wanted number of ranges. */
int taking_accept_ranges(void *context, const struct reply *reply);

/* Accepts a reply with one range and its whole name. */
int taking_accept_range(void *context, const struct reply *reply);

/* Accepts that one more hold of what is in the batch was added. */
int taking_accept_done(void *context, const struct reply *reply);

/* What every call does that returns ranges. */
#pragma once

#include "batch.h"
#include "client.h"

/* One request's. */
struct giveback {
        struct buddyclient *client;
        struct batch *batch;
};

/* Accepts that all of the batch was returned; the context is the giveback. */
int giveback_accept(void *context, const struct reply *reply);

/* After -ENOTCONN. A range whose return the daemon has not confirmed in time counts as returned: nothing else may be
 * done with it. If the daemon has seen the request, the channel remembers that and makes up for what
 * may be left of it; if not, it is still to be asked for. */
void giveback_later(struct giveback *giveback, const struct call *call);

/* Ranges that were just taken out of the cache and are not needed after all; nothing is waited for: what the cache does not take
 * is owed to the daemon. Their names change. */
void giveback_unused(struct buddyclient *client, struct buddyclient_range *ranges, size_t count);

/* One that the cache gives up (cache_keeper), at once if the daemon can be told at once; context: the client. */
void giveback_shared(void *context, struct buddyclient_range *range);

/* Puts a range into the cache. 0; -ESTALE; 1: it goes by a request, under the name that it then has. */
int giveback_cached(struct buddyclient *client, struct buddyclient_range *range);

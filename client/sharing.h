/* What every call does that shares ranges: what can be refused without the daemon, and what is made of its replies. */
#pragma once

#include "batch.h"
#include "client.h"

/* 0 or -EINVAL (sharing_check_gift: -ESTALE and -ENOMEM as well), refused with words. */
int sharing_check_name(const struct buddyclient *client, const char *name);
int sharing_check_key(const struct buddyclient *client, const char *key);
int sharing_check_published(
        const struct buddyclient *client, const struct buddyclient_range *range);
int sharing_check_gift(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count);

struct gift {
        struct buddyclient *client;
        const struct batch *batch; /* what is still to be given */
        uint32_t peer;
        struct buddyclient_range *ranges; /* as the caller named them */
};

/* Accepts that all of a gift is the peer's, and names the ranges anew. What is given to oneself stays what it is. */
int sharing_accept_gift(void *context, const struct reply *reply);

/* Accepts a peer's id; the context is a uint32_t. */
int sharing_accept_peer(void *context, const struct reply *reply);

int sharing_accept_done(void *context, const struct reply *reply);

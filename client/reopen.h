/* The next connection of a client whose connection was lost. */
#pragma once

#include "channel.h"
#include "stream.h"

struct buddyclient;

/* How far it has come: what the daemon has not answered yet can be waited for later. */
struct reopening {
        enum { REOPEN_DIAL, REOPEN_HELLO, REOPEN_CACHE } phase;
        bool listing; /* then: a page of what is held was asked for */
        uint64_t cursor;
        struct stream_descriptors descriptors; /* of an answer that came in part */
};

/* What the client's channel is kept by. */
struct channel_keeper reopen_keeper(struct buddyclient *client);

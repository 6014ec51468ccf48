/* Allocs that wait: a place in the pool's line, a deadline on the loop's clock, and the reply. Each
 * belongs to its session's worker; other threads only put a settled one into that worker's inbox. */
#pragma once

#include <stdint.h>

#include "core/geometry.h"
#include "list.h"

struct session;

struct wait_request {
        uint64_t id;     /* of the request */
        uint64_t length; /* bytes asked for */
        unsigned order;
        int64_t timeout_ms; /* > 0; or -1: as long as it takes */
        uint64_t waited_ms; /* before, over a connection that was lost */
};

#define WAITS_MAX 4096u /* of one session; bounds what a client makes us remember */

/* Begins to wait. 0: the reply will be sent later; 1: *block is granted already; -ENOMEM: no memory to
 * remember it; -ENOSPC: none behind the block that is free; -ESTALE: the session is closing; -EBUSY: WAITS_MAX
 * of this session's allocs wait; -EUSERS: as many of this session's or its uid's as may; -EDQUOT: over another limit. */
int wait_begin(struct session *session, const struct wait_request *request, struct block *block);

/* Sends the replies of settled waits that came out of the inbox. */
void waits_deliver(struct link *settled);

/* The session ends: none of its waits is answered. */
void waits_withdraw(struct session *session);

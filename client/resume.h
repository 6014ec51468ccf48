/* Getting a lost connection back: who does it, when, and who is told. */
#pragma once

#include "channel.h"

/* What a pending call does while the connection is lost: it tries to get it back if nobody else
 * does, or sleeps; at its deadline it gives up, which finishes it with -ENOTCONN. The channel's lock
 * is held at entry and exit, but not between. */
void resume_step(struct channel *channel, struct call *call);

/* The same for all calls that nobody waits for, without waiting for anything. */
void resume_turn(struct channel *channel);

/* When a call gives up waiting for the connection. */
int64_t resume_give_up_at(const struct channel *channel, const struct call *call);

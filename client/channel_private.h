/* What the files that make up the channel know of each other: channel.c the results of calls, call.c those that wait, turn.c and
 * events.c those that nobody waits for, roles.c the sending and reading, resume.c the connection that is made again, and reconcile.c what is settled over it. The lock
 * is held. */
#pragma once

#include "channel.h"

void channel_unlink(struct channel *channel, struct call *call);

/* Takes a call out of its list, with its result, and tells who waits for it. */
void channel_finish(struct channel *channel, struct call *call, int result);

/* Ends a call whose reply nobody will wait for, with -ENOTCONN: what becomes of it is remembered. */
void channel_abandon(struct channel *channel, struct call *call, const char *detail);

/* The connection is of no use any more. */
void channel_lose(struct channel *channel, const char *detail);

/* Ends it for good: pending calls get the error, later ones -ENOTCONN. */
void channel_end(struct channel *channel, int error, const char *detail);

/* Takes every whole message out of the stream's buffer and delivers it. -EPROTO. */
int channel_deliver(struct channel *channel);

/* Something goes back: ranges, or what is in slots. */
static inline bool channel_owes(const struct channel *channel) {
        return channel->late.owed || channel->emptied_orders != 0;
}

/* Sends what is owed, if nobody is sending. */
void channel_return_owed(struct channel *channel, int64_t deadline);

/* There is something for a turn to do; the same if calls that nobody waits for may have to be given up or sent again. */
void channel_raise(struct channel *channel);
void channel_hurry(struct channel *channel);

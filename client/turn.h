/* Calls that nobody waits for: they are queued, and sent, answered and given up in turns, none of which waits for anything. How many are under way at a
 * time is bounded by what the daemon may have to answer, so that it never stops reading because we do not read. */
#pragma once

#include "channel.h"

/* Queues a call with a `finished`. -ENOTCONN: the channel has ended, and call->detail says why; the call is not the channel's. Any thread. */
int channel_submit(struct channel *channel, struct request *request, struct call *call);

/* A call that had its result at once. */
void channel_submit_finished(struct channel *channel, struct call *call);

/* Takes a turn: reads, resumes, gives up and sends what can be without waiting, and takes out what has its result. One thread
 * at a time, up to channel_turn_end: -EBUSY. */
int channel_turn(struct channel *channel, struct call_list *finished);

/* Sends what was queued meanwhile, and says what is to be watched until the next turn. -ENOTCONN: there will be nothing more. */
int channel_turn_end(struct channel *channel);

/* Ends the channel, and takes out all that nobody waited for. */
void channel_end_all(struct channel *channel, struct call_list *out);

/* The descriptor that tells when a turn has something to do. -EMFILE, -ENFILE, -ENOMEM. */
int channel_events_fd(struct channel *channel);

/* Sending and reading on a channel's connection are roles of one thread at a time, taken and given back under the lock and
 * exercised without it, so nobody ever does I/O with the lock held. Whoever leaves wakes one sleeper if nobody reads
 * (or, when the connection is lost, resumes), and a sleeper that wakes to find a role free takes it: so as long as anybody
 * waits, somebody does something about it. The lock is held at entry and exit of all of these. */
#pragma once

#include "channel.h"

/* -ETIMEDOUT: the deadline passed first; -ENOTCONN: no longer open. */
int roles_take_sending(struct channel *channel, int64_t deadline);
void roles_leave_sending(struct channel *channel);

/* Sends what was left over and this request behind it, and gives the role back. *sent: some of it went out; what did
 * not by the deadline is left over. -ETIMEDOUT: nothing of it went out; -ENOTCONN; -EINVAL: it does not fit a frame. */
int roles_send(
        struct channel *channel, const struct request *request, int64_t deadline, bool *sent);

/* Sends what is in the stream's buffer, as far as there is room now; the role stays. */
void roles_flush(struct channel *channel);

/* Reads once for everybody. */
int roles_read(struct channel *channel, int64_t deadline);

/* What a turn needs to know of the socket (events.h): bytes, unless nothing is to come or somebody waits and so reads; room, if there
 * was none and nobody is sending. Which socket that is: who resumes may be changing it while nothing is wanted. And having it
 * watched for that, outside of turns. */
unsigned roles_wanted(const struct channel *channel);
int roles_socket(const struct channel *channel, unsigned wanted);
void roles_watch(struct channel *channel);

/* Sleeps until the call is woken, or the point in time. -ETIMEDOUT. */
int roles_sleep(struct channel *channel, struct call *call, int64_t until);

/* Wakes one sleeper for the role that nobody has: to read, or to resume. */
void roles_hand_on(struct channel *channel);

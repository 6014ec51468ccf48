/* What became of the calls that were under way when the connection was lost. Those that name ranges or a key the
 * daemon settles: its welcome says how far it came with them, in the order of their ids. What came of those that take
 * what they are given is found by comparing what the session holds with what is known.
 *
 * A settled call has happened, and is finished with what its reply would have said; or it has not, and is to be sent again, with
 * what of it is left. The channel's lock is held, and nobody sends or reads. -ENOMEM: nothing has changed. */
#pragma once

#include "client.h"
#include "roll.h"

/* Settles all but allocs. 1: there were some of those, also such as nobody waits for any more. */
int reconcile_named(struct buddyclient *client, const struct message_done *done);

/* Settles the allocs by the number of ranges that the session was granted and holds, if it is the number that the table
 * has: then none of them has happened. False: it cannot be told. */
bool reconcile_by_count(struct buddyclient *client, uint64_t granted_ranges);

/* Settles the allocs: none has happened, once what the session holds and nobody knows of has gone back, which is owed from
 * here on. What the table counts and the session does not hold is forgotten. */
int reconcile_granted(struct buddyclient *client, struct roll *roll);

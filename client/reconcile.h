/* What became of the calls that were under way when the connection was lost: found by comparing what
 * the daemon says that the session holds with what the table says. */
#pragma once

#include "client.h"
#include "roll.h"

/* Settles every call that was under way: it has happened, and is finished with what its reply would
 * have said; or it has not, and is to be sent again, with what of it is left. What the session
 * holds and nobody knows of is owed. Afterwards the table says what the daemon will hold when what
 * is owed has gone back. The channel's lock is held, and nobody sends or reads.
 * -ENOMEM: nothing has changed. */
int reconcile(struct buddyclient *client, struct roll *roll);

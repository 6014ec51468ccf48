/* An operator ends a session, wherever it is: connected, away, or of a process that does not run. The worker that the session
 * belongs to does it, and the one that was asked answers when everything the session held is returned. */
#pragma once

#include "core/pool.h"
#include "dispatch.h"

struct kick;

/* Begins; call's request names the session. STATUS_OK: the reply comes later; else refused. */
enum status kick_begin(struct call *call);

/* All is returned; frees the kick. On the session's worker. */
void kick_done(struct kick *kick, const struct pool_reclaimed *reclaimed);

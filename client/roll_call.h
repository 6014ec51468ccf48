/* Asking the daemon what this client holds. */
#pragma once

#include "client.h"

/* Enters one hold that the daemon listed. -EPROTO: no pool has such a range; -ENOMEM. */
int roll_call_enter(
        const struct buddyclient *client, struct roll *roll, const struct reply_hold *hold);

/* Asks by ordinary requests, while others go on. The roll is the caller's to deinit, also after a
 * failure, which is recorded for this thread. */
int roll_call(struct buddyclient *client, struct roll *roll);

/* The end of what was submitted. */
#pragma once

#include "client.h"

/* Runs the callbacks of all that has not been told yet; what has no result by now gets -ENOTCONN. */
void submit_end(struct buddyclient *client);

/* In a forked child: frees the copies, and tells nobody. */
void submit_forget(struct buddyclient *client);

/* Limits that monitoring sets to a pool, and how its figures compare. No state of its own. */
#pragma once

#include "arguments.h"

/* Whether any is asked for. */
bool thresholds_asked(const struct invocation *invocation);

/* Asks for the pool's figures and prints a line for each limit. EXIT_FAULT: one of them is exceeded. */
enum exit_status thresholds_check(const struct invocation *invocation);

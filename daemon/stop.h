/* SIGTERM and SIGINT while no loop of the server's takes them: they only raise a flag, which the slow steps
 * of starting look at. */
#pragma once

#include <stdbool.h>

/* Installs the handlers, also again after the loop is gone. */
void stop_watch(void);

/* True once one of the signals came. Any thread. */
bool stop_requested(void);

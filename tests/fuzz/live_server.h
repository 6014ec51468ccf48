/* The real server in this process, with a thread of its own, its workers, one small pool in memfds that nobody else sees, and a
 * socket without a name. It runs until the process ends. */
#pragma once

#include <stdint.h>

#define LIVE_POOL      "fuzz"
#define LIVE_PAGE      UINT64_C(4096)
#define LIVE_PAGES     UINT64_C(256)
#define LIVE_PAGES_MAX UINT64_C(512)

/* Starts it; once. */
void live_server_start(void);

/* A new connection to it, which does not block; -1: none to be had. */
int live_server_connect(void);

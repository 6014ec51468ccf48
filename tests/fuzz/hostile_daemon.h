/* The other end of the client library: a thread that answers as a daemon does, until its tape says otherwise. What it grants and
 * takes back is a pool of 256 pages. */
#pragma once

#include "tape.h"

#define HOSTILE_POOL_BYTES (UINT64_C(1) << 20)

/* Where it listens; its file is not in any folder any more. Once. */
const char *hostile_daemon_path(void);

/* Plays a tape to whoever connects, until hostile_daemon_end, which waits for the thread. */
void hostile_daemon_begin(struct tape tape);
void hostile_daemon_end(void);

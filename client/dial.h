/* A socket that is connected to the daemon. */
#pragma once

#include <stdint.h>

#define DIAL_DETAIL_BYTES 256u

/* Connects to the socket that was asked for (NULL: looked for). A full backlog is waited for until
 * the deadline. The descriptor is the caller's. -ENOTCONN: nobody is there; -EACCES; -EINVAL: the
 * path is too long; -ENOMEM, -EMFILE, -ENFILE. detail: why. */
int dial(const char *asked, int64_t deadline, int *out, char detail[DIAL_DETAIL_BYTES]);

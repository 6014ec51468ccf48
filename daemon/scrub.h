/* Zeroes ranges of a segment that are about to be granted. By write(2), since the daemon maps no segment: a segment
 * that a client has made shorter is made longer by it, and gives no signal. */
#pragma once

#include <stdint.h>

/* 0; -ENOSPC, -ENOMEM: there is no memory behind it, and some of it may have been zeroed. Any thread. */
int scrub_range(int fd, uint64_t offset_bytes, uint64_t length_bytes);

/* Boost.Interprocess, a C face of it. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Makes a segment of this process and of the children that it will start; its name is gone when this returns. 0, or
 * -1. */
int boost_segment_make(const char *name, uint64_t bytes);

/* So many of allocate + deallocate in it. 0, or -1: it is full, or was not made. */
int boost_segment_pairs(uint64_t bytes, unsigned count);

#ifdef __cplusplus
}
#endif

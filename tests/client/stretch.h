/* How long something took, without what the machine stood still meanwhile: a shared one does so for up to half a second now and then, and
 * whoever is measured is not to blame. A thread that asks to be woken every few milliseconds tells of it.
 *
 * For bounds that such a stall would reach; others need none of this. Not for the child of a process that has measured. */
#pragma once

#include <stdint.h>

struct stretch {
        int64_t begin_ms;
        int64_t still_ms; /* that the machine had stood still by then */
};

struct stretch stretch_begin(void);

/* Milliseconds since. */
uint64_t stretch_ms(const struct stretch *stretch);

/* One allocator for a unit test, checked as a whole after every step that matters. */
#pragma once

#include "core/buddy.h"

extern struct buddy allocator;

/* Prepares the allocator for page indexes below pages_max; nothing is managed yet. */
void fixture_open(uint64_t pages_max);

/* The same with every page managed and free. */
void fixture_open_all(uint64_t pages);

/* Walks all invariants, then gives everything back. */
void fixture_close(void);

/* Fails the test with the fault in words unless every invariant holds. */
void fixture_check(void);

uint64_t fixture_free_pages(void);

/* Grants a block or fails the test. */
uint32_t fixture_alloc(unsigned order);

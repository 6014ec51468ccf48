/* A hierarchical bitmap: 64-ary, every summary bit says whether the word below has a set bit, so
 * the first set bit of 2^32 is found in at most six word reads. Not synchronised: the owner's lock
 * guards it. All-zero memory is an empty bitmap. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITMAP_LEVELS 6

struct bitmap {
        uint64_t *levels[BITMAP_LEVELS]; /* levels[0]: the bits; each next one summarises; not owned */
        unsigned level_count;
        uint64_t bit_count;
};

/* Bytes of zeroed memory that a bitmap of bit_count bits needs. */
size_t bitmap_bytes(uint64_t bit_count);

/* Lays the bitmap into memory (8-byte aligned, zeroed, bitmap_bytes long), which must outlive it. */
void bitmap_init(struct bitmap *bitmap, uint64_t bit_count, void *memory);

/* First set bit at or after from, or UINT64_MAX. */
uint64_t bitmap_find(const struct bitmap *bitmap, uint64_t from);

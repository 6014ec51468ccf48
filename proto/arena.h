/* A bounded bump allocator for decoding: reset for each message, fails closed when it is full, and
 * makes no system call. Not thread-safe; one per thread that decodes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct arena {
        uint8_t *bytes; /* owned */
        size_t size;
        size_t used;
};

/* -ENOMEM. */
int arena_init(struct arena *arena, size_t size);
void arena_deinit(struct arena *arena);

static inline void arena_reset(struct arena *arena) {
        arena->used = 0;
}

/* 16-byte aligned memory that lives until the next reset, or NULL when the arena is full. */
void *arena_alloc(struct arena *arena, size_t size);

/* The arena's memory is one allocation that is not touched before it is used, so a large one costs
 * address space until a message needs it. */
#include "arena.h"

#include <errno.h>
#include <stdlib.h>

#define ARENA_ALIGN ((size_t)16)

int arena_init(struct arena *arena, size_t size) {
        size_t whole = size & ~(ARENA_ALIGN - 1);
        uint8_t *bytes = aligned_alloc(ARENA_ALIGN, whole ? whole : ARENA_ALIGN);
        if (!bytes)
                return -ENOMEM;
        *arena = (struct arena){.bytes = bytes, .size = whole};
        return 0;
}

void arena_deinit(struct arena *arena) {
        free(arena->bytes);
        *arena = (struct arena){0};
}

void *arena_alloc(struct arena *arena, size_t size) {
        size_t left = arena->size - arena->used;
        if (size > left)
                return NULL;
        void *memory = arena->bytes + arena->used;
        arena->used += (size + ARENA_ALIGN - 1) & ~(ARENA_ALIGN - 1);
        return memory;
}

/* The C libraries' allocators: glibc's, and others loaded beside it, whose names stay their own. */
#pragma once

#include <stddef.h>

struct malloc_library {
        void *(*malloc)(size_t bytes);
        void (*free)(void *memory);
};

extern const struct malloc_library malloc_glibc;

/* 0; -1: it is not there, and *why (static) says so. It stays loaded. */
int malloc_load_jemalloc(struct malloc_library *out, const char **why);
int malloc_load_mimalloc(struct malloc_library *out, const char **why);

/* jemalloc wants more room for thread-local data than a program sets aside for what it loads later; only the
 * environment at a program's start can say so. Starts this program again with that; returns if that has been
 * said, or cannot be. */
void malloc_make_room(char **argv);

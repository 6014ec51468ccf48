#include "bench_contender.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

struct buddy bench_buddy;

static void buddy_open(uint64_t pages) {
        if (buddy_init(&bench_buddy, pages) != 0 || buddy_add_region(&bench_buddy, 0, pages) != 0) {
                fputs("bench_buddy: no memory for the allocator\n", stderr);
                exit(1);
        }
}

static void buddy_close(void) {
        buddy_deinit(&bench_buddy);
}

static uint64_t buddy_take(unsigned order) {
        uint32_t page;
        return buddy_alloc(&bench_buddy, order, &page) == 0 ? page : NO_BLOCK;
}

static void buddy_release(uint64_t handle, unsigned order) {
        buddy_free(&bench_buddy, (uint32_t)handle, order);
}

const struct contender contender_buddy = {
        "buddy", buddy_open, buddy_close, false, buddy_take, buddy_release};

/* One malloc library: its two entry points, and the calls that use them. They cannot share the calls, as
 * these have no argument that would say whose they are. */
#define MALLOC_CONTENDER(noun)                                                                     \
        static void *(*noun##_malloc)(size_t);                                                     \
        static void (*noun##_free)(void *);                                                        \
        static uint64_t noun##_take(unsigned order) {                                              \
                void *pointer = noun##_malloc((size_t)4096 << order);                              \
                return pointer ? (uint64_t)(uintptr_t)pointer : NO_BLOCK;                          \
        }                                                                                          \
        static void noun##_release(uint64_t handle, unsigned order) {                              \
                (void)order;                                                                       \
                noun##_free((void *)(uintptr_t)handle);                                            \
        }                                                                                          \
        static const struct contender contender_##noun = {                                         \
                #noun, malloc_open, malloc_close, true, noun##_take, noun##_release};

static void malloc_open(uint64_t pages) {
        (void)pages; /* they take from the system what they need */
}

static void malloc_close(void) {
}

MALLOC_CONTENDER(glibc)
MALLOC_CONTENDER(jemalloc)
MALLOC_CONTENDER(mimalloc)

/* Loads a library beside the process's own allocator, whose names stay what they are. */
static int load(const char *library, const char *malloc_name, const char *free_name,
        void *(**malloc_out)(size_t), void (**free_out)(void *)) {
        void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
        void *malloc_symbol = handle ? dlsym(handle, malloc_name) : NULL;
        void *free_symbol = handle ? dlsym(handle, free_name) : NULL;
        if (!malloc_symbol || !free_symbol) {
                const char *reason = dlerror();
                fprintf(stderr, "bench_buddy: without %s: %s\n", library,
                        reason ? reason : "it lacks the names that are called here");
                return -1;
        }
        *(void **)malloc_out = malloc_symbol;
        *(void **)free_out = free_symbol;
        return 0;
}

size_t contenders_load(const struct contender **out, size_t max) {
        size_t count = 0;
        glibc_malloc = malloc;
        glibc_free = free;
        if (count < max)
                out[count++] = &contender_glibc;
        if (count < max &&
                load("libjemalloc.so.2", "malloc", "free", &jemalloc_malloc, &jemalloc_free) == 0)
                out[count++] = &contender_jemalloc;
        if (count < max && load("libmimalloc.so.2", "mi_malloc", "mi_free", &mimalloc_malloc,
                                   &mimalloc_free) == 0)
                out[count++] = &contender_mimalloc;
        return count;
}

#include "bench_contender.h"

#include <stdio.h>
#include <stdlib.h>

#include "malloc_library.h"

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

/* One malloc library, and the calls that use it. They cannot share the calls, as these have no argument that
 * would say whose they are. */
#define MALLOC_CONTENDER(noun)                                                                     \
        static struct malloc_library noun;                                                         \
        static uint64_t noun##_take(unsigned order) {                                              \
                void *pointer = noun.malloc((size_t)4096 << order);                                \
                return pointer ? (uint64_t)(uintptr_t)pointer : NO_BLOCK;                          \
        }                                                                                          \
        static void noun##_release(uint64_t handle, unsigned order) {                              \
                (void)order;                                                                       \
                noun.free((void *)(uintptr_t)handle);                                              \
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

static bool is_loaded(int error, const char *name, const char *why) {
        if (error != 0)
                fprintf(stderr, "bench_buddy: without %s: %s\n", name, why);
        return error == 0;
}

size_t contenders_load(const struct contender **out, size_t max) {
        size_t count = 0;
        const char *why = "";
        glibc = malloc_glibc;
        if (count < max)
                out[count++] = &contender_glibc;
        if (count < max && is_loaded(malloc_load_jemalloc(&jemalloc, &why), "jemalloc", why))
                out[count++] = &contender_jemalloc;
        if (count < max && is_loaded(malloc_load_mimalloc(&mimalloc, &why), "mimalloc", why))
                out[count++] = &contender_mimalloc;
        return count;
}

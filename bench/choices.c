/* The allocators in process, and the list of all. */
#include "choices.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef BENCH_BOOST
#include "choices_boost.h"
#endif
#include "malloc_library.h"

/* They cannot share the calls, as these have no argument that would say whose they are. */
#define MALLOC_CHOICE(noun)                                                                        \
        static struct malloc_library noun;                                                         \
        static int noun##_open(const struct choices_place *place, const char **why) {              \
                (void)place;                                                                       \
                return noun##_load(&noun, why);                                                    \
        }                                                                                          \
        static int noun##_pairs(uint64_t bytes, unsigned count) {                                  \
                return malloc_pairs(&noun, bytes, count);                                          \
        }                                                                                          \
        static const struct choice choice_##noun = {                                               \
                .name = #noun, .open = noun##_open, .pairs = noun##_pairs};

static inline int malloc_pairs(
        const struct malloc_library *library, uint64_t bytes, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
                /* Volatile: the compiler may not drop the pair. */
                void *volatile memory = library->malloc(bytes);
                if (!memory)
                        return -1;
                library->free(memory);
        }
        return 0;
}

static int glibc_load(struct malloc_library *out, const char **why) {
        (void)why;
        *out = malloc_glibc;
        return 0;
}

static int jemalloc_load(struct malloc_library *out, const char **why) {
        return malloc_load_jemalloc(out, why);
}

static int mimalloc_load(struct malloc_library *out, const char **why) {
        return malloc_load_mimalloc(out, why);
}

MALLOC_CHOICE(glibc)
MALLOC_CHOICE(jemalloc)
MALLOC_CHOICE(mimalloc)

#ifdef BENCH_BOOST
#define SEGMENT_BYTES (UINT64_C(64) << 20)

static int segment_error;

void choices_prepare(void) {
        char name[48];
        snprintf(name, sizeof(name), "bench-choices-boost-%d", (int)getpid());
        segment_error = boost_segment_make(name, SEGMENT_BYTES);
}

static int boost_open(const struct choices_place *place, const char **why) {
        (void)place;
        *why = "no room in /dev/shm for its segment";
        return segment_error;
}

static const struct choice choice_boost = {.name = "Boost.Interprocess",
        .is_shared = true,
        .open = boost_open,
        .pairs = boost_segment_pairs};
#else
void choices_prepare(void) {
}

static int boost_open(const struct choices_place *place, const char **why) {
        (void)place;
        *why = "it was not there when this was built; install libboost-dev and g++, and configure "
               "again";
        return -1;
}

static const struct choice choice_boost = {.name = "Boost.Interprocess", .open = boost_open};
#endif

const struct choice *const choices[] = {
        &choice_buddyd,
        &choice_buddyd_uncached,
        &choice_glibc,
        &choice_jemalloc,
        &choice_mimalloc,
        &choice_boost,
        &choice_socket,
        &choice_futex,
};
const unsigned choices_count = sizeof(choices) / sizeof(choices[0]);

#include "malloc_library.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

const struct malloc_library malloc_glibc = {malloc, free};

static int load(struct malloc_library *out, const char *library, const char *const names[2],
        const char **why) {
        void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
        void *malloc_symbol = handle ? dlsym(handle, names[0]) : NULL;
        void *free_symbol = handle ? dlsym(handle, names[1]) : NULL;
        if (!malloc_symbol || !free_symbol) {
                const char *reason = dlerror();
                *why = reason ? reason : "it lacks the names that are called here";
                return -1;
        }
        *(void **)&out->malloc = malloc_symbol;
        *(void **)&out->free = free_symbol;
        return 0;
}

int malloc_load_jemalloc(struct malloc_library *out, const char **why) {
        static const char *const names[2] = {"malloc", "free"};
        return load(out, "libjemalloc.so.2", names, why);
}

int malloc_load_mimalloc(struct malloc_library *out, const char **why) {
        static const char *const names[2] = {"mi_malloc", "mi_free"};
        return load(out, "libmimalloc.so.2", names, why);
}

void malloc_make_room(char **argv) {
        static const char tunables[] = "GLIBC_TUNABLES";
        if (getenv(tunables) == NULL &&
                setenv(tunables, "glibc.rtld.optional_static_tls=65536", 1) == 0)
                execv("/proc/self/exe", argv);
}

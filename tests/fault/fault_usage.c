/* See fault_usage.h. */
#include "fault_usage.h"

#include <unistd.h>

#include "faults.h"

struct usage usage_of(pid_t process, const struct faults *faults) {
        return (struct usage){.descriptors = usage_descriptors(process),
                .blocks = atomic_load(&faults->blocks),
                .mapped = atomic_load(&faults->mapped)};
}

struct usage usage_here(void) {
        return usage_of(getpid(), faults_here());
}

bool usage_equal(const struct usage *a, const struct usage *b) {
        return a->descriptors == b->descriptors && a->blocks == b->blocks && a->mapped == b->mapped;
}

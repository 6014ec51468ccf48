/* See fault_usage.h. */
#include "fault_usage.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "faults.h"

/* Without the one that looks, where that is this process's. */
static int count_descriptors(pid_t process) {
        char path[32];
        int count = process == getpid() ? -1 : 0;
        snprintf(path, sizeof path, "/proc/%d/fd", (int)process);
        DIR *folder = opendir(path);
        for (struct dirent *entry; folder && (entry = readdir(folder));)
                count += entry->d_name[0] != '.';
        if (folder)
                closedir(folder);
        return count;
}

struct usage usage_of(pid_t process, const struct faults *faults) {
        return (struct usage){.descriptors = count_descriptors(process),
                .blocks = atomic_load(&faults->blocks),
                .mapped = atomic_load(&faults->mapped)};
}

struct usage usage_here(void) {
        return usage_of(getpid(), faults_here());
}

bool usage_equal(const struct usage *a, const struct usage *b) {
        return a->descriptors == b->descriptors && a->blocks == b->blocks && a->mapped == b->mapped;
}

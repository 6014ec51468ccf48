/* What a process uses: open descriptors, allocations, mapped bytes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct faults;

struct usage {
        int descriptors;
        int64_t blocks, mapped;
};

/* Open descriptors alone; of this process without the one that looks. */
int usage_descriptors(pid_t process);

/* This process's. */
struct usage usage_here(void);

/* Another's, whose counts these are. */
struct usage usage_of(pid_t process, const struct faults *faults);

bool usage_equal(const struct usage *a, const struct usage *b);

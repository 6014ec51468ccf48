/* What "buddyctl doctor" looks at, and what it found. Each part adds its findings; a part that needs what it could not
 * find out says so or stays silent. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/message.h"

#define FINDINGS_MAX 64

enum finding_state {
        FINDING_FINE,
        FINDING_WRONG,
        FINDING_UNKNOWN, /* could not be looked at */
};

struct finding {
        const char *name;
        enum finding_state state;
        char said[320]; /* what is, with figures */
        char mend[320]; /* the command; empty unless wrong */
};

struct doctor {
        const char *socket_path;
        const char *pool;
        bool answers;             /* the daemon */
        bool has_stats;           /* and it serves the pool */
        struct reply_stats stats; /* figures only; its texts and orders are gone */
        bool memfd;
        bool seals_known;
        int seals;     /* of the segment */
        unsigned uids; /* that have clients */
        pid_t daemon;  /* 0: not visible */
        struct finding findings[FINDINGS_MAX];
        size_t count;
};

/* Adds a finding, whose mend is to be filled in by the next call. */
void doctor_say(struct doctor *doctor, const char *name, enum finding_state state,
        const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The command that mends the last one. */
void doctor_mend(struct doctor *doctor, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* Bytes that the pool has not yet and may need. */
uint64_t doctor_missing_bytes(const struct doctor *doctor);

/* The socket; and, if the daemon answers, what it says of itself. Comes first. */
void doctor_socket(struct doctor *doctor);
/* Limits of descriptors, of the daemon and of this process; seals; whose clients there are. */
void doctor_limits(struct doctor *doctor);
void doctor_segment(struct doctor *doctor);
/* What the machine gives: /dev/shm, memory, cgroup, huge pages. */
void doctor_shm(struct doctor *doctor);
void doctor_memory(struct doctor *doctor);
void doctor_cgroup(struct doctor *doctor);
void doctor_huge_pages(struct doctor *doctor);
/* Objects in /dev/shm whose daemon is gone. */
void doctor_left(struct doctor *doctor);

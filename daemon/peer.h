/* Who is at the other end of a socket, as the kernel says. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct peer {
        uint32_t pid; /* 0: not visible from here */
        uint32_t uid, gid;
        int pidfd;           /* becomes readable when the process ends; -1: none to be had; owned */
        uint64_t start_time; /* of the process, clock ticks since boot; 0: unknown */
};

/* Identifies the process that connected. 0; -ESRCH: it has died already; -EMFILE, -ENFILE, -ENOMEM:
 * can be tried again; another -errno. */
int peer_identify(int socket_fd, struct peer *out);
/* Whether the process that connected is in this group, be it not its primary one. */
bool peer_is_member(int socket_fd, gid_t group);

void peer_deinit(struct peer *peer);

/* Its supplementary groups when it connected; the caller frees *out. -errno: none can be told. */
int peer_groups(int socket_fd, gid_t **out, size_t *count);

/* Field 22 of /proc/PID/stat. 0; -ESRCH: no such process; another -errno. */
int process_start_time(uint32_t pid, uint64_t *start_time);

/* A pidfd of the process with this pid and start time (0: unknown). -ESRCH: it is dead, or the pid is another
 * process's by now; another -errno. A process whose start time cannot be read is taken for the same. */
int process_open(uint32_t pid, uint64_t start_time, int *pidfd);

/* Whether the process of a pidfd has ended. */
bool process_ended(int pidfd);

/* Whether the kernel lets descriptors through that are sent to this socket, or to those that a listening one accepts. Before
 * Linux 6.16 it always does. */
void peer_pass_descriptors(int fd, bool pass);

/* Whether this connection has been one of those from its beginning. */
bool peer_sends_bytes_only(int fd);

/* See peer.h. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* The field after the command name, which may itself hold spaces and parentheses. */
static int stat_start_time(char *stat, uint64_t *start_time) {
        char *field = strrchr(stat, ')');
        for (unsigned number = 2; field && number < 22; number++)
                field = strchr(field + 1, ' ');
        if (!field)
                return -EBADMSG;
        char *end;
        uint64_t value = strtoull(field, &end, 10);
        if (end == field)
                return -EBADMSG;
        *start_time = value;
        return 0;
}

int process_start_time(uint32_t pid, uint64_t *start_time) {
        char path[32], stat[1024];
        snprintf(path, sizeof(path), "/proc/%u/stat", pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? -ESRCH : -errno;
        ssize_t length = read(fd, stat, sizeof(stat) - 1);
        int error = length < 0 ? -errno : 0;
        close(fd);
        if (error)
                return error;
        stat[length] = '\0';
        return stat_start_time(stat, start_time);
}

/* /proc's mount options may hide a process that is there (hidepid=): its entry cannot be found or not be entered. */
static bool may_be_hidden(int error) {
        return error == -ESRCH || error == -EACCES || error == -EPERM;
}

bool process_ended(int pidfd) {
        struct pollfd state = {.fd = pidfd, .events = POLLIN};
        return poll(&state, 1, 0) == 1;
}

/* Where there is no pidfd. One that is not visible from here may be there. */
static bool process_exists(uint32_t pid) {
        return pid == 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH;
}

int process_open(uint32_t pid, uint64_t start_time, int *pidfd) {
        int fd = pidfd_open((pid_t)pid, 0);
        if (fd < 0)
                return -errno;
        /* Read after the pidfd was opened: if they agree, it is that process's. */
        uint64_t found;
        int error = process_start_time(pid, &found);
        bool another = !error && start_time != 0 && found != start_time;
        if (another || process_ended(fd))
                error = -ESRCH;
        else if (may_be_hidden(error))
                error = 0;
        if (error) {
                close(fd);
                return error;
        }
        *pidfd = fd;
        return 0;
}

static int peer_pidfd(int socket_fd, uint32_t pid, int *out) {
        int pidfd;
        socklen_t length = sizeof(pidfd);
        if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) == 0) {
                *out = pidfd;
                return 0;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ESRCH)
                return -errno;
        *out = -1;
        if (pid == 0)
                return 0;
        pidfd = pidfd_open((pid_t)pid, 0);
        if (pidfd < 0)
                return errno == ENOSYS || errno == EPERM ? 0 : -errno;
        *out = pidfd;
        return 0;
}

int peer_identify(int socket_fd, struct peer *out) {
        struct ucred credentials;
        socklen_t length = sizeof(credentials);
        if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
                return -errno;
        struct peer peer = {
                .pid = (uint32_t)credentials.pid,
                .uid = credentials.uid,
                .gid = credentials.gid,
                .pidfd = -1,
        };
        int error = peer_pidfd(socket_fd, peer.pid, &peer.pidfd);
        if (error)
                return error;
        if (peer.pid != 0)
                error = process_start_time(peer.pid, &peer.start_time);
        if (peer.pidfd >= 0 ? process_ended(peer.pidfd) : !process_exists(peer.pid))
                error = -ESRCH;
        else if (may_be_hidden(error))
                error = 0;
        if (error) {
                peer_deinit(&peer);
                return error;
        }
        *out = peer;
        return 0;
}

void peer_deinit(struct peer *peer) {
        if (peer->pidfd >= 0)
                close(peer->pidfd);
        peer->pidfd = -1;
}

int peer_groups(int socket_fd, gid_t **out, size_t *count) {
        socklen_t length = 0;
        if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &length) == 0) {
                *out = NULL;
                *count = 0;
                return 0;
        }
        if (errno != ERANGE)
                return -errno;
        gid_t *groups = malloc(length);
        if (!groups)
                return -ENOMEM;
        if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) != 0) {
                int error = -errno;
                free(groups);
                return error;
        }
        *out = groups;
        *count = length / sizeof(*groups);
        return 0;
}

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

void peer_pass_descriptors(int fd, bool pass) {
        int passes = pass;
        setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &passes, sizeof(passes));
}

bool peer_sends_bytes_only(int fd) {
        int passes = 1;
        socklen_t length = sizeof(passes);
        return getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &passes, &length) == 0 && passes == 0;
}

bool peer_is_member(int socket_fd, gid_t group) {
        gid_t *groups = NULL;
        size_t count = 0;
        peer_groups(socket_fd, &groups, &count);
        bool found = false;
        for (size_t i = 0; i < count; i++)
                found = found || groups[i] == group;
        free(groups);
        return found;
}

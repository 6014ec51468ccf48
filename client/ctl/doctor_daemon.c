/* The daemon, as its socket, its process and the descriptor that it gives to clients show it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "doctor.h"
#include "observer.h"

#define CLIENTS_SPARE    64u /* descriptors beside those of clients */
#define SEALS_OF_SEGMENT (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* ---- What it says ---- */

static bool call(struct observer *observer, struct request request, enum reply_kind wanted,
        struct reply *reply) {
        return observer_call(observer, &request, reply) == 0 && reply->kind == wanted;
}

static bool greet(struct observer *observer, const char *pool) {
        struct reply reply;
        return call(observer,
                (struct request){.kind = REQUEST_HELLO,
                        .hello = {.version = PROTOCOL_VERSION,
                                .pool = pool,
                                .name = "buddyctl",
                                .access = ACCESS_OBSERVER}},
                REPLY_WELCOME, &reply);
}

/* How many different users have clients; 2 stands for more. */
static unsigned count_uids(struct observer *observer) {
        uint64_t cursor = 0;
        bool any = false;
        uint32_t first = 0;
        do {
                struct reply reply;
                if (!call(observer,
                            (struct request){
                                    .kind = REQUEST_CLIENTS, .clients = {.cursor = cursor}},
                            REPLY_CLIENTS, &reply))
                        break;
                for (size_t i = 0; i < reply.clients.count; i++) {
                        uint32_t uid = reply.clients.entries[i].uid;
                        if (any && uid != first)
                                return 2;
                        first = uid;
                        any = true;
                }
                cursor = reply.clients.next_cursor;
        } while (cursor != 0);
        return any;
}

static void ask_stats(struct doctor *doctor, struct observer *observer) {
        struct reply reply;
        if (!greet(observer, doctor->pool))
                return;
        if (call(observer, (struct request){.kind = REQUEST_STATS}, REPLY_STATS, &reply)) {
                doctor->has_stats = true;
                doctor->stats = reply.stats;
                doctor->memfd = strcmp(reply.stats.backing, "memfd") == 0;
        }
        doctor->uids = count_uids(observer);
}

/* ---- The descriptor that clients get ---- */

/* What comes with the first byte of the answer. -1: nothing. */
static int receive_descriptor(int socket_fd) {
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(8 * sizeof(int))];
        } control;
        char byte;
        struct iovec io = {.iov_base = &byte, .iov_len = 1};
        struct msghdr message = {.msg_iov = &io,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof(control.bytes)};
        if (recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC) != 1)
                return -1;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (!header || header->cmsg_type != SCM_RIGHTS)
                return -1;
        int fd;
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
        return fd;
}

/* As a client that may only read, for as long as it takes. */
static void ask_seals(struct doctor *doctor, const struct sockaddr_un *address) {
        struct observer client;
        struct request hello = {.id = 1,
                .kind = REQUEST_HELLO,
                .hello = {.version = PROTOCOL_VERSION,
                        .pool = doctor->pool,
                        .name = "buddyctl-doctor",
                        .access = ACCESS_READ_ONLY}};
        uint8_t frame[512];
        ptrdiff_t length = request_encode(&hello, frame, sizeof(frame));
        if (length < 0 || observer_open(&client, address) != 0)
                return;
        int fd = -1;
        if (observer_send(&client, frame, (size_t)length) == 0)
                fd = receive_descriptor(client.fd);
        if (fd >= 0) {
                doctor->seals = fcntl(fd, F_GET_SEALS);
                doctor->seals_known = doctor->seals >= 0;
                close(fd);
        }
        observer_close(&client);
}

/* ---- The socket ---- */

static void socket_file(struct doctor *doctor) {
        struct stat status;
        const char *path = doctor->socket_path;
        if (lstat(path, &status) != 0) {
                doctor_say(doctor, "socket", FINDING_WRONG, "%s: %s", path, strerror(errno));
                doctor_mend(doctor, "buddyd --socket %s", path);
                return;
        }
        unsigned mode = status.st_mode & 0777;
        bool open = (mode & S_IWOTH) != 0;
        doctor_say(doctor, "socket", open ? FINDING_WRONG : FINDING_FINE,
                "%s has mode %04o, uid %u, gid %u%s", path, mode, status.st_uid, status.st_gid,
                open ? ": every user of this machine may connect" : "");
        if (open)
                doctor_mend(doctor, "chmod 0660 %s", path);
}

static void say_away(struct doctor *doctor, int error) {
        doctor_say(doctor, "daemon", FINDING_WRONG, "no buddyd answers at %s: %s",
                doctor->socket_path, strerror(-error));
        struct stat status;
        const char *path = doctor->socket_path;
        bool owner_only = stat(path, &status) == 0 && !(status.st_mode & S_IWGRP);
        if (error != -EACCES)
                doctor_mend(doctor, "buddyd --socket %s", path);
        else if (owner_only)
                doctor_mend(doctor, "sudo -u $(stat -c %%U %s) buddyctl --socket %s doctor", path,
                        path);
        else
                doctor_mend(doctor, "usermod -aG $(stat -c %%G %s) $(id -un)", path);
}

void doctor_socket(struct doctor *doctor) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", doctor->socket_path);
        socket_file(doctor);
        struct observer observer;
        int error = observer_open(&observer, &address);
        if (error == 0) {
                error = observer_peer_pid(&observer, &doctor->daemon);
                if (error == 0)
                        ask_stats(doctor, &observer);
                observer_close(&observer);
        }
        doctor->answers = error == 0;
        if (error != 0) {
                say_away(doctor, error);
                return;
        }
        if (doctor->daemon > 0)
                doctor_say(doctor, "daemon", FINDING_FINE, "answers, pid %d", (int)doctor->daemon);
        else
                doctor_say(doctor, "daemon", FINDING_FINE, "answers, from another pid namespace");
        if (doctor->has_stats) {
                ask_seals(doctor, &address);
                return;
        }
        doctor_say(
                doctor, "pool", FINDING_WRONG, "it serves no pool '%s' to this user", doctor->pool);
        doctor_mend(
                doctor, "buddyctl --pool NAME doctor, with a name that \"buddyctl metrics\" shows");
}

/* ---- Limits ---- */

/* The soft limit of open files. False: not to be seen. */
static bool limit_of(pid_t pid, uint64_t *limit) {
        char path[64], line[256];
        snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
        FILE *file = fopen(path, "re");
        if (!file)
                return false;
        bool found = false;
        while (!found && fgets(line, sizeof(line), file))
                found = sscanf(line, "Max open files %" SCNu64, limit) == 1;
        fclose(file);
        return found;
}

static void say_limit(struct doctor *doctor, uint64_t limit) {
        uint64_t wanted = 2 * doctor->stats.clients + CLIENTS_SPARE;
        uint64_t better = wanted * 4 > 65536 ? wanted * 4 : 65536;
        bool wrong = limit < wanted * 2;
        doctor_say(doctor, "descriptors", wrong ? FINDING_WRONG : FINDING_FINE,
                "the daemon may have %" PRIu64 " files open; %" PRIu64 " clients need 2 each%s",
                limit, doctor->stats.clients, wrong ? ", and some are for itself" : "");
        if (wrong)
                doctor_mend(doctor, "prlimit --pid %d --nofile=%" PRIu64 ":%" PRIu64,
                        (int)doctor->daemon, better, better);
}

void doctor_limits(struct doctor *doctor) {
        uint64_t limit;
        struct rlimit own;
        if (doctor->answers && doctor->daemon > 0 && limit_of(doctor->daemon, &limit))
                say_limit(doctor, limit);
        else if (doctor->answers)
                doctor_say(doctor, "descriptors", FINDING_UNKNOWN,
                        "this user cannot see the daemon's limits");
        if (getrlimit(RLIMIT_NOFILE, &own) != 0)
                return;
        bool wrong = own.rlim_cur < CLIENTS_SPARE;
        doctor_say(doctor, "own limit", wrong ? FINDING_WRONG : FINDING_FINE,
                "a program started here may have %" PRIu64 " files open", (uint64_t)own.rlim_cur);
        if (wrong)
                doctor_mend(doctor, "ulimit -n 1024");
}

/* ---- Segment ---- */

void doctor_segment(struct doctor *doctor) {
        if (!doctor->has_stats)
                return;
        bool shared = doctor->uids > 1 && !doctor->memfd;
        doctor_say(doctor, "backing", shared ? FINDING_WRONG : FINDING_FINE, "%s, clients of %s",
                doctor->memfd ? "memfd" : "posix-shm",
                shared              ? "several users, who can cut the segment under each other"
                : doctor->uids > 1  ? "several users"
                : doctor->uids == 1 ? "one user"
                                    : "nobody now");
        if (shared)
                doctor_mend(doctor, "buddyd --backing memfd --pool %s", doctor->pool);
        if (!doctor->seals_known) {
                doctor_say(
                        doctor, "seals", FINDING_UNKNOWN, "no descriptor of the segment was given");
                return;
        }
        bool wrong = doctor->memfd && (doctor->seals & SEALS_OF_SEGMENT) != SEALS_OF_SEGMENT;
        doctor_say(doctor, "seals", wrong ? FINDING_WRONG : FINDING_FINE,
                !doctor->memfd ? "posix-shm cannot be sealed (seals 0x%x)"
                : wrong        ? "the segment can be cut: seals 0x%x"
                               : "the segment can be neither cut nor lengthened (seals 0x%x)",
                (unsigned)doctor->seals);
        if (wrong)
                doctor_mend(doctor, "buddyd --reset --backing memfd --pool %s", doctor->pool);
}

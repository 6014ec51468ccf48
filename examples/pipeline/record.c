/* Sending and receiving of records. */
#include "record.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

int record_pair(int fds[2]) {
        return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) ? -errno : 0;
}

static int message_send(int fd, const struct msghdr *message, int flags) {
        for (;;) {
                if (sendmsg(fd, message, flags | MSG_NOSIGNAL) >= 0)
                        return 0;
                if (errno != EINTR)
                        return -errno;
        }
}

static ssize_t message_receive(int fd, struct msghdr *message, int flags) {
        for (;;) {
                ssize_t length = recvmsg(fd, message, flags | MSG_CMSG_CLOEXEC);
                if (length >= 0)
                        return message->msg_flags & MSG_TRUNC ? -EMSGSIZE : length;
                if (errno == ECONNRESET) /* the other side died with records unread */
                        return 0;
                if (errno != EINTR)
                        return -errno;
        }
}

int record_send(int fd, const void *head, size_t head_bytes, const char *path, bool wait) {
        struct iovec parts[2] = {
                {.iov_base = (void *)head, .iov_len = head_bytes},
                {.iov_base = (void *)path, .iov_len = path ? strlen(path) + 1 : 0},
        };
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        return message_send(fd, &message, wait ? 0 : MSG_DONTWAIT);
}

ssize_t record_receive(int fd, void *record, size_t size, bool wait) {
        struct iovec part = {.iov_base = record, .iov_len = size};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        return message_receive(fd, &message, wait ? 0 : MSG_DONTWAIT);
}

union descriptor_space {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
};

int record_send_fd(int fd, const void *head, size_t head_bytes, int passed) {
        struct iovec part = {.iov_base = (void *)head, .iov_len = head_bytes};
        union descriptor_space space = {0};
        struct msghdr message = {.msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = space.bytes,
                .msg_controllen = sizeof(space.bytes)};
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &passed, sizeof(int));
        return message_send(fd, &message, 0);
}

ssize_t record_receive_fd(int fd, void *record, size_t size, int *passed) {
        struct iovec part = {.iov_base = record, .iov_len = size};
        union descriptor_space space;
        struct msghdr message = {.msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = space.bytes,
                .msg_controllen = sizeof(space.bytes)};
        ssize_t length = message_receive(fd, &message, MSG_DONTWAIT);
        if (length < 0)
                return length;
        *passed = -1;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
                memcpy(passed, CMSG_DATA(header), sizeof(int));
        return length;
}

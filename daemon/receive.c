/* See receive.h. Stateless. */
#include "receive.h"

#include <string.h>
#include <sys/socket.h>

ssize_t receive_watchfully(int fd, uint8_t *bytes, size_t size, bool wanted, struct received *out) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec room = {.iov_base = bytes, .iov_len = size};
        struct msghdr message = {.msg_iov = &room, .msg_iovlen = 1};
        *out = (struct received){.passed = -1};
        if (wanted) {
                message.msg_control = control.bytes;
                message.msg_controllen = sizeof(control.bytes);
        }
        ssize_t length = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (length <= 0)
                return length;
        const struct cmsghdr *came = wanted ? CMSG_FIRSTHDR(&message) : NULL;
        if (came && came->cmsg_level == SOL_SOCKET && came->cmsg_type == SCM_RIGHTS)
                memcpy(&out->passed, CMSG_DATA(came), sizeof(int));
        out->cut = (message.msg_flags & MSG_CTRUNC) != 0 || out->passed >= 0;
        return length;
}

/* See dial.h. */
#include "dial.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deadline.h"
#include "socket_path.h"

__attribute__((format(printf, 3, 4))) static int fail(
        char *detail, int error, const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(detail, DIAL_DETAIL_BYTES, format, arguments);
        va_end(arguments);
        return error;
}

static int find_socket(const char *asked, struct sockaddr_un *address, char *detail) {
        struct socket_surroundings surroundings = socket_surroundings_here(asked);
        int rc = socket_path_find(&surroundings, address);
        if (rc == -ENOENT)
                return fail(detail, -ENOTCONN,
                        "no socket to connect to: set BUDDYD_SOCKET or XDG_RUNTIME_DIR");
        if (rc < 0)
                return fail(detail, rc, "the socket's path is too long");
        return 0;
}

/* An errno of connect as what it means to the caller. */
static int connect_error(int error) {
        switch (error) {
        case EACCES:
        case EPERM:
                return -EACCES;
        case ENOMEM:
        case ENOBUFS:
                return -ENOMEM;
        default:
                return -ENOTCONN;
        }
}

static int set_connect_timeout(int fd, int64_t deadline) {
        int64_t left_ms = deadline_left_ms(deadline);
        if (left_ms < 0)
                left_ms = 0;
        struct timeval timeout = {
                .tv_sec = (time_t)(left_ms / 1000),
                .tv_usec = (suseconds_t)(left_ms % 1000 * 1000),
        };
        if (deadline != DEADLINE_NONE && left_ms == 0)
                timeout.tv_usec = 1;
        return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) == 0 ? 0 : -errno;
}

int dial(const char *asked, int64_t deadline, int *out, char detail[DIAL_DETAIL_BYTES]) {
        struct sockaddr_un address;
        int rc = find_socket(asked, &address, detail);
        if (rc < 0)
                return rc;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return fail(detail, -errno, "cannot make a socket: %s", strerror(errno));
        rc = set_connect_timeout(fd, deadline);
        while (rc == 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
                if (errno != EINTR || deadline_left_ms(deadline) == 0)
                        rc = -errno;
        }
        if (rc == 0 && deadline_left_ms(deadline) >= 0)
                rc = set_connect_timeout(fd, DEADLINE_NONE); /* the stream sets its own */
        if (rc < 0) {
                close(fd);
                return fail(detail, connect_error(-rc), "cannot connect to %s: %s",
                        address.sun_path, rc == -EAGAIN ? "no answer" : strerror(-rc));
        }
        *out = fd;
        return 0;
}

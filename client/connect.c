/* Connecting: find the socket, say hello, map the segment. What was begun is undone in reverse
 * order, so that a failure leaves the client as it was. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "deadline.h"
#include "hello.h"
#include "socket_path.h"

static int find_socket(const struct buddyclient *client, struct sockaddr_un *address) {
        struct socket_surroundings surroundings = socket_surroundings_here(client->socket_path);
        int rc = socket_path_find(&surroundings, address);
        if (rc == -ENOENT)
                return client_refuse(client, -ENOTCONN,
                        "no socket to connect to: set BUDDYD_SOCKET or XDG_RUNTIME_DIR");
        if (rc < 0)
                return client_refuse(client, rc, "the socket's path is too long");
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
                return 0;
        struct timeval timeout = {
                .tv_sec = (time_t)(left_ms / 1000),
                .tv_usec = (suseconds_t)(left_ms % 1000 * 1000),
        };
        if (left_ms == 0)
                timeout.tv_usec = 1;
        return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) == 0 ? 0 : -errno;
}

/* A socket that is connected to the daemon. A full backlog is waited for until the deadline. */
static int open_socket(const struct buddyclient *client, int64_t deadline, int *out) {
        struct sockaddr_un address;
        int rc = find_socket(client, &address);
        if (rc < 0)
                return rc;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return client_refuse(client, -errno, "cannot make a socket: %s", strerror(errno));
        rc = set_connect_timeout(fd, deadline);
        while (rc == 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
                if (errno != EINTR || deadline_left_ms(deadline) == 0)
                        rc = -errno;
        }
        if (rc < 0) {
                close(fd);
                return client_refuse(client, connect_error(-rc), "cannot connect to %s: %s",
                        address.sun_path, rc == -EAGAIN ? "no answer" : strerror(-rc));
        }
        *out = fd;
        return 0;
}

static int open_stream(const struct buddyclient *client, int64_t deadline, struct stream *out) {
        int fd = -1;
        int rc = open_socket(client, deadline, &fd);
        if (rc < 0)
                return rc;
        rc = stream_init(out, fd);
        if (rc == 0)
                return 0;
        close(fd);
        return client_refuse(client, rc, "no memory left in this process");
}

static int say_hello(const struct buddyclient *client, struct stream *stream, int64_t deadline,
        struct hello_answer *answer) {
        struct request_hello hello = {
                .version = PROTOCOL_VERSION,
                .pool = client->pool,
                .name = client->name,
                .access = client->read_only ? ACCESS_READ_ONLY : ACCESS_READ_WRITE,
                .cache_bytes = client->cache_bytes,
        };
        char detail[HELLO_DETAIL_BYTES];
        int rc = hello_exchange(stream, &hello, deadline, answer, detail);
        return rc < 0 ? client_refuse(client, rc, "%s", detail) : 0;
}

static int map_segment(struct buddyclient *client, const struct hello_answer *answer) {
        int rc = mapping_init(&client->mapping, answer->segment_fd, answer->size_bytes,
                answer->max_size_bytes, client->read_only);
        if (rc == -ENOMEM)
                return client_refuse(client, rc, "no address space for a segment of %llu bytes",
                        (unsigned long long)answer->max_size_bytes);
        if (rc < 0)
                return client_refuse(client, rc, "the daemon sent a segment that cannot be mapped");
        return 0;
}

static void adopt_session(struct buddyclient *client, const struct hello_answer *answer) {
        client->session = answer->session;
        memcpy(client->token, answer->token, sizeof(client->token));
        client->page_bytes = answer->page_bytes;
        client->max_size_bytes = answer->max_size_bytes;
        atomic_store_explicit(&client->size_bytes, answer->size_bytes, memory_order_relaxed);
        client->connected = true;
}

int buddyclient_connect(struct buddyclient *client) {
        if (!client)
                return -EINVAL;
        if (!process_mark_is_mine(&client->mark))
                return client_refuse(
                        client, -ENOTCONN, "this client belongs to the parent process");
        if (client->connected)
                return client_refuse(client, -EBUSY, "already connected");
        int64_t deadline = deadline_after(client->timeout_ms);
        struct stream stream;
        struct hello_answer answer;
        int rc = open_stream(client, deadline, &stream);
        if (rc < 0)
                return rc;
        rc = say_hello(client, &stream, deadline, &answer);
        if (rc < 0)
                goto close_stream;
        rc = map_segment(client, &answer);
        if (rc < 0)
                goto close_segment;
        rc = channel_init(&client->channel, &stream, HELLO_REQUEST_ID);
        if (rc < 0)
                goto unmap;
        adopt_session(client, &answer);
        return 0;
unmap:
        mapping_deinit(&client->mapping);
        goto close_stream;
close_segment:
        close(answer.segment_fd);
close_stream:
        stream_deinit(&stream);
        return rc;
}

/* Splits the address, binds, and reads back what the port is. */
#include "tcp_listener.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "complain.h"

#define BACKLOG 128

/* False: not of this form. */
static bool address_split(const char *address, char host[64], char port[8]) {
        const char *colon = strrchr(address, ':');
        if (!colon || !colon[1] || strlen(colon + 1) > 5)
                return false;
        if (colon[1 + strspn(colon + 1, "0123456789")] != '\0' || atoi(colon + 1) > 65535)
                return false;
        const char *begin = address;
        size_t length = (size_t)(colon - address);
        bool bracketed = length > 2 && begin[0] == '[' && begin[length - 1] == ']';
        if (bracketed) {
                begin++;
                length -= 2;
        }
        if (length == 0 || length > 63 || (!bracketed && memchr(begin, ':', length)))
                return false;
        memcpy(host, begin, length);
        host[length] = '\0';
        strcpy(port, colon + 1);
        return true;
}

/* A descriptor or -errno. */
static int bind_and_listen(const struct addrinfo *place) {
        static const int on = 1;
        int fd = socket(place->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (bind(fd, place->ai_addr, place->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
                int error = -errno;
                close(fd);
                return error;
        }
        return fd;
}

static void listener_name(struct tcp_listener *listener) {
        struct sockaddr_storage bound = {0};
        socklen_t length = sizeof(bound);
        char host[64] = "?", port[8] = "?";
        getsockname(listener->fd, (struct sockaddr *)&bound, &length);
        getnameinfo((struct sockaddr *)&bound, length, host, sizeof(host), port, sizeof(port),
                NI_NUMERICHOST | NI_NUMERICSERV);
        snprintf(listener->name, sizeof(listener->name),
                bound.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

enum exit_status tcp_listener_open(const char *address, struct tcp_listener *out) {
        char host[64], port[8];
        if (!address_split(address, host, port))
                return complain(EXIT_USAGE,
                        "--listen: \"%s\" is not an address and a port; give one as 127.0.0.1:9464",
                        address);
        const struct addrinfo wanted = {
                .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
        struct addrinfo *places;
        int unknown = getaddrinfo(host, port, &wanted, &places);
        if (unknown)
                return complain(EXIT_REFUSED, "--listen: %s: %s; give an address of this machine",
                        host, gai_strerror(unknown));
        out->fd = bind_and_listen(places);
        freeaddrinfo(places);
        if (out->fd < 0)
                return complain(EXIT_REFUSED,
                        "cannot listen on %s: %s; give another address or port", address,
                        strerror(-out->fd));
        listener_name(out);
        return EXIT_DONE;
}

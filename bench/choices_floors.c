/* The floors: what a message or a wake-up to another process and back costs without anything else. */
#include <sys/socket.h>
#include <unistd.h>

#include "choices.h"
#include "client/ctl/partner.h"

#define MESSAGE_BYTES 64u

static int ends[2];
static struct partner_echo *echo;

static void socket_echo(void *context) {
        (void)context;
        char bytes[MESSAGE_BYTES];
        close(ends[0]);
        while (recv(ends[1], bytes, sizeof(bytes), MSG_WAITALL) == sizeof(bytes) &&
                send(ends[1], bytes, sizeof(bytes), MSG_NOSIGNAL) == sizeof(bytes))
                continue;
}

static int socket_open(const struct choices_place *place, const char **why) {
        (void)place;
        pid_t partner;
        *why = "cannot start a process, or have no sockets";
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 ||
                partner_start(&partner, socket_echo, NULL) != 0)
                return -1;
        close(ends[1]);
        return 0;
}

static int socket_pairs(uint64_t bytes, unsigned count) {
        (void)bytes;
        char message[MESSAGE_BYTES] = {0};
        for (unsigned i = 0; i < count; i++)
                if (send(ends[0], message, sizeof(message), MSG_NOSIGNAL) != sizeof(message) ||
                        recv(ends[0], message, sizeof(message), MSG_WAITALL) != sizeof(message))
                        return -1;
        return 0;
}

static int futex_open(const struct choices_place *place, const char **why) {
        (void)place;
        *why = "cannot start a process, or have no memory";
        return partner_echo_start(&echo) == 0 ? 0 : -1;
}

static int futex_pairs(uint64_t bytes, unsigned count) {
        (void)bytes;
        for (unsigned i = 0; i < count; i++)
                if (partner_echo_exchange(echo) != 0)
                        return -1;
        return 0;
}

const struct choice choice_socket = {.name = "bare socket round trip, 64 bytes",
        .is_floor = true,
        .open = socket_open,
        .pairs = socket_pairs};

const struct choice choice_futex = {
        .name = "futex round trip", .is_floor = true, .open = futex_open, .pairs = futex_pairs};

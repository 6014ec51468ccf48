/* A listening TCP socket for an address that an operator typed. */
#pragma once

#include "command.h"

struct tcp_listener {
        int fd;         /* the caller's */
        char name[120]; /* where it listens, with the port that it really has */
};

/* "127.0.0.1:9000", "localhost:0", "[::1]:9000". Says why in one line if it cannot. */
enum exit_status tcp_listener_open(const char *address, struct tcp_listener *out);

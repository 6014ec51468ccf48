/* A client of a daemon that is nothing but a socket and the wire format: what a bench sends is what the daemon gets, and nothing
 * of the library is measured with it. */
#pragma once

#include <stdbool.h>
#include <sys/un.h>

#include "proto/message.h"

struct raw_client {
        int fd; /* owned */
        struct arena arena;
        uint8_t *input; /* what was received and not taken yet; owned */
        size_t begin, end;
};

/* A socket that is connected; -1: nobody is there. */
int raw_client_connect(const struct sockaddr_un *address);

/* Connects and says hello to a pool. False: it is not welcome, and there is nothing to close. */
bool raw_client_open(
        struct raw_client *client, const struct sockaddr_un *address, const char *pool);

/* Waits for the next reply; valid until the next call. False: there is none, or it is none of this protocol. */
bool raw_client_reply(struct raw_client *client, struct reply *reply);

void raw_client_close(struct raw_client *client);

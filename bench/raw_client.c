/* See raw_client.h. */
#include "raw_client.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/frame.h"

#define INPUT_BYTES (2u << 20)

bool raw_client_reply(struct raw_client *client, struct reply *reply) {
        const uint8_t *message;
        size_t bytes, wanted;
        while (frame_next(client->input + client->begin, client->end - client->begin,
                       FRAME_REPLY_MAX, &message, &bytes, &wanted) != 1) {
                memmove(client->input, client->input + client->begin, client->end - client->begin);
                client->end -= client->begin;
                client->begin = 0;
                ssize_t got =
                        recv(client->fd, client->input + client->end, INPUT_BYTES - client->end, 0);
                if (got <= 0)
                        return false;
                client->end += (size_t)got;
        }
        client->begin += FRAME_HEADER_BYTES + bytes;
        arena_reset(&client->arena);
        return reply_decode(&client->arena, message, bytes, reply) == 0;
}

int raw_client_connect(const struct sockaddr_un *address) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
                return fd;
        close(fd);
        return -1;
}

static bool say_hello(struct raw_client *client, const char *pool) {
        struct request hello = {
                .id = 1,
                .kind = REQUEST_HELLO,
                .hello = {.version = PROTOCOL_VERSION, .pool = pool, .name = "bench"},
        };
        uint8_t frame[512];
        struct reply reply;
        ptrdiff_t length = request_encode(&hello, frame, sizeof(frame));
        return length > 0 && send(client->fd, frame, (size_t)length, MSG_NOSIGNAL) == length &&
               raw_client_reply(client, &reply) && reply.kind == REPLY_WELCOME;
}

bool raw_client_open(
        struct raw_client *client, const struct sockaddr_un *address, const char *pool) {
        *client = (struct raw_client){.fd = raw_client_connect(address)};
        if (client->fd < 0)
                return false;
        client->input = malloc(INPUT_BYTES);
        if (client->input && arena_init(&client->arena, MESSAGE_ARENA_REPLY) == 0 &&
                say_hello(client, pool))
                return true;
        raw_client_close(client);
        return false;
}

void raw_client_close(struct raw_client *client) {
        close(client->fd);
        free(client->input);
        arena_deinit(&client->arena);
}

/* Compiled as C and as C++ against an installed library: makes a client, and with a socket and a pool as
 * arguments takes, fills and returns a range. */
#include <buddyclient.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static int complain(struct buddyclient *client, const char *what, int rc) {
        fprintf(stderr, "%s: %s (%s)\n", what, buddyclient_strerror(rc),
                buddyclient_detail(client));
        return 1;
}

static int use_range(struct buddyclient *client) {
        struct buddyclient_range range;
        int rc = buddyclient_alloc(client, 5000, &range);
        if (rc < 0)
                return complain(client, "alloc", rc);
        memset(buddyclient_pointer(client, &range), 1, range.length);
        rc = buddyclient_release(client, &range);
        return rc < 0 ? complain(client, "release", rc) : 0;
}

static void note_submitted(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        if (completion->result == 0 && completion->count == 1)
                *(struct buddyclient_range *)data = completion->ranges[0];
        else
                complain(client, "submitted alloc", completion->result);
}

static int use_dispatch(struct buddyclient *client) {
        struct buddyclient_range range = {0, 0, 0};
        struct pollfd ready = {buddyclient_fd(client), POLLIN, 0};
        int rc = buddyclient_submit_alloc(client, 5000, note_submitted, &range);
        int told = 0;
        while (rc == 0 && told == 0 && poll(&ready, 1, 5000) == 1)
                told = buddyclient_dispatch(client);
        if (told != 1 || range.length != 8192)
                return complain(client, "dispatch", told);
        rc = buddyclient_release(client, &range);
        return rc < 0 ? complain(client, "release", rc) : 0;
}

static int use_pool(struct buddyclient *client, const char *socket, const char *pool) {
        int rc = buddyclient_set_socket(client, socket);
        if (rc == 0)
                rc = buddyclient_set_pool(client, pool);
        if (rc == 0)
                rc = buddyclient_connect(client);
        if (rc < 0)
                return complain(client, "connect", rc);
        struct buddyclient_stats stats;
        stats.struct_size = sizeof(stats);
        rc = buddyclient_stats(client, &stats);
        if (rc < 0)
                return complain(client, "stats", rc);
        int status = use_range(client);
        return status == 0 ? use_dispatch(client) : status;
}

int main(int argc, char **argv) {
        struct buddyclient *client;
        int rc = buddyclient_new(&client);
        if (rc < 0)
                return complain(NULL, "new", rc);
        int status = 0;
        if (argc == 3)
                status = use_pool(client, argv[1], argv[2]);
        else if (buddyclient_set_socket(client, "/nonexistent") != 0 ||
                 buddyclient_connect(client) != -ENOTCONN)
                status = complain(client, "a daemon that is not there", 0);
        buddyclient_destroy(client);
        if (status == 0)
                printf("%s\n", buddyclient_version());
        return status;
}

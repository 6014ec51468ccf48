/* guest POOL NAME: a client that takes a range and says so, and for each line on its standard input looks whether the
 * range still is its own and answers. Ends without a goodbye when the input ends. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <buddyclient.h>

#define LENGTH 65536

static struct buddyclient *client;

static int complain(const char *what, int error) {
        fprintf(stderr, "guest: %s: %s (%s)\n", what, buddyclient_strerror(error),
                buddyclient_detail(client));
        return 1;
}

static int guest_begin(const char *pool, const char *name) {
        int error = buddyclient_new(&client);
        if (!error)
                error = buddyclient_set_pool(client, pool);
        if (!error)
                error = buddyclient_set_name(client, name);
        if (!error)
                error = buddyclient_set_cache_bytes(client, 0); /* what it holds is known exactly */
        if (!error)
                error = buddyclient_set_timeout_ms(client, 20000); /* a watchdog takes its time */
        if (!error)
                error = buddyclient_connect(client);
        return error;
}

/* The bytes, the hold, and whether the daemon takes requests. */
static int guest_look(const struct buddyclient_range *range, int mark) {
        const char *bytes = buddyclient_pointer(client, range);
        for (size_t i = 0; i < LENGTH; i++) {
                if (bytes[i] != mark)
                        return -EIO;
        }
        int error = buddyclient_attach(client, range);
        return error ? error : buddyclient_release(client, range);
}

int main(int argc, char **argv) {
        if (argc != 3)
                return 2;
        struct buddyclient_range range;
        int error = guest_begin(argv[1], argv[2]);
        if (!error)
                error = buddyclient_alloc(client, LENGTH, &range);
        if (error)
                return complain("begin", error);
        const int mark = argv[2][0];
        memset(buddyclient_pointer(client, &range), mark, LENGTH);

        char line[64];
        do {
                error = guest_look(&range, mark);
                if (error)
                        return complain("look", error);
                puts("mine");
                fflush(stdout);
        } while (fgets(line, sizeof(line), stdin));
        _exit(0);
}

/* hello [POOL]: takes a range of a pool, writes into it, and gives it back. */
#include <stdio.h>

#include <buddyclient.h>

int main(int argc, char **argv) {
        struct buddyclient *client;
        if (buddyclient_new(&client))
                return 1;

        struct buddyclient_range range;
        int result = buddyclient_set_pool(client, argc > 1 ? argv[1] : "default");
        if (!result)
                result = buddyclient_connect(client);
        if (!result)
                result = buddyclient_alloc_wait(client, 100000, 1000, &range);
        if (!result) {
                char *text = buddyclient_pointer(client, &range);
                snprintf(text, range.length, "hello from offset %#llx",
                        (unsigned long long)range.offset);
                printf("%s, %llu bytes\n", text, (unsigned long long)range.length);
                result = buddyclient_release(client, &range);
        }

        if (result)
                fprintf(stderr, "hello: %s (%s)\n", buddyclient_strerror(result),
                        buddyclient_detail(client));
        buddyclient_destroy(client);
        return result ? 1 : 0;
}

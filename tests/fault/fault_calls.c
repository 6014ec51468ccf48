/* Makes every call of the library once or a few times, with a cache and without. For running under a tool that looks on.
 *
 * fault_calls SOCKET POOL */
#include <stdio.h>

#include "client/buddyclient.h"

#define PAGE UINT64_C(4096)
#define MANY 32

static int failed(const char *what, int result, struct buddyclient *client) {
        fprintf(stderr, "%s: %d (%s)\n", what, result, buddyclient_detail(client));
        return 1;
}

#define TRY(call)                                                                                  \
        do {                                                                                       \
                int result = call;                                                                 \
                if (result != 0)                                                                   \
                        return failed(#call, result, client);                                      \
        } while (0)

static int share(struct buddyclient *client, struct buddyclient *peer) {
        struct buddyclient_range range, found, many[MANY];
        uint32_t id;
        TRY(buddyclient_alloc(client, PAGE, &range));
        TRY(buddyclient_publish(client, "key", &range));
        TRY(buddyclient_lookup(peer, "key", &found));
        TRY(buddyclient_unpublish(client, "key"));
        TRY(buddyclient_release(peer, &found));
        TRY(buddyclient_attach(peer, &range));
        TRY(buddyclient_release(peer, &range));
        TRY(buddyclient_find(client, "peer", &id));
        TRY(buddyclient_give(client, &range, id));
        TRY(buddyclient_release(peer, &range));
        TRY(buddyclient_alloc_many(client, 2 * PAGE, MANY, many));
        TRY(buddyclient_give_many(client, many, MANY / 2, id));
        TRY(buddyclient_release_many(client, many + MANY / 2, MANY / 2));
        return 0;
}

static int churn(struct buddyclient *client) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        struct buddyclient_range ranges[MANY];
        for (unsigned round = 0; round < 20; round++) {
                for (unsigned i = 0; i < MANY; i++) {
                        TRY(buddyclient_alloc(client, PAGE << i % 4, &ranges[i]));
                        *(char *)buddyclient_pointer(client, &ranges[i]) = 1;
                }
                for (unsigned i = 0; i < MANY; i++)
                        TRY(buddyclient_release(client, &ranges[i]));
        }
        if (buddyclient_release(client, &ranges[0]) == 0 ||
                buddyclient_alloc_wait(client, UINT64_C(1) << 40, 1, ranges) == 0)
                return failed("what must be refused", 0, client);
        TRY(buddyclient_stats(client, &stats));
        return 0;
}

int main(int argc, char **argv) {
        struct buddyclient *client = NULL, *peer = NULL;
        if (argc != 3) {
                fprintf(stderr, "usage: fault_calls SOCKET POOL\n");
                return 2;
        }
        TRY(buddyclient_new(&client));
        TRY(buddyclient_new(&peer));
        TRY(buddyclient_set_socket(client, argv[1]));
        TRY(buddyclient_set_pool(client, argv[2]));
        TRY(buddyclient_set_socket(peer, argv[1]));
        TRY(buddyclient_set_pool(peer, argv[2]));
        TRY(buddyclient_set_name(peer, "peer"));
        TRY(buddyclient_set_cache_bytes(peer, 0));
        TRY(buddyclient_connect(client));
        TRY(buddyclient_connect(peer));
        int status = churn(client);
        if (status == 0)
                status = churn(peer);
        if (status == 0)
                status = share(client, peer);
        buddyclient_destroy(client);
        buddyclient_destroy(peer);
        return status;
}

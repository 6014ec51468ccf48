/* Connecting to the pool. */
#include "pool.h"

#include <stdio.h>

void pool_complain(const char *what, struct buddyclient *client, int error) {
        const char *detail = buddyclient_detail(client);
        fprintf(stderr, "pipeline: %s: %s\n", what,
                detail[0] ? detail : buddyclient_strerror(error));
}

int pool_connect(
        const struct options *options, const char *name, bool read_only, struct buddyclient **out) {
        struct buddyclient *client;
        int result = buddyclient_new(&client);
        if (result) {
                fprintf(stderr, "pipeline: %s\n", buddyclient_strerror(result));
                return result;
        }
        if (options->socket)
                result = buddyclient_set_socket(client, options->socket);
        if (!result && options->pool)
                result = buddyclient_set_pool(client, options->pool);
        if (!result)
                result = buddyclient_set_name(client, name);
        if (!result)
                result = buddyclient_set_read_only(client, read_only);
        if (!result)
                result = buddyclient_connect(client);
        if (result) {
                pool_complain("cannot connect to the pool", client, result);
                buddyclient_destroy(client);
                return result;
        }
        *out = client;
        return 0;
}

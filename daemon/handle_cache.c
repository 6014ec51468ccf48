/* cache and uncache: a client's cache of ranges. */
#include "handle.h"

#include <errno.h>

#include "connection.h"
#include "proto/cache_area.h"
#include "session.h"
#include "worker.h"

enum status handle_cache(struct call *call) {
        struct connection *connection = call->connection;
        const char *why = NULL;
        int fd = connection->passed;
        connection->passed = -1;
        connection->expects_cache = false;
        if (connection->plain_receive)
                peer_pass_descriptors(connection->fd, false);
        int error = cache_adopt(call->served, call->session->id, fd, &why);
        if (error)
                return call_refuse(call, error == -ENOMEM ? STATUS_NO_SPACE : STATUS_INVALID,
                        "the memory of the cache is not usable: %s", why);
        call->descriptor = call->served->pulse.fd;
        /* Whoever began to wait before it came has not seen what is in it. */
        if (atomic_load(&call->served->pulse.page->pressure) > 0) {
                for (unsigned order = 0; order < CACHE_ORDERS; order++)
                        cache_trim(call->served, call->session->id, order, 0);
                call_freed(call);
        }
        return STATUS_OK;
}

enum status handle_uncache(struct call *call) {
        const struct request_uncache *uncache = &call->request->uncache;
        if (cache_trim(call->served, call->session->id, uncache->order, uncache->keep) > 0)
                call_freed(call);
        return STATUS_OK;
}

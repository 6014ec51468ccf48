/* See later.h. */
#include "later.h"

#include "connection.h"
#include "handle.h"

enum status later_begin(struct later *later, struct call *call) {
        if (link_used(&call->connection->laters))
                return call_refuse(call, STATUS_BUSY,
                        "another request of this connection takes its time: await its answer");
        later->connection = call->connection;
        later->id = call->request->id;
        link_init(&later->in_connection);
        list_append(&call->connection->laters, &later->in_connection);
        call->reply.kind = REPLY_NONE;
        return STATUS_OK;
}

void later_answer(struct later *later, struct reply *reply) {
        struct connection *connection = later->connection;
        if (!connection)
                return;
        later->connection = NULL;
        link_remove(&later->in_connection);
        reply->id = later->id;
        connection_reply(connection, reply);
}

void later_refuse(struct later *later, enum status status, const char *detail) {
        struct reply reply = {
                .kind = REPLY_REFUSED,
                .refused = {.status = status, .detail = detail},
        };
        later_answer(later, &reply);
}

void laters_forget(struct connection *connection) {
        while (link_used(&connection->laters)) {
                struct later *later =
                        LINK_OWNER(connection->laters.next, struct later, in_connection);
                link_remove(&later->in_connection);
                later->connection = NULL;
        }
}

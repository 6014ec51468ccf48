/* ping, hello and goodbye: beginning and end of a session. */
#include "handle.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "connection.h"
#include "log.h"
#include "serving.h"
#include "session.h"

enum status handle_ping(struct call *call) {
        (void)call;
        return STATUS_OK;
}

static struct served_pool *serving_find_pool(const struct serving *serving, const char *name) {
        for (size_t i = 0; i < serving->pool_count; i++)
                if (strcmp(serving->pools[i].store->settings.name, name) == 0)
                        return &serving->pools[i];
        return NULL;
}

/* Names end up in logs and on terminals. */
static bool name_is_printable(const char *name) {
        for (; *name; name++)
                if ((unsigned char)*name < 0x20 || *name == 0x7f)
                        return false;
        return true;
}

static enum status hello_check(struct call *call, const struct request_hello *hello) {
        if (hello->version != PROTOCOL_VERSION)
                return call_refuse(call, STATUS_PROTOCOL,
                        "protocol version %" PRIu32 ": this daemon speaks version %u",
                        hello->version, PROTOCOL_VERSION);
        if (hello->access > ACCESS_OBSERVER)
                return call_refuse(call, STATUS_INVALID, "no such kind of access");
        if (strlen(hello->name) >= LEDGER_NAME_BYTES)
                return call_refuse(
                        call, STATUS_INVALID, "a name has at most %u bytes", LEDGER_NAME_BYTES - 1);
        if (!name_is_printable(hello->name))
                return call_refuse(call, STATUS_INVALID, "a name has no control characters");
        if (hello->token)
                return call_refuse(
                        call, STATUS_NOT_FOUND, "session %" PRIu32 " is gone", hello->session);
        return STATUS_OK;
}

static enum status hello_open_session(
        struct call *call, struct served_pool *served, struct pool_session_identity *identity) {
        const struct request_hello *hello = &call->request->hello;
        const struct peer *peer = &call->connection->peer;
        *identity = (struct pool_session_identity){
                .pid = peer->pid,
                .uid = peer->uid,
                .gid = peer->gid,
                .start_time = peer->start_time,
                .read_only = hello->access == ACCESS_READ_ONLY,
        };
        memcpy(identity->name, hello->name, strlen(hello->name));
        if (getrandom(identity->token, sizeof(identity->token), 0) != sizeof(identity->token))
                return call_refuse(call, STATUS_BUSY, "no random bytes for a token");
        int error = session_open(call->connection, served, identity, &call->connection->session);
        if (error == -EAGAIN)
                return call_refuse(call, STATUS_BUSY, "all %u sessions of this pool are in use",
                        LEDGER_SESSIONS - 2);
        if (error)
                return call_refuse(call, STATUS_NO_SPACE, "the daemon is out of memory");
        return STATUS_OK;
}

static void hello_reply(struct call *call, const uint8_t *token) {
        static const uint32_t descriptors[] = {DESCRIPTOR_SEGMENT};
        const struct served_pool *served = call->connection->served;
        const struct session *session = call->connection->session;
        const struct store *store = served->store;
        call->reply.kind = REPLY_WELCOME;
        call->reply.welcome = (struct reply_welcome){
                .version = PROTOCOL_VERSION,
                .session = session ? session->id : 0,
                .token = token,
                .page_bytes = served->page_bytes,
                .size_bytes = pool_pages(served->pool) * served->page_bytes,
                .max_size_bytes = pool_pages_max(served->pool) * served->page_bytes,
                .descriptors = descriptors,
                .descriptor_count = session ? 1 : 0,
        };
        if (session)
                call->descriptor =
                        session->read_only ? store->segment_fd_read_only : store->segment_fd;
}

enum status handle_hello(struct call *call) {
        const struct request_hello *hello = &call->request->hello;
        enum status status = hello_check(call, hello);
        if (status != STATUS_OK)
                return status;
        struct served_pool *served = serving_find_pool(call->worker->serving, hello->pool);
        if (!served)
                return call_refuse(call, STATUS_NOT_FOUND, "no pool '%.64s' here", hello->pool);

        struct pool_session_identity identity;
        bool observer = hello->access == ACCESS_OBSERVER;
        if (!observer)
                status = hello_open_session(call, served, &identity);
        if (status != STATUS_OK)
                return status;
        call->connection->served = served;
        call->connection->state = CONNECTION_OPEN;
        uint8_t *token = NULL;
        if (!observer) {
                token = (uint8_t *)call->worker->scratch->places;
                memcpy(token, identity.token, MESSAGE_TOKEN_BYTES);
        }
        hello_reply(call, token);
        return STATUS_OK;
}

/* The reply comes when all is returned. */
enum status handle_goodbye(struct call *call) {
        struct connection *connection = call->connection;
        struct session *session = call->session;
        connection->state = session ? CONNECTION_PARTING : CONNECTION_LEAVING;
        if (!session)
                return STATUS_OK;
        connection->session = NULL;
        connection->parting = session;
        session->farewell = connection;
        session->farewell_id = call->request->id;
        session->said_goodbye = true;
        session_end(session);
        call->reply.kind = REPLY_NONE;
        return STATUS_OK;
}

/* Connecting: find the socket, say hello, map the segment. What was begun is undone in reverse
 * order, so that a failure leaves the client as it was. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "deadline.h"
#include "dial.h"
#include "giveback.h"
#include "hello.h"
#include "reopen.h"

static int open_stream(const struct buddyclient *client, int64_t deadline, struct stream *out) {
        char detail[DIAL_DETAIL_BYTES];
        int fd = -1;
        int rc = dial(client->socket_path, deadline, &fd, detail);
        if (rc < 0)
                return client_refuse(client, rc, "%s", detail);
        rc = stream_init(out, fd);
        if (rc == 0)
                return 0;
        close(fd);
        return client_refuse(client, rc, "no memory left in this process");
}

static int say_hello(const struct buddyclient *client, struct stream *stream, int64_t deadline,
        struct hello_answer *answer) {
        struct request_hello hello = client_hello(client);
        char detail[HELLO_DETAIL_BYTES];
        int rc = hello_exchange(stream, &hello, deadline, answer, detail);
        return rc < 0 ? client_refuse(client, rc, "%s", detail) : 0;
}

static int map_segment(struct buddyclient *client, const struct hello_answer *answer) {
        int rc = mapping_init(&client->mapping, answer->segment_fd, answer->size_bytes,
                answer->max_size_bytes, client->read_only);
        if (rc == -ENOMEM)
                return client_refuse(client, rc, "no address space for a segment of %llu bytes",
                        (unsigned long long)answer->max_size_bytes);
        if (rc < 0)
                return client_refuse(client, rc, "the daemon sent a segment that cannot be mapped");
        return 0;
}

static void adopt_session(struct buddyclient *client, const struct hello_answer *answer) {
        client->session = answer->session;
        memcpy(client->token, answer->token, sizeof(client->token));
        client->page_bytes = answer->page_bytes;
        client->max_size_bytes = answer->max_size_bytes;
        atomic_store_explicit(&client->size_bytes, answer->size_bytes, memory_order_relaxed);
        client->connected = true;
}

/* At most this part of the pool. */
#define CACHE_POOL_PART 64u

/* The second exchange of a session. Without a cache all goes by requests. -ENOTCONN, -EPROTO: the connection is of no use any more. */
static int open_cache(struct buddyclient *client, const struct hello_answer *answer,
        struct stream *stream, int64_t deadline) {
        uint64_t budget = answer->size_bytes / CACHE_POOL_PART;
        if (client->cache_bytes < budget)
                budget = client->cache_bytes;
        struct cache_pool pool = {answer->page_bytes, answer->max_size_bytes, answer->token,
                {client, giveback_shared}};
        int rc;
        if (client->read_only || !cache_init(&client->cache, &pool, budget)) {
                rc = hello_confirm(stream, deadline);
                return rc < 0 ? client_refuse(client, rc, "the daemon does not answer") : 0;
        }
        rc = cache_hand_over(&client->cache, stream, SECOND_REQUEST_ID, deadline);
        if (rc < 0)
                cache_deinit(&client->cache);
        if (rc == -EAGAIN)
                return 0;
        if (rc == -ETIMEDOUT)
                rc = -ENOTCONN;
        return rc < 0 ? client_refuse(client, rc, "the daemon does not answer") : 0;
}

/* Ends a session that will not be used. The daemon keeps one that has lost its connection for as long as this process lives, so
 * where the connection is lost it is ended over another. */
static void end_session(const struct buddyclient *client, const struct hello_answer *answer,
        struct stream *stream, int64_t deadline) {
        struct request_hello hello = client_hello(client);
        struct hello_answer again;
        char dialing[DIAL_DETAIL_BYTES], greeting[HELLO_DETAIL_BYTES];
        int fd;
        if (hello_take_back(stream) == 0 || dial(client->socket_path, deadline, &fd, dialing) < 0)
                return;
        stream_reopen(stream, fd);
        hello.session = answer->session;
        hello.token = answer->token;
        if (hello_exchange(stream, &hello, deadline, &again, greeting) < 0)
                return;
        close(again.segment_fd);
        hello_take_back(stream);
}

int buddyclient_connect(struct buddyclient *client) {
        if (!client)
                return -EINVAL;
        if (!process_mark_is_mine(&client->mark))
                return client_refuse(
                        client, -ENOTCONN, "this client belongs to the parent process");
        if (client->connected)
                return client_refuse(client, -EBUSY, "already connected");
        int64_t deadline = deadline_after(client->timeout_ms);
        struct stream stream;
        struct hello_answer answer;
        int rc = open_stream(client, deadline, &stream);
        if (rc < 0)
                return rc;
        rc = say_hello(client, &stream, deadline, &answer);
        if (rc < 0)
                goto close_stream;
        rc = map_segment(client, &answer);
        if (rc < 0)
                goto close_segment;
        rc = open_cache(client, &answer, &stream, deadline);
        if (rc < 0)
                goto unmap;
        struct channel_keeper keeper = reopen_keeper(client);
        rc = channel_init(&client->channel, &stream, SECOND_REQUEST_ID, &keeper);
        if (rc < 0)
                goto close_cache;
        adopt_session(client, &answer);
        return 0;
close_cache:
        cache_deinit(&client->cache);
unmap:
        end_session(client, &answer, &stream, deadline);
        mapping_deinit(&client->mapping);
        goto close_stream;
close_segment:
        close(answer.segment_fd);
close_stream:
        stream_deinit(&stream);
        return rc;
}

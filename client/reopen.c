/* Connect, say hello with the token, see that session and segment are the same as before, and, if a grant may have
 * been lost, ask what the session holds. All on the thread that is resuming, which has stream, arena and roll for
 * itself. Of what goes wrong, only what the daemon itself says to hello is final; everything
 * else may be a daemon that is just coming or going. */
#include "reopen.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "dial.h"
#include "hello.h"
#include "reconcile.h"
#include "roll_call.h"

static int fail(char *detail, int error, const char *reason) {
        snprintf(detail, CALL_DETAIL_BYTES, "%s", reason);
        return error;
}

/* ---- Hello ---- */

static int judge_hello(int rc, char *detail, const char *reason) {
        switch (rc) {
        case -ENOENT: /* the session, or the pool */
                return fail(detail, -ENOTCONN, reason);
        case -EACCES:
        case -EPROTO:
        case -EINVAL:
                return fail(detail, rc, reason);
        default:
                return fail(detail, -EAGAIN, reason);
        }
}

static int check_answer(
        const struct buddyclient *client, const struct hello_answer *answer, char *detail) {
        if (!answer->resumed || answer->session != client->session)
                return fail(detail, -ENOTCONN, "the session is gone: the daemon opened another");
        int same = mapping_is_of(&client->mapping, answer->segment_fd);
        if (same < 0)
                return fail(detail, -EAGAIN, "the segment that the daemon sent cannot be seen");
        if (answer->page_bytes != client->page_bytes || !same)
                return fail(detail, -ENOTCONN, "the session is gone: the pool is another");
        return 0;
}

static int take_answer(
        struct buddyclient *client, const struct hello_answer *answer, char *detail) {
        int rc = check_answer(client, answer, detail);
        close(answer->segment_fd);
        client->done = answer->done;
        client->granted_ranges = answer->granted_ranges;
        if (rc == 0)
                client_learn_size(client, answer->size_bytes);
        return rc;
}

static int dial_and_say_hello(struct buddyclient *client, int64_t deadline, char *detail) {
        struct stream *stream = &client->channel.stream;
        int fd = -1;
        if (dial(client->socket_path, deadline, &fd, detail) < 0)
                return -EAGAIN;
        stream_reopen(stream, fd);
        struct request_hello hello = client_hello(client);
        char reason[HELLO_DETAIL_BYTES];
        int rc = hello_send(stream, &hello, deadline, reason);
        if (rc < 0)
                return judge_hello(rc, detail, reason);
        client->reopening.phase = REOPEN_HELLO;
        return 0;
}

static int hear_hello(struct buddyclient *client, int64_t deadline, char *detail) {
        struct stream *stream = &client->channel.stream;
        struct hello_answer answer;
        char reason[HELLO_DETAIL_BYTES];
        int rc = hello_receive(stream, deadline, &client->reopening.descriptors, &answer, reason);
        if (rc == -ETIMEDOUT)
                return -EINPROGRESS;
        rc = rc < 0 ? judge_hello(rc, detail, reason) : take_answer(client, &answer, detail);
        client->reopening.phase = REOPEN_DIAL;
        if (rc < 0 || !client->cache.area)
                return rc;
        if (cache_hand_over_send(&client->cache, stream, ++client->channel.last_id) < 0)
                return fail(detail, -EAGAIN, "the daemon does not take the cache back");
        client->reopening.phase = REOPEN_CACHE;
        return 0;
}

static int hear_of_cache(struct buddyclient *client, int64_t deadline, char *detail) {
        int rc = cache_hand_over_receive(&client->cache, &client->channel.stream,
                client->channel.last_id, deadline, &client->reopening.descriptors);
        if (rc == -ETIMEDOUT)
                return -EINPROGRESS;
        client->reopening.phase = REOPEN_DIAL;
        return rc < 0 ? fail(detail, -EAGAIN, "the daemon does not take the cache back") : 0;
}

/* ---- Holds ---- */

static int receive_reply(struct channel *channel, int64_t deadline, struct reply *reply) {
        const uint8_t *message;
        size_t length;
        int rc;
        while ((rc = stream_next(&channel->stream, &message, &length)) == 0) {
                rc = stream_receive(&channel->stream, deadline, NULL);
                if (rc < 0)
                        return rc;
        }
        if (rc < 0)
                return rc;
        arena_reset(&channel->arena);
        return reply_decode(&channel->arena, message, length, reply) < 0 ? -EPROTO : 0;
}

static int ask_holds(struct buddyclient *client, uint64_t cursor, int64_t deadline) {
        struct channel *channel = &client->channel;
        struct request request = {
                .id = ++channel->last_id,
                .kind = REQUEST_HOLDS,
                .holds = {.session = client->session, .cursor = cursor},
        };
        size_t sent;
        ptrdiff_t length = request_encode(
                &request, channel->stream.out, FRAME_HEADER_BYTES + FRAME_REQUEST_MAX);
        return stream_send(&channel->stream, channel->stream.out, (size_t)length, deadline, &sent);
}

static int receive_holds(
        struct buddyclient *client, uint64_t cursor, int64_t deadline, struct reply *reply) {
        int rc = receive_reply(&client->channel, deadline, reply);
        if (rc < 0)
                return rc;
        if (reply->kind == REPLY_REFUSED)
                return -EAGAIN;
        if (reply->id != client->channel.last_id || reply->kind != REPLY_HOLDS)
                return -EPROTO;
        uint64_t next_cursor = reply->holds.next_cursor;
        return next_cursor != 0 && next_cursor <= cursor ? -EPROTO : 0;
}

static int enter_holds(struct buddyclient *client, const struct reply_holds *holds) {
        int rc = 0;
        for (size_t i = 0; rc == 0 && i < holds->count; i++)
                if (holds->entries[i].session == client->session)
                        rc = roll_call_enter(client, &client->roll, &holds->entries[i]);
        return rc;
}

static int begin_listing(struct buddyclient *client, int64_t deadline) {
        roll_deinit(&client->roll);
        client->reopening.cursor = 0;
        int rc = roll_reserve(&client->roll, holdings_count(&client->holdings));
        return rc < 0 ? rc : ask_holds(client, 0, deadline);
}

/* While one page is entered, the daemon makes the next. */
static int list_holds(struct buddyclient *client, int64_t deadline) {
        struct reopening *reopening = &client->reopening;
        int rc = reopening->listing ? 0 : begin_listing(client, deadline);
        reopening->listing = rc == 0;
        while (reopening->listing) {
                struct reply reply;
                rc = receive_holds(client, reopening->cursor, deadline, &reply);
                if (rc == -ETIMEDOUT)
                        return -EINPROGRESS;
                reopening->listing = false;
                if (rc < 0)
                        break;
                reopening->cursor = reply.holds.next_cursor;
                if (reopening->cursor != 0)
                        rc = ask_holds(client, reopening->cursor, deadline);
                if (rc == 0)
                        rc = enter_holds(client, &reply.holds);
                reopening->listing = rc == 0 && reopening->cursor != 0;
        }
        return rc;
}

/* ---- What the channel asks for ---- */

static int reopen(void *context, int64_t deadline, char detail[CALL_DETAIL_BYTES]) {
        struct buddyclient *client = context;
        struct reopening *reopening = &client->reopening;
        reopening->listing = false;
        int rc = 0;
        if (reopening->phase == REOPEN_DIAL)
                rc = dial_and_say_hello(client, deadline, detail);
        if (rc == 0 && reopening->phase == REOPEN_HELLO)
                rc = hear_hello(client, deadline, detail);
        if (rc == 0 && reopening->phase == REOPEN_CACHE)
                rc = hear_of_cache(client, deadline, detail);
        if (rc < 0 && rc != -EINPROGRESS)
                reopening->phase = REOPEN_DIAL;
        return rc;
}

static int list(void *context, int64_t deadline, char detail[CALL_DETAIL_BYTES]) {
        int rc = list_holds(context, deadline);
        if (rc == -EPROTO)
                return fail(detail, rc, "the daemon's answer is not of this protocol");
        return rc < 0 && rc != -EINPROGRESS
                       ? fail(detail, -EAGAIN, "the daemon does not say what is held")
                       : rc;
}

static int settle(void *context) {
        struct buddyclient *client = context;
        int rc = reconcile_named(client, &client->done);
        return rc > 0 ? !reconcile_by_count(client, client->granted_ranges) : rc;
}

static int compare(void *context) {
        struct buddyclient *client = context;
        int rc = reconcile_granted(client, &client->roll);
        roll_deinit(&client->roll);
        return rc;
}

static void owe_range(void *context, const struct message_range *range) {
        struct buddyclient *client = context;
        struct buddyclient_range found = {range->offset, range->length, range->generation};
        uint64_t place;
        uint32_t generation;
        if (client_place(client, &found, &place, &generation) == 0)
                late_owe_copy(&client->channel.late,
                        &(struct message_ranges){&place, &generation, 1}, false);
}

static void forget(void *context, const struct message_ranges *ranges) {
        client_forget(context, ranges);
}

struct channel_keeper reopen_keeper(struct buddyclient *client) {
        return (struct channel_keeper){client, reopen, settle, list, compare, owe_range, forget};
}

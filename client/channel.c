/* Who sends, who reads, who sleeps. The pending list holds every call whose reply is awaited.
 * Sending and reading are roles, taken and given back under the lock and exercised without it,
 * so nobody ever does I/O with the lock held. A reader that leaves wakes one sleeper, and a
 * sleeper that wakes to find nobody reading reads: so as long as anybody waits, somebody reads. */
#include "channel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deadline.h"

/* How long returning a late grant may hold up the call that found it. */
#define LATE_SEND_MS 1000

/* Ranges that came for a request nobody waited for any more. */
struct late_grant {
        struct late_grant *next;
        struct message_ranges ranges;
        uint64_t *places; /* owned, as are the generations behind them */
        uint32_t *generations;
};

int channel_init(struct channel *channel, struct stream *stream, uint64_t last_id) {
        struct arena arena;
        int rc = arena_init(&arena, MESSAGE_ARENA_REPLY);
        if (rc < 0)
                return rc;
        *channel = (struct channel){.stream = *stream, .arena = arena, .last_id = last_id};
        channel->pending_end = &channel->pending;
        *stream = (struct stream){.fd = -1};
        pthread_mutex_init(&channel->lock, NULL);
        pthread_cond_init(&channel->send_free, NULL);
        return 0;
}

static void late_grant_free(struct late_grant *late) {
        if (!late)
                return;
        free(late->places);
        free(late->generations);
        free(late);
}

void channel_deinit(struct channel *channel, bool inherited) {
        stream_deinit(&channel->stream);
        arena_deinit(&channel->arena);
        while (channel->late) {
                struct late_grant *late = channel->late;
                channel->late = late->next;
                late_grant_free(late);
        }
        free(channel->abandoned);
        channel->abandoned = NULL;
        if (inherited)
                return;
        pthread_cond_destroy(&channel->send_free);
        pthread_mutex_destroy(&channel->lock);
}

/* ---- Pending calls ---- */

static void link_call(struct channel *channel, struct call *call) {
        call->next = NULL;
        call->link = channel->pending_end;
        *call->link = call;
        channel->pending_end = &call->next;
}

static void unlink_call(struct channel *channel, struct call *call) {
        if (!call->link)
                return;
        *call->link = call->next;
        if (call->next)
                call->next->link = call->link;
        else
                channel->pending_end = call->link;
        call->link = NULL;
}

static void finish_call(struct channel *channel, struct call *call, int result) {
        unlink_call(channel, call);
        call->result = result;
        call->done = true;
        if (call->asleep)
                pthread_cond_signal(&call->wake);
}

static void say(struct call *call, const char *detail) {
        snprintf(call->detail, sizeof(call->detail), "%s", detail);
}

/* The one place where a connection ends before destroy. Whoever is sending or reading comes
 * back. */
static void lose_connection(struct channel *channel, int result, const char *detail) {
        if (!channel->lost)
                stream_shutdown(&channel->stream);
        channel->lost = true;
        while (channel->pending) {
                say(channel->pending, detail);
                finish_call(channel, channel->pending, result);
        }
        pthread_cond_broadcast(&channel->send_free);
}

/* ---- Replies ---- */

/* Remembers that nobody waits for this id. Without memory for that the grant could be lost, so
 * the connection is ended instead, which returns everything. */
static void abandon_call(struct channel *channel, struct call *call) {
        unlink_call(channel, call);
        call->result = -ENOTCONN;
        say(call, "the daemon does not answer");
        if (channel->abandoned_count == channel->abandoned_size) {
                size_t size = channel->abandoned_size ? 2 * channel->abandoned_size : 16;
                uint64_t *abandoned = realloc(channel->abandoned, size * sizeof(*abandoned));
                if (!abandoned) {
                        lose_connection(channel, -ENOTCONN, "no memory left in this process");
                        return;
                }
                channel->abandoned = abandoned;
                channel->abandoned_size = size;
        }
        channel->abandoned[channel->abandoned_count++] = call->id;
}

static bool forget_abandoned(struct channel *channel, uint64_t id) {
        for (size_t i = 0; i < channel->abandoned_count; i++) {
                if (channel->abandoned[i] == id) {
                        channel->abandoned[i] = channel->abandoned[--channel->abandoned_count];
                        return true;
                }
        }
        return false;
}

/* Keeps ranges that were granted too late, to be returned. Without memory they stay held until the
 * connection ends. */
static void keep_late_grant(struct channel *channel, const struct message_ranges *ranges) {
        struct late_grant *late = calloc(1, sizeof(*late));
        if (!late)
                return;
        late->places = calloc(ranges->count, sizeof(*late->places));
        late->generations = calloc(ranges->count, sizeof(*late->generations));
        if (!late->places || !late->generations) {
                late_grant_free(late);
                return;
        }
        memcpy(late->places, ranges->places, ranges->count * sizeof(*late->places));
        memcpy(late->generations, ranges->generations, ranges->count * sizeof(*late->generations));
        late->ranges = (struct message_ranges){late->places, late->generations, ranges->count};
        late->next = channel->late;
        channel->late = late;
}

static struct call *find_call(struct channel *channel, uint64_t id) {
        struct call *call = channel->pending;
        while (call && call->id != id)
                call = call->next;
        return call;
}

static int refusal_errno(enum status status) {
        return status == STATUS_OK || status == STATUS_UNKNOWN_REQUEST ? -EPROTO
                                                                       : status_to_errno(status);
}

/* Gives one reply to whom it belongs. -EPROTO: it belongs to nobody, or makes no sense there. */
static int deliver(struct channel *channel, const struct reply *reply) {
        struct call *call = find_call(channel, reply->id);
        if (!call) {
                if (!forget_abandoned(channel, reply->id))
                        return -EPROTO;
                if (reply->kind == REPLY_RANGES && reply->ranges.count > 0)
                        keep_late_grant(channel, &reply->ranges);
                return 0;
        }
        if (reply->kind == REPLY_REFUSED) {
                say(call, reply->refused.detail ? reply->refused.detail : "");
                finish_call(channel, call, refusal_errno(reply->refused.status));
                return 0;
        }
        int rc = call->accept(call->context, reply);
        if (rc == -EPROTO)
                return rc;
        finish_call(channel, call, rc);
        return 0;
}

/* Takes every whole message out of the buffer and delivers it. */
static int deliver_all(struct channel *channel) {
        const uint8_t *message;
        size_t length;
        int rc;
        while ((rc = stream_next(&channel->stream, &message, &length)) > 0) {
                struct reply reply;
                arena_reset(&channel->arena);
                rc = reply_decode(&channel->arena, message, length, &reply);
                if (rc < 0)
                        return -EPROTO;
                /* About the connection and not about a request: the daemon's last words. */
                if (reply.id == 0 && reply.kind == REPLY_REFUSED) {
                        lose_connection(channel, refusal_errno(reply.refused.status),
                                reply.refused.detail ? reply.refused.detail : "");
                        return 0;
                }
                if ((rc = deliver(channel, &reply)) < 0)
                        return rc;
        }
        return rc;
}

/* ---- Roles ---- */

/* -ETIMEDOUT: the deadline passed first; -ENOTCONN. */
static int take_sending(struct channel *channel, int64_t deadline) {
        int rc = 0;
        channel->send_waiting++;
        while (channel->sending && !channel->lost && rc == 0) {
                struct timespec until = deadline_timespec(deadline);
                rc = -pthread_cond_clockwait(
                        &channel->send_free, &channel->lock, CLOCK_MONOTONIC, &until);
        }
        channel->send_waiting--;
        if (channel->lost)
                return -ENOTCONN;
        if (channel->sending)
                return -ETIMEDOUT;
        channel->sending = true;
        return 0;
}

static void leave_sending(struct channel *channel) {
        channel->sending = false;
        if (channel->send_waiting > 0)
                pthread_cond_signal(&channel->send_free);
}

/* Encodes and sends one request; the sender's role is the caller's, the lock is not. */
static int send_request(
        struct channel *channel, const struct request *request, int64_t deadline, size_t *sent) {
        *sent = 0;
        ptrdiff_t length = request_encode(
                request, channel->stream.out, FRAME_HEADER_BYTES + FRAME_REQUEST_MAX);
        if (length < 0)
                return -EINVAL;
        return stream_send(&channel->stream, channel->stream.out, (size_t)length, deadline, sent);
}

/* Sends with the lock held at entry and exit, but not between. A frame that went out in part
 * ends the connection: nothing could follow it. */
static int send_locked(
        struct channel *channel, struct request *request, int64_t deadline, bool *sent) {
        size_t sent_bytes;
        pthread_mutex_unlock(&channel->lock);
        int rc = send_request(channel, request, deadline, &sent_bytes);
        pthread_mutex_lock(&channel->lock);
        leave_sending(channel);
        *sent = sent_bytes > 0;
        if (rc == -ENOTCONN || (rc < 0 && sent_bytes > 0))
                lose_connection(channel, -ENOTCONN, "the connection to the daemon is lost");
        return rc;
}

/* Reads once for everybody; the lock is held at entry and exit. */
static int read_locked(struct channel *channel, int64_t deadline) {
        channel->reading = true;
        pthread_mutex_unlock(&channel->lock);
        int rc = stream_receive(&channel->stream, deadline, NULL);
        pthread_mutex_lock(&channel->lock);
        channel->reading = false;
        if (rc == 0 && !channel->lost)
                rc = deliver_all(channel);
        if (rc == -EPROTO)
                lose_connection(channel, rc, "the daemon's answer is not of this protocol");
        else if (rc < 0 && rc != -ETIMEDOUT)
                lose_connection(channel, -ENOTCONN, "the connection to the daemon is lost");
        return rc;
}

static int sleep_locked(struct channel *channel, struct call *call, int64_t deadline) {
        struct timespec until = deadline_timespec(deadline);
        call->asleep = true;
        int rc = pthread_cond_clockwait(&call->wake, &channel->lock, CLOCK_MONOTONIC, &until);
        call->asleep = false;
        return -rc;
}

/* Wakes one sleeper to read, if nobody does. */
static void hand_reading_on(struct channel *channel) {
        if (channel->reading)
                return;
        struct call *call = channel->pending;
        while (call && !call->asleep)
                call = call->next;
        if (call)
                pthread_cond_signal(&call->wake);
}

/* ---- Calls ---- */

static void await_reply(struct channel *channel, struct call *call, int64_t deadline) {
        while (!call->done) {
                int rc = channel->reading ? sleep_locked(channel, call, deadline)
                                          : read_locked(channel, deadline);
                if (rc == -ETIMEDOUT && !call->done) {
                        abandon_call(channel, call);
                        break;
                }
        }
        hand_reading_on(channel);
}

/* Returns what was granted to requests that nobody waited for any more. If somebody is sending,
 * that one comes through here too; what cannot be sent in time stays for the next one. */
static void return_late_grants(struct channel *channel) {
        while (channel->late && !channel->lost && !channel->sending) {
                struct late_grant *late = channel->late;
                channel->late = late->next;
                channel->sending = true;
                struct request request = {
                        .id = ++channel->last_id,
                        .kind = REQUEST_RELEASE,
                        .release = {.ranges = late->ranges, .one_way = true},
                };
                bool sent;
                int rc = send_locked(channel, &request, deadline_after(LATE_SEND_MS), &sent);
                if (rc == -ETIMEDOUT && !sent) {
                        late->next = channel->late;
                        channel->late = late;
                        return;
                }
                late_grant_free(late);
        }
}

static void call_begin(struct call *call) {
        pthread_cond_init(&call->wake, NULL);
        call->link = NULL;
        call->asleep = call->done = call->sent = false;
        call->detail[0] = '\0';
}

int channel_call(
        struct channel *channel, struct request *request, struct call *call, int64_t deadline) {
        call_begin(call);
        pthread_mutex_lock(&channel->lock);
        int rc = take_sending(channel, deadline);
        if (rc == 0) {
                call->id = request->id = ++channel->last_id;
                link_call(channel, call);
                rc = send_locked(channel, request, deadline, &call->sent);
                if (rc == 0) {
                        await_reply(channel, call, deadline);
                        rc = call->result;
                } else {
                        unlink_call(channel, call);
                }
        }
        return_late_grants(channel);
        pthread_mutex_unlock(&channel->lock);
        if (rc == -ETIMEDOUT && !call->sent)
                rc = -ENOTCONN;
        return rc;
}

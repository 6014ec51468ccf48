/* Who sends, who reads, who sleeps. The pending list holds every call that has no result yet.
 * Sending and reading are roles, taken and given back under the lock and exercised without it,
 * so nobody ever does I/O with the lock held. Whoever leaves wakes one sleeper if nobody reads
 * (or, when the connection is lost, resumes), and a sleeper that wakes to find a role free
 * takes it: so as long as anybody waits, somebody does something about it. */
#include "channel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deadline.h"
#include "resume.h"

/* How long returning what is owed may hold up the call that does it. */
#define OWED_SEND_MS 1000
/* A connection that stood this long was a good one, even if it brought no reply. */
#define PROVEN_NS INT64_C(1000000000)

int channel_init(struct channel *channel, struct stream *stream, uint64_t last_id,
        const struct channel_keeper *keeper) {
        struct arena arena;
        int rc = arena_init(&arena, MESSAGE_ARENA_REPLY);
        if (rc < 0)
                return rc;
        *channel = (struct channel){
                .stream = *stream,
                .arena = arena,
                .keeper = *keeper,
                .last_id = last_id,
                .proven = true,
        };
        channel->pending_end = &channel->pending;
        *stream = (struct stream){.fd = -1};
        pthread_mutex_init(&channel->lock, NULL);
        pthread_cond_init(&channel->send_free, NULL);
        return 0;
}

void channel_deinit(struct channel *channel, bool inherited) {
        stream_deinit(&channel->stream);
        arena_deinit(&channel->arena);
        late_deinit(&channel->late);
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
        *call->link = call->next;
        if (call->next)
                call->next->link = call->link;
        else
                channel->pending_end = call->link;
        call->link = NULL;
}

void channel_finish(struct channel *channel, struct call *call, int result) {
        unlink_call(channel, call);
        call->result = result;
        call->done = true;
        if (call->asleep)
                pthread_cond_signal(&call->wake);
}

static void say(struct call *call, const char *detail) {
        snprintf(call->detail, sizeof(call->detail), "%s", detail);
}

static struct call *find_call(struct channel *channel, uint64_t id) {
        struct call *call = channel->pending;
        while (call && (!call->sent || call->request->id != id))
                call = call->next;
        return call;
}

/* ---- The end of a connection, and of all ---- */

/* Whoever is sending or reading comes back. */
static void shut(struct channel *channel, enum channel_state state, const char *detail) {
        if (channel->state == CHANNEL_OPEN)
                stream_shutdown(&channel->stream);
        channel->state = state;
        snprintf(channel->detail, sizeof(channel->detail), "%s", detail);
        pthread_cond_broadcast(&channel->send_free);
}

static void lose(struct channel *channel, const char *detail) {
        if (channel->state != CHANNEL_OPEN)
                return;
        shut(channel, CHANNEL_LOST, detail);
        channel->drained = false;
        int64_t now = deadline_now();
        if (channel->proven || now - channel->opened_at > PROVEN_NS) {
                channel->lost_at = channel->next_try_at = now;
                channel->pause_ms = 0;
        }
        for (struct call *call = channel->pending; call; call = call->next)
                if (call->asleep)
                        pthread_cond_signal(&call->wake);
}

void channel_end(struct channel *channel, int error, const char *detail) {
        if (channel->state == CHANNEL_ENDED)
                return;
        shut(channel, CHANNEL_ENDED, detail);
        while (channel->pending) {
                say(channel->pending, detail);
                channel_finish(channel, channel->pending, error);
        }
}

/* ---- Replies ---- */

/* Without memory to remember it a grant could be lost, so the connection is made anew instead, which finds it. */
void channel_abandon(struct channel *channel, struct call *call, const char *detail) {
        say(call, detail);
        if (call->sent && call->request->kind == REQUEST_RELEASE) {
                struct message_ranges ranges = batch_ranges(call->batch);
                channel->keeper.forget(channel->keeper.context, &ranges);
        }
        if (call->sent && late_abandon(&channel->late, call->request,
                                  call->changes_nothing ? NULL : call->batch) < 0)
                lose(channel, "no memory left in this process");
        channel_finish(channel, call, -ENOTCONN);
}

static void owe_reply(struct channel *channel, struct abandoned *call, const struct reply *reply) {
        switch (call->kind) {
        case REQUEST_LOOKUP:
                if (reply->kind == REPLY_RANGE)
                        channel->keeper.owe_range(channel->keeper.context, &reply->range);
                break;
        case REQUEST_ALLOC:
                if (reply->kind == REPLY_RANGES && reply->ranges.count > 0 &&
                        late_owe_copy(&channel->late, &reply->ranges, false) < 0)
                        lose(channel, "no memory left in this process");
                break;
        case REQUEST_ATTACH:
                if (reply->kind != REPLY_DONE)
                        break;
                late_owe(&channel->late, call->ranges);
                call->ranges = NULL;
                break;
        case REQUEST_GIVE:
                if (!call->ranges || (reply->kind != REPLY_DONE && reply->kind != REPLY_RANGES))
                        break;
                struct message_ranges given = owed_ranges(call->ranges);
                channel->keeper.forget(channel->keeper.context, &given);
                break;
        default:
                break;
        }
}

static int refusal_errno(enum status status) {
        return status == STATUS_OK || status == STATUS_UNKNOWN_REQUEST ? -EPROTO
                                                                       : status_to_errno(status);
}

static const char *refusal_detail(const struct reply *reply) {
        return reply->refused.detail ? reply->refused.detail : "";
}

static void deliver_refusal(struct channel *channel, struct call *call, const struct reply *reply) {
        enum status status = reply->refused.status;
        if (status == STATUS_NOT_CONNECTED) { /* the daemon goes away and has not done it */
                call->sent = false;
                lose(channel, refusal_detail(reply));
                return;
        }
        say(call, refusal_detail(reply));
        /* Of a batch of gifts that was interrupted, the peer had some and is gone with them. So it is with the rest. */
        if (call->partly && status == STATUS_NOT_FOUND) {
                struct message_ranges rest = batch_ranges(call->batch);
                if (late_owe_copy(&channel->late, &rest, true) == 0) {
                        channel_finish(channel, call, 0);
                        return;
                }
        }
        channel_finish(channel, call, refusal_errno(status));
}

/* Gives one reply to whom it belongs. -EPROTO: it belongs to nobody, or makes no sense there. */
static int deliver(struct channel *channel, const struct reply *reply) {
        struct call *call = find_call(channel, reply->id);
        late_confirm(&channel->late, reply->id);
        if (!call) {
                struct abandoned abandoned;
                if (!late_take_call(&channel->late, reply->id, &abandoned))
                        return -EPROTO;
                owe_reply(channel, &abandoned, reply);
                owed_free(abandoned.ranges);
                return 0;
        }
        if (reply->kind == REPLY_REFUSED) {
                deliver_refusal(channel, call, reply);
                return 0;
        }
        int rc = call->accept(call->context, reply);
        if (rc == -EPROTO)
                return rc;
        channel_finish(channel, call, rc);
        return 0;
}

/* About the connection and not about a request: the daemon's last words. */
static void hear_last_words(struct channel *channel, const struct reply *reply) {
        if (reply->refused.status == STATUS_NOT_CONNECTED)
                lose(channel, refusal_detail(reply));
        else
                channel_end(channel, refusal_errno(reply->refused.status), refusal_detail(reply));
}

/* Takes every whole message out of the buffer and delivers it. */
static int deliver_all(struct channel *channel) {
        const uint8_t *message;
        size_t length;
        int rc = 0;
        while (channel->state != CHANNEL_ENDED &&
                (rc = stream_next(&channel->stream, &message, &length)) > 0) {
                struct reply reply;
                arena_reset(&channel->arena);
                if (reply_decode(&channel->arena, message, length, &reply) < 0)
                        return -EPROTO;
                channel->proven |=
                        reply.kind != REPLY_REFUSED || reply.refused.status != STATUS_NOT_CONNECTED;
                if (reply.id == 0 && reply.kind == REPLY_REFUSED)
                        hear_last_words(channel, &reply);
                else if ((rc = deliver(channel, &reply)) < 0)
                        return rc;
        }
        return rc < 0 ? rc : 0;
}

/* ---- Roles ---- */

/* -ETIMEDOUT: the deadline passed first; -ENOTCONN: no longer open. */
static int take_sending(struct channel *channel, int64_t deadline) {
        int rc = 0;
        channel->send_waiting++;
        while (channel->sending && channel->state == CHANNEL_OPEN && rc == 0) {
                struct timespec until = deadline_timespec(deadline);
                rc = -pthread_cond_clockwait(
                        &channel->send_free, &channel->lock, CLOCK_MONOTONIC, &until);
        }
        channel->send_waiting--;
        if (channel->state != CHANNEL_OPEN)
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
        struct channel *channel, const struct request *request, int64_t deadline, bool *sent) {
        size_t sent_bytes;
        pthread_mutex_unlock(&channel->lock);
        int rc = send_request(channel, request, deadline, &sent_bytes);
        pthread_mutex_lock(&channel->lock);
        leave_sending(channel);
        *sent = sent_bytes > 0;
        if (rc == -ENOTCONN || (rc < 0 && sent_bytes > 0))
                lose(channel, "the connection to the daemon is lost");
        return rc;
}

/* Reads once for everybody; the lock is held at entry and exit. */
static int read_locked(struct channel *channel, int64_t deadline) {
        channel->reading = true;
        pthread_mutex_unlock(&channel->lock);
        int rc = stream_receive(&channel->stream, deadline, NULL);
        pthread_mutex_lock(&channel->lock);
        channel->reading = false;
        if (rc == 0)
                rc = deliver_all(channel);
        if (rc == -EPROTO)
                channel_end(channel, rc, "the daemon's answer is not of this protocol");
        else if (rc < 0 && rc != -ETIMEDOUT)
                lose(channel, "the connection to the daemon is lost");
        return rc;
}

void channel_drain(struct channel *channel) {
        int rc;
        channel->drained = true;
        do
                rc = stream_receive(&channel->stream, DEADLINE_NONE, NULL); /* it was shut down */
        while (rc == 0 && (rc = deliver_all(channel)) == 0);
        if (rc == -EPROTO)
                channel_end(channel, rc, "the daemon's answer is not of this protocol");
}

int channel_sleep(struct channel *channel, struct call *call, int64_t until) {
        struct timespec time = deadline_timespec(until);
        call->asleep = true;
        int rc = pthread_cond_clockwait(&call->wake, &channel->lock, CLOCK_MONOTONIC, &time);
        call->asleep = false;
        return -rc;
}

/* Wakes one sleeper for the role that nobody has: to read, or to resume. */
static void hand_on(struct channel *channel) {
        if (channel->state == CHANNEL_OPEN ? channel->reading : channel->resuming)
                return;
        struct call *call = channel->pending;
        while (call && !call->asleep)
                call = call->next;
        if (call)
                pthread_cond_signal(&call->wake);
}

void channel_return_owed(struct channel *channel) {
        while (channel->late.owed && channel->state == CHANNEL_OPEN && !channel->sending) {
                if (late_reserve(&channel->late) < 0)
                        return;
                struct owed *owed = late_take_owed(&channel->late);
                channel->sending = true;
                /* The daemon may grant what it reads here to another thread before we are back. */
                struct message_ranges ranges = owed_ranges(owed);
                if (owed->counted)
                        channel->keeper.forget(channel->keeper.context, &ranges);
                owed->counted = false;
                struct request request = {
                        .id = ++channel->last_id,
                        .kind = REQUEST_RELEASE,
                        .release = {.ranges = owed_ranges(owed), .one_way = true},
                };
                bool sent;
                int rc = send_locked(channel, &request, deadline_after(OWED_SEND_MS), &sent);
                if (rc < 0 && !sent && channel->state != CHANNEL_ENDED) {
                        late_owe(&channel->late, owed);
                        return;
                }
                /* Others may have needed the room that was reserved. */
                if (late_reserve(&channel->late) == 0) {
                        late_note_one_way(&channel->late, request.id, owed);
                        continue;
                }
                owed_free(owed);
                lose(channel, "no memory left in this process");
        }
}

/* ---- Calls ---- */

void call_set_deadline(struct call *call, int64_t now) {
        struct request *request = call->request;
        int64_t from = now;
        call->lingered = false;
        if (request->kind == REQUEST_ALLOC && request->alloc.wait) {
                if (call->wait_until > from)
                        from = call->wait_until;
                int64_t left_ms = from == DEADLINE_NONE ? -1 : (from - now + 999999) / 1000000;
                request->alloc.timeout_ms = left_ms;
                request->alloc.waited_ms = (uint64_t)(now - call->made_at) / 1000000;
        }
        call->deadline = call->timeout_ms < 0 || from == DEADLINE_NONE
                                 ? DEADLINE_NONE
                                 : from + (call->timeout_ms > 0 ? call->timeout_ms : 1) * 1000000;
}

static void call_begin(struct call *call, struct request *request) {
        pthread_cond_init(&call->wake, NULL);
        call->request = request;
        call->link = NULL;
        call->asleep = call->done = call->sent = call->partly = false;
        call->detail[0] = '\0';
        call->made_at = deadline_now();
        if (request->kind == REQUEST_ALLOC && request->alloc.wait)
                call->wait_until = request->alloc.timeout_ms < 0
                                           ? DEADLINE_NONE
                                           : call->made_at + request->alloc.timeout_ms * 1000000;
        call_set_deadline(call, call->made_at);
}

/* A request's own list of ranges is what its batch still has. */
static void follow_batch(const struct call *call) {
        struct request *request = call->request;
        if (request->kind == REQUEST_RELEASE)
                request->release.ranges = batch_ranges(call->batch);
        else if (request->kind == REQUEST_GIVE)
                request->give.ranges = batch_ranges(call->batch);
}

static void send_step(struct channel *channel, struct call *call) {
        int rc = take_sending(channel, call->deadline);
        if (rc == -ETIMEDOUT)
                channel_abandon(channel, call, "the daemon does not take requests");
        if (rc < 0)
                return;
        follow_batch(call);
        unlink_call(channel, call);
        link_call(channel, call);
        call->request->id = ++channel->last_id;
        call->sent = true; /* from here on another thread may read the reply */
        bool sent;
        rc = send_locked(channel, call->request, call->deadline, &sent);
        if (rc == 0 || call->done)
                return;
        call->sent = sent;
        if (rc == -EINVAL)
                channel_finish(channel, call, rc);
        else if (rc == -ETIMEDOUT && !sent)
                channel_abandon(channel, call, "the daemon does not take requests");
}

static void await_step(struct channel *channel, struct call *call) {
        int rc = channel->reading ? channel_sleep(channel, call, call->deadline)
                                  : read_locked(channel, call->deadline);
        /* The deadline may have moved meanwhile, with the connection. */
        bool overdue = rc == -ETIMEDOUT && !call->done && channel->state == CHANNEL_OPEN &&
                       deadline_left_ms(call->deadline) == 0;
        /* Stopped and continued, we find the time over and the answer there; who reads for us has to get to it. */
        if (overdue && channel->reading && !call->lingered) {
                call->lingered = true;
                call->deadline = deadline_linger(call->deadline);
                return;
        }
        if (overdue && !channel->reading && read_locked(channel, call->deadline) == 0)
                return;
        if (overdue && !call->done && channel->state == CHANNEL_OPEN)
                channel_abandon(channel, call, "the daemon does not answer");
}

int channel_call(struct channel *channel, struct request *request, struct call *call) {
        call_begin(call, request);
        pthread_mutex_lock(&channel->lock);
        link_call(channel, call);
        while (!call->done) {
                if (channel->state == CHANNEL_OPEN && call->sent) {
                        await_step(channel, call);
                } else if (channel->state == CHANNEL_OPEN) {
                        send_step(channel, call);
                } else if (channel->state == CHANNEL_LOST) {
                        resume_step(channel, call);
                } else {
                        say(call, channel->detail);
                        channel_finish(channel, call, -ENOTCONN);
                }
        }
        channel_return_owed(channel);
        hand_on(channel);
        pthread_mutex_unlock(&channel->lock);
        return call->result;
}

void channel_post(struct channel *channel, struct request *request) {
        bool sent;
        pthread_mutex_lock(&channel->lock);
        if (channel->state == CHANNEL_OPEN && !channel->sending) {
                channel->sending = true;
                request->id = ++channel->last_id;
                send_locked(channel, request, deadline_after(OWED_SEND_MS), &sent);
                hand_on(channel);
        }
        pthread_mutex_unlock(&channel->lock);
}

void channel_owe(struct channel *channel, const struct batch *batch) {
        struct message_ranges ranges = batch_ranges(batch);
        pthread_mutex_lock(&channel->lock);
        /* Without memory they stay held, which the table knows. */
        if (channel->state != CHANNEL_ENDED)
                late_owe_copy(&channel->late, &ranges, true);
        pthread_mutex_unlock(&channel->lock);
}

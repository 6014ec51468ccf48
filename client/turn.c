/* See turn.h. */
#include "turn.h"

#include <errno.h>

#include "channel_private.h"
#include "deadline.h"
#include "events.h"
#include "resume.h"
#include "roles.h"

/* What a daemon queues for a client before it reads no more from it is as much. */
#define REPLY_BYTES_MAX ((size_t)64 * 1024)
/* A refusal with some words, and a range of a reply. */
#define REPLY_BYTES_FEW 96u
#define RANGE_BYTES     12u
/* Times of 16 KiB in a turn; what is still there then makes another. */
#define READS_MAX 8

int channel_submit(struct channel *channel, struct request *request, struct call *call) {
        int rc = 0;
        call_begin(call, request);
        pthread_mutex_lock(&channel->lock);
        if (channel->state == CHANNEL_ENDED) {
                call_say(call, channel->detail);
                rc = -ENOTCONN;
        } else {
                call_link(&channel->queued, call);
                channel->submitted++;
                if (call->deadline < channel->due)
                        channel->due = call->deadline;
                channel_raise(channel);
        }
        pthread_mutex_unlock(&channel->lock);
        return rc;
}

void channel_submit_finished(struct channel *channel, struct call *call) {
        pthread_mutex_lock(&channel->lock);
        call_link(&channel->finished, call);
        channel_raise(channel);
        pthread_mutex_unlock(&channel->lock);
}

/* ---- Sending ---- */

/* Of one that waits for memory it comes when others have returned some: it must not hold up their requests. */
static size_t reply_bytes(const struct request *request) {
        size_t ranges = 0;
        if (request->kind == REQUEST_ALLOC && request->alloc.wait)
                return 0;
        if (request->kind == REQUEST_ALLOC)
                ranges = (size_t)request->alloc.count + request->alloc.spare;
        else if (request->kind == REQUEST_GIVE)
                ranges = request->give.ranges.count;
        return REPLY_BYTES_FEW + RANGE_BYTES * ranges;
}

/* Puts one into the stream's buffer. False: not now. */
static bool put(struct channel *channel, struct call *call) {
        struct stream *stream = &channel->stream;
        size_t room = FRAME_HEADER_BYTES + FRAME_REQUEST_MAX - stream->out_end;
        call_follow_batch(call);
        size_t expected = reply_bytes(call->request);
        if (channel->reply_bytes > 0 && channel->reply_bytes + expected > REPLY_BYTES_MAX)
                return false;
        if (call->request->kind == REQUEST_ALLOC && call->request->alloc.wait)
                call_set_deadline(call, deadline_now()); /* it has waited here */
        call->request->id = channel->last_id + 1;
        ptrdiff_t length = request_encode(call->request, stream->out + stream->out_end, room);
        if (length < 0 && stream->out_end > 0)
                return false;
        if (length < 0) {
                channel_finish(channel, call, -EINVAL);
                return true;
        }
        stream->out_end += (size_t)length;
        channel->last_id++;
        channel_unlink(channel, call);
        call_link(&channel->pending, call);
        call->sent = true;
        call->reply_bytes = expected;
        channel->reply_bytes += expected;
        return true;
}

static void send_queued(struct channel *channel) {
        const struct stream *stream = &channel->stream;
        if (channel->state != CHANNEL_OPEN || channel->sending ||
                (!channel->queued.first && !channel->blocked))
                return;
        bool more = true;
        channel->sending = true;
        while (more && channel->state == CHANNEL_OPEN) {
                while (channel->queued.first && put(channel, channel->queued.first))
                        continue;
                bool some = stream->out_end > stream->out_start;
                roles_flush(channel);
                more = some && channel->queued.first && stream->out_end == 0;
        }
        roles_leave_sending(channel);
}

/* ---- Giving up ---- */

static void give_up_overdue(struct channel *channel, struct call_list *list, int64_t now) {
        bool open = channel->state == CHANNEL_OPEN;
        for (struct call *call = list->first, *next; call; call = next) {
                next = call->next;
                if (!call->unattended)
                        continue;
                int64_t at = open ? call->deadline : resume_give_up_at(channel, call);
                /* Its answer may be there: who reads for us has to get to it. */
                if (at <= now && channel->reading && !call->lingered) {
                        call->lingered = true;
                        at = call->deadline = deadline_linger(call->deadline);
                }
                if (at > now)
                        channel->due = at < channel->due ? at : channel->due;
                else
                        channel_abandon(channel, call,
                                !open        ? channel->detail
                                : call->sent ? "the daemon does not answer"
                                             : "the daemon does not take requests");
        }
}

/* After all that is there was read. */
static void give_up(struct channel *channel) {
        int64_t now = deadline_now();
        if (now < channel->due)
                return;
        while (channel->state == CHANNEL_OPEN && !channel->reading &&
                roles_read(channel, DEADLINE_PASSED) == 0)
                continue;
        channel->due = DEADLINE_NONE;
        give_up_overdue(channel, &channel->pending, now);
        give_up_overdue(channel, &channel->queued, now);
}

/* ---- Turns ---- */

static void take_turn(struct channel *channel) {
        for (int reads = 0;
                reads < READS_MAX && channel->state == CHANNEL_OPEN && !channel->reading; reads++)
                if (roles_read(channel, DEADLINE_PASSED) < 0)
                        break;
        /* What others left half made when they gave up is seen to as well: the daemon's answer to it is what we were woken for. */
        if (channel->state == CHANNEL_LOST &&
                (channel->submitted > 0 || channel->attempt != ATTEMPT_NONE))
                resume_turn(channel);
        give_up(channel);
        send_queued(channel);
        channel_return_owed(channel, DEADLINE_PASSED);
        roles_hand_on(channel);
}

static void take_finished(struct channel *channel, struct call_list *out) {
        for (struct call *call; (call = channel->finished.first);) {
                channel_unlink(channel, call);
                call_link(out, call);
        }
}

int channel_turn(struct channel *channel, struct call_list *finished) {
        call_list_init(finished);
        pthread_mutex_lock(&channel->lock);
        bool mine = !channel->turning;
        if (mine) {
                channel->turning = true;
                take_turn(channel);
                take_finished(channel, finished);
        }
        pthread_mutex_unlock(&channel->lock);
        return mine ? 0 : -EBUSY;
}

void channel_end_all(struct channel *channel, struct call_list *out) {
        call_list_init(out);
        pthread_mutex_lock(&channel->lock);
        channel_end(channel, -ENOTCONN, "the client is destroyed");
        take_finished(channel, out);
        pthread_mutex_unlock(&channel->lock);
}

static void settle(struct channel *channel) {
        if (!channel->events)
                return;
        int64_t at = channel->submitted > 0 ? channel->due : DEADLINE_NONE;
        bool tries = channel->submitted > 0 && channel->state == CHANNEL_LOST &&
                     channel->attempt == ATTEMPT_NONE && !channel->resuming;
        if (channel->finished.first)
                at = DEADLINE_PASSED;
        else if (tries && channel->next_try_at < at)
                at = channel->next_try_at;
        unsigned wanted = roles_wanted(channel);
        events_settle(channel->events, roles_socket(channel, wanted), wanted, at);
}

int channel_turn_end(struct channel *channel) {
        pthread_mutex_lock(&channel->lock);
        channel->turning = false;
        send_queued(channel);
        channel_return_owed(channel, DEADLINE_PASSED);
        roles_hand_on(channel); /* the connection may have been lost while we were sending */
        settle(channel);
        bool ended = channel->state == CHANNEL_ENDED && !channel->finished.first;
        pthread_mutex_unlock(&channel->lock);
        return ended ? -ENOTCONN : 0;
}

int channel_events_fd(struct channel *channel) {
        int rc = 0;
        pthread_mutex_lock(&channel->lock);
        if (!channel->events) {
                channel->events = events_new();
                if (!channel->events) /* a user may have only so many watches */
                        rc = errno == ENOSPC ? -ENOMEM : -errno;
                settle(channel);
                if (rc == 0 && channel->submitted > 0)
                        events_raise(channel->events);
        }
        if (rc == 0)
                rc = events_fd(channel->events);
        pthread_mutex_unlock(&channel->lock);
        return rc;
}

/* The calls that have no result yet, and how they get one: by a reply, or by the end. A call is in one of two lists: pending,
 * or, if nobody waits for it and there was no room for it on the connection yet, queued. */
#include "channel_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deadline.h"
#include "events.h"
#include "roles.h"

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
                .due = DEADLINE_NONE,
        };
        call_list_init(&channel->pending);
        call_list_init(&channel->queued);
        call_list_init(&channel->finished);
        *stream = (struct stream){.fd = -1};
        pthread_mutex_init(&channel->lock, NULL);
        pthread_cond_init(&channel->send_free, NULL);
        return 0;
}

void channel_deinit(struct channel *channel, bool inherited) {
        events_free(channel->events);
        stream_deinit(&channel->stream);
        arena_deinit(&channel->arena);
        late_deinit(&channel->late);
        if (inherited)
                return;
        pthread_cond_destroy(&channel->send_free);
        pthread_mutex_destroy(&channel->lock);
}

/* ---- Lists ---- */

void channel_unlink(struct channel *channel, struct call *call) {
        *call->link = call->next;
        if (call->next)
                call->next->link = call->link;
        else
                call->list->end = call->link;
        call->link = NULL;
        channel->reply_bytes -= call->reply_bytes;
        call->reply_bytes = 0;
}

void channel_finish(struct channel *channel, struct call *call, int result) {
        channel_unlink(channel, call);
        call->result = result;
        call->done = true;
        if (call->unattended) {
                channel->submitted--;
                call_link(&channel->finished, call);
                channel_raise(channel);
        } else if (call->asleep) {
                pthread_cond_signal(&call->wake);
        }
}

static struct call *find_call(struct channel *channel, uint64_t id) {
        struct call *call = channel->pending.first;
        while (call && (!call->sent || call->request->id != id))
                call = call->next;
        return call;
}

/* ---- The end of a connection, and of all ---- */

/* Whoever is sending or reading comes back. */
static void shut(struct channel *channel, enum channel_state state, const char *detail) {
        if (channel->state == CHANNEL_OPEN)
                stream_shutdown(&channel->stream);
        events_unwatch(channel->events);
        channel->state = state;
        snprintf(channel->detail, sizeof(channel->detail), "%s", detail);
        pthread_cond_broadcast(&channel->send_free);
}

void channel_lose(struct channel *channel, const char *detail) {
        if (channel->state != CHANNEL_OPEN)
                return;
        shut(channel, CHANNEL_LOST, detail);
        channel->drained = false;
        int64_t now = deadline_now();
        if (channel->proven || now - channel->opened_at > PROVEN_NS) {
                channel->lost_at = channel->next_try_at = now;
                channel->pause_ms = 0;
        }
        for (struct call *call = channel->pending.first; call; call = call->next)
                if (call->asleep)
                        pthread_cond_signal(&call->wake);
        channel_hurry(channel);
}

void channel_raise(struct channel *channel) {
        if (!channel->turning)
                events_raise(channel->events);
}

void channel_hurry(struct channel *channel) {
        if (channel->submitted == 0)
                return;
        channel->due = DEADLINE_PASSED;
        channel_raise(channel);
}

static void finish_all(struct channel *channel, struct call_list *list, int error) {
        while (list->first) {
                call_say(list->first, channel->detail);
                channel_finish(channel, list->first, error);
        }
}

void channel_end(struct channel *channel, int error, const char *detail) {
        if (channel->state == CHANNEL_ENDED)
                return;
        shut(channel, CHANNEL_ENDED, detail);
        finish_all(channel, &channel->pending, error);
        finish_all(channel, &channel->queued, error);
}

/* ---- Replies ---- */

/* Without memory to remember it a grant could be lost, so the connection is made anew instead, which finds it. */
void channel_abandon(struct channel *channel, struct call *call, const char *detail) {
        call_say(call, detail);
        if (call->sent && call->request->kind == REQUEST_RELEASE) {
                struct message_ranges ranges = batch_ranges(call->batch);
                channel->keeper.forget(channel->keeper.context, &ranges);
        }
        if (call->sent && late_abandon(&channel->late, call->request,
                                  call->changes_nothing ? NULL : call->batch) < 0)
                channel_lose(channel, "no memory left in this process");
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
                        channel_lose(channel, "no memory left in this process");
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
                channel_lose(channel, refusal_detail(reply));
                return;
        }
        call_say(call, refusal_detail(reply));
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
                channel_lose(channel, refusal_detail(reply));
        else
                channel_end(channel, refusal_errno(reply->refused.status), refusal_detail(reply));
}

/* Takes every whole message out of the buffer and delivers it. */
int channel_deliver(struct channel *channel) {
        const uint8_t *message;
        size_t length;
        int rc = 0;
        while (channel->state != CHANNEL_ENDED && !stream_is_empty(&channel->stream) &&
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

/* ---- What goes back ---- */

void channel_owe(struct channel *channel, const struct batch *batch) {
        struct message_ranges ranges = batch_ranges(batch);
        pthread_mutex_lock(&channel->lock);
        /* Without memory they stay held, which the table knows. */
        if (channel->state != CHANNEL_ENDED)
                late_owe_copy(&channel->late, &ranges, true);
        pthread_mutex_unlock(&channel->lock);
}

/* What a send had no room for is tried again with the next request, or turn. */
static void return_emptied(struct channel *channel, int64_t deadline) {
        while (channel->emptied_orders != 0 && channel->state == CHANNEL_OPEN &&
                !channel->sending) {
                unsigned order = (unsigned)__builtin_ctz(channel->emptied_orders);
                channel->emptied_orders &= ~(1u << order);
                channel->sending = true;
                struct request request = {.id = ++channel->last_id,
                        .kind = REQUEST_UNCACHE,
                        .uncache = {.order = order}};
                bool sent;
                if (roles_send(channel, &request, deadline, &sent) < 0 && !sent) {
                        channel->emptied_orders |= 1u << order;
                        return;
                }
        }
}

void channel_return_owed_now(struct channel *channel) {
        pthread_mutex_lock(&channel->lock);
        channel_return_owed(channel, DEADLINE_PASSED);
        roles_hand_on(channel);
        pthread_mutex_unlock(&channel->lock);
}

void channel_empty_orders(struct channel *channel, uint32_t orders) {
        pthread_mutex_lock(&channel->lock);
        channel->emptied_orders |= orders;
        pthread_mutex_unlock(&channel->lock);
        channel_return_owed_now(channel);
}

void channel_return_owed(struct channel *channel, int64_t deadline) {
        return_emptied(channel, deadline);
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
                int rc = roles_send(channel, &request, deadline, &sent);
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
                channel_lose(channel, "no memory left in this process");
        }
}

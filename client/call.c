/* A call from its beginning to its result, on the thread that makes it. */
#include "call.h"

#include <errno.h>
#include <stdio.h>

#include "channel_private.h"
#include "deadline.h"
#include "resume.h"
#include "roles.h"

/* How long returning what is owed may hold up the call that does it. */
#define OWED_SEND_MS 1000

void call_list_init(struct call_list *list) {
        *list = (struct call_list){.end = &list->first};
}

void call_link(struct call_list *list, struct call *call) {
        call->next = NULL;
        call->link = list->end;
        call->list = list;
        *call->link = call;
        list->end = &call->next;
}

void call_say(struct call *call, const char *detail) {
        snprintf(call->detail, sizeof(call->detail), "%s", detail);
}

void call_set_deadline(struct call *call, int64_t now) {
        struct request *request = call->request;
        int64_t from = now;
        call->lingered = false;
        if (request->kind == REQUEST_ALLOC && request->alloc.wait) {
                if (call->wait_until > from)
                        from = call->wait_until;
                int64_t left_ms = from == DEADLINE_NONE ? -1 : (from - now + 999999) / 1000000;
                request->alloc.timeout_ms = left_ms;
        }
        call->deadline = call->timeout_ms < 0 || from == DEADLINE_NONE
                                 ? DEADLINE_NONE
                                 : from + (call->timeout_ms > 0 ? call->timeout_ms : 1) * 1000000;
}

void call_set_place(struct call *call, int64_t now) {
        struct request *request = call->request;
        if (request->kind == REQUEST_ALLOC && request->alloc.wait)
                request->alloc.waited_ms = (uint64_t)(now - call->made_at) / 1000000;
}

void call_begin(struct call *call, struct request *request) {
        pthread_cond_init(&call->wake, NULL);
        call->request = request;
        call->link = NULL;
        call->reply_bytes = 0;
        call->asleep = call->done = call->sent = call->partly = false;
        call->detail[0] = '\0';
        call->made_at = deadline_now();
        if (request->kind == REQUEST_ALLOC && request->alloc.wait)
                call->wait_until = request->alloc.timeout_ms < 0
                                           ? DEADLINE_NONE
                                           : call->made_at + request->alloc.timeout_ms * 1000000;
        call_set_deadline(call, call->made_at);
}

void call_follow_batch(const struct call *call) {
        struct request *request = call->request;
        if (request->kind == REQUEST_RELEASE)
                request->release.ranges = batch_ranges(call->batch);
        else if (request->kind == REQUEST_GIVE)
                request->give.ranges = batch_ranges(call->batch);
}

static void send_step(struct channel *channel, struct call *call) {
        int rc = roles_take_sending(channel, call->deadline);
        if (rc == -ETIMEDOUT)
                channel_abandon(channel, call, "the daemon does not take requests");
        if (rc < 0)
                return;
        call_follow_batch(call);
        channel_unlink(channel, call);
        call_link(&channel->pending, call);
        call->request->id = ++channel->last_id;
        call->sent = true; /* from here on another thread may read the reply */
        bool sent;
        rc = roles_send(channel, call->request, call->deadline, &sent);
        if (rc == 0 || call->done)
                return;
        call->sent = sent;
        if (rc == -EINVAL)
                channel_finish(channel, call, rc);
        else if (rc == -ETIMEDOUT && !sent)
                channel_abandon(channel, call, "the daemon does not take requests");
}

static void await_step(struct channel *channel, struct call *call) {
        int rc = channel->reading ? roles_sleep(channel, call, call->deadline)
                                  : roles_read(channel, call->deadline);
        /* The deadline may have moved meanwhile, with the connection. */
        bool overdue = rc == -ETIMEDOUT && !call->done && channel->state == CHANNEL_OPEN &&
                       deadline_left_ms(call->deadline) == 0;
        /* Stopped and continued, we find the time over and the answer there; who reads for us has to get to it. */
        if (overdue && channel->reading && !call->lingered) {
                call->lingered = true;
                call->deadline = deadline_linger(call->deadline);
                return;
        }
        if (overdue && !channel->reading && roles_read(channel, call->deadline) == 0)
                return;
        if (overdue && !call->done && channel->state == CHANNEL_OPEN)
                channel_abandon(channel, call, "the daemon does not answer");
}

int channel_call(struct channel *channel, struct request *request, struct call *call) {
        call_begin(call, request);
        pthread_mutex_lock(&channel->lock);
        call_link(&channel->pending, call);
        if (channel->attended++ == 0)
                roles_watch(channel);
        while (!call->done) {
                if (channel->state == CHANNEL_OPEN && call->sent) {
                        await_step(channel, call);
                } else if (channel->state == CHANNEL_OPEN) {
                        send_step(channel, call);
                } else if (channel->state == CHANNEL_LOST) {
                        resume_step(channel, call);
                } else {
                        call_say(call, channel->detail);
                        channel_finish(channel, call, -ENOTCONN);
                }
        }
        if (channel_owes(channel))
                channel_return_owed(channel, deadline_after(OWED_SEND_MS));
        roles_hand_on(channel);
        if (--channel->attended == 0)
                roles_watch(channel);
        if (channel->state == CHANNEL_LOST)
                channel_hurry(channel);
        pthread_mutex_unlock(&channel->lock);
        return call->result;
}

void channel_post(struct channel *channel, struct request *request) {
        bool sent;
        pthread_mutex_lock(&channel->lock);
        if (channel->state == CHANNEL_OPEN && !channel->sending) {
                channel->sending = true;
                request->id = ++channel->last_id;
                roles_send(channel, request, DEADLINE_PASSED, &sent);
                roles_hand_on(channel);
        }
        pthread_mutex_unlock(&channel->lock);
}

/* One thread at a time resumes: it waits out the pause, connects, and settles what was under way; everyone
 * else's call sleeps until it is woken, by the success or to take over from one that gave up.
 * Pauses double from 1 ms to 100 ms, with jitter, so that the clients of a daemon that comes back do
 * not come all at once. They go on from thread to thread, and end when the connection has proved
 * itself: with a daemon that always dies of the same request, time runs out. */
#include "resume.h"

#include <errno.h>
#include <stdio.h>

#include "channel_private.h"
#include "deadline.h"
#include "events.h"
#include "roles.h"

#define PAUSE_MS_MIN 1
#define PAUSE_MS_MAX 100

int64_t resume_give_up_at(const struct channel *channel, const struct call *call) {
        if (call->timeout_ms < 0)
                return DEADLINE_NONE;
        int64_t from = channel->lost_at > call->made_at ? channel->lost_at : call->made_at;
        return from + (call->timeout_ms > 0 ? call->timeout_ms : 1) * 1000000;
}

/* Half of the pause, and a part of the other half that nobody else has. */
static int64_t jittered_ns(const struct channel *channel, int64_t pause_ms, int64_t now) {
        uint64_t hash =
                ((uint64_t)now ^ (uint64_t)(uintptr_t)channel) * UINT64_C(0x9e3779b97f4a7c15);
        int64_t half = pause_ms * 500000;
        return half + (int64_t)((hash >> 33) % (uint64_t)(half + 1));
}

static void plan_next_try(struct channel *channel) {
        int64_t now = deadline_now();
        channel->pause_ms = channel->pause_ms == 0 ? PAUSE_MS_MIN : 2 * channel->pause_ms;
        if (channel->pause_ms > PAUSE_MS_MAX)
                channel->pause_ms = PAUSE_MS_MAX;
        channel->next_try_at = now + jittered_ns(channel, channel->pause_ms, now);
}

/* What was not done and nobody waits for takes its place at the head of the queue again. */
static void requeue(struct channel *channel) {
        struct call_list again;
        call_list_init(&again);
        for (struct call *call = channel->pending.first, *next; call; call = next) {
                next = call->next;
                if (!call->unattended || call->sent)
                        continue;
                channel_unlink(channel, call);
                call_link(&again, call);
        }
        while (channel->queued.first) {
                struct call *call = channel->queued.first;
                channel_unlink(channel, call);
                call_link(&again, call);
        }
        while (again.first) {
                struct call *call = again.first;
                channel_unlink(channel, call);
                call_link(&channel->queued, call);
        }
}

/* What was owed goes out before anything that is repeated, which may need that room. */
static void open_again(struct channel *channel) {
        channel->state = CHANNEL_OPEN;
        channel->proven = channel->blocked = false;
        channel->opened_at = deadline_now();
        requeue(channel);
        for (struct call *call = channel->queued.first; call; call = call->next) {
                call_set_deadline(call, channel->opened_at);
                call_set_place(call, channel->opened_at);
        }
        for (struct call *call = channel->pending.first; call; call = call->next) {
                call_set_deadline(call, channel->opened_at);
                call_set_place(call, channel->opened_at);
                if (call->asleep)
                        pthread_cond_signal(&call->wake);
        }
        channel_hurry(channel);
        channel_return_owed(channel, DEADLINE_PASSED);
}

/* What needs the daemon is done without the lock. */
static int reopen(struct channel *channel, int64_t deadline, char detail[CALL_DETAIL_BYTES]) {
        const struct channel_keeper *keeper = &channel->keeper;
        pthread_mutex_unlock(&channel->lock);
        int rc = keeper->reopen(keeper->context, deadline, detail);
        pthread_mutex_lock(&channel->lock);
        return rc < 0 ? rc : keeper->settle(keeper->context);
}

static int list(struct channel *channel, int64_t deadline, char detail[CALL_DETAIL_BYTES]) {
        const struct channel_keeper *keeper = &channel->keeper;
        pthread_mutex_unlock(&channel->lock);
        int rc = keeper->list(keeper->context, deadline, detail);
        pthread_mutex_lock(&channel->lock);
        return rc < 0 ? rc : keeper->compare(keeper->context);
}

/* Everything that makes the connection again, from where it was left. */
static int make_again(struct channel *channel, int64_t deadline, char detail[CALL_DETAIL_BYTES]) {
        int rc = 1;
        if (channel->attempt == ATTEMPT_REOPENING)
                rc = reopen(channel, deadline, detail);
        if (rc > 0) {
                channel->attempt = ATTEMPT_LISTING;
                rc = list(channel, deadline, detail);
        }
        if (rc == -ENOMEM) {
                snprintf(detail, CALL_DETAIL_BYTES, "no memory left in this process");
                rc = -EAGAIN;
        }
        return rc;
}

/* Takes what still came over the lost connection: a reply that the daemon sent before it died is as good as any. */
static void drain(struct channel *channel) {
        int rc;
        channel->drained = true;
        do
                rc = stream_receive(&channel->stream, DEADLINE_NONE, NULL); /* it was shut down */
        while (rc == 0 && (rc = channel_deliver(channel)) == 0);
        if (rc == -EPROTO)
                channel_end(channel, rc, "the daemon's answer is not of this protocol");
}

/* Goes on with an attempt, or begins one. What a daemon does not answer by the deadline is left as it is, for the next who tries. */
static void try_once(struct channel *channel, int64_t deadline) {
        char detail[CALL_DETAIL_BYTES] = "";
        if (channel->attempt == ATTEMPT_NONE) {
                plan_next_try(channel);
                channel->attempt = ATTEMPT_REOPENING;
        }
        int rc = make_again(channel, deadline, detail);
        if (rc == -EINPROGRESS) {
                snprintf(channel->detail, sizeof(channel->detail), "the daemon does not answer");
                return;
        }
        channel->attempt = ATTEMPT_NONE;
        if (rc < 0)
                events_unwatch(channel->events);
        if (rc == 0)
                open_again(channel);
        else if (rc == -EAGAIN)
                snprintf(channel->detail, sizeof(channel->detail), "%s", detail);
        else
                channel_end(channel, rc, detail);
}

static void give_up(struct channel *channel, struct call *call) {
        channel_abandon(channel, call, channel->detail);
}

static void resume(struct channel *channel, struct call *call, int64_t deadline) {
        int64_t until = channel->next_try_at < deadline ? channel->next_try_at : deadline;
        while (channel->attempt == ATTEMPT_NONE && until > deadline_now() &&
                roles_sleep(channel, call, until) != -ETIMEDOUT)
                continue;
        if (deadline_left_ms(deadline) == 0)
                give_up(channel, call);
        else
                try_once(channel, deadline);
}

void resume_step(struct channel *channel, struct call *call) {
        int64_t deadline = resume_give_up_at(channel, call);
        bool mine = !channel->resuming && !channel->sending && !channel->reading;
        if (!mine) {
                if (roles_sleep(channel, call, deadline) == -ETIMEDOUT && !call->done &&
                        channel->state == CHANNEL_LOST &&
                        deadline_left_ms(resume_give_up_at(channel, call)) == 0)
                        give_up(channel, call);
                return;
        }
        channel->resuming = true;
        if (!channel->drained)
                drain(channel);
        if (!call->done && channel->state == CHANNEL_LOST)
                resume(channel, call, deadline);
        channel->resuming = false;
}

void resume_turn(struct channel *channel) {
        if (channel->resuming || channel->sending || channel->reading)
                return; /* who has the role hurries the next turn */
        channel->resuming = true;
        if (!channel->drained)
                drain(channel);
        if (channel->state == CHANNEL_LOST &&
                (channel->attempt != ATTEMPT_NONE || channel->next_try_at <= deadline_now()))
                try_once(channel, DEADLINE_PASSED);
        channel->resuming = false;
}

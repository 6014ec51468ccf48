/* One thread at a time resumes: it waits out the pause, connects, and settles what was under way; everyone
 * else's call sleeps until it is woken, by the success or to take over from one that gave up.
 * Pauses double from 1 ms to 100 ms, with jitter, so that the clients of a daemon that comes back do
 * not come all at once. They go on from thread to thread, and end when the connection has proved
 * itself: with a daemon that always dies of the same request, time runs out. */
#include "resume.h"

#include <errno.h>
#include <stdio.h>

#include "deadline.h"

#define PAUSE_MS_MIN 1
#define PAUSE_MS_MAX 100

static int64_t give_up_at(const struct channel *channel, const struct call *call) {
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

/* What was owed goes out before anything that is repeated, which may need that room. */
static void open_again(struct channel *channel) {
        channel->state = CHANNEL_OPEN;
        channel->proven = false;
        channel->opened_at = deadline_now();
        for (struct call *call = channel->pending; call; call = call->next) {
                call_set_deadline(call, channel->opened_at);
                if (call->asleep)
                        pthread_cond_signal(&call->wake);
        }
        channel_return_owed(channel);
}

/* Everything that makes the connection again. What needs the daemon is done without the lock. */
static int make_again(struct channel *channel, int64_t deadline, char detail[CALL_DETAIL_BYTES]) {
        const struct channel_keeper *keeper = &channel->keeper;
        pthread_mutex_unlock(&channel->lock);
        int rc = keeper->reopen(keeper->context, deadline, detail);
        pthread_mutex_lock(&channel->lock);
        if (rc < 0)
                return rc;
        rc = keeper->settle(keeper->context);
        if (rc > 0) {
                pthread_mutex_unlock(&channel->lock);
                rc = keeper->list(keeper->context, deadline, detail);
                pthread_mutex_lock(&channel->lock);
                if (rc < 0)
                        return rc;
                rc = keeper->compare(keeper->context);
        }
        if (rc < 0)
                snprintf(detail, CALL_DETAIL_BYTES, "no memory left in this process");
        return rc < 0 ? -EAGAIN : 0;
}

static void try_once(struct channel *channel, int64_t deadline) {
        char detail[CALL_DETAIL_BYTES] = "";
        plan_next_try(channel);
        int rc = make_again(channel, deadline, detail);
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
        while (until > deadline_now() && channel_sleep(channel, call, until) != -ETIMEDOUT)
                continue;
        if (deadline_left_ms(deadline) == 0)
                give_up(channel, call);
        else
                try_once(channel, deadline);
}

void resume_step(struct channel *channel, struct call *call) {
        int64_t deadline = give_up_at(channel, call);
        bool mine = !channel->resuming && !channel->sending && !channel->reading;
        if (!mine) {
                if (channel_sleep(channel, call, deadline) == -ETIMEDOUT && !call->done &&
                        channel->state == CHANNEL_LOST &&
                        deadline_left_ms(give_up_at(channel, call)) == 0)
                        give_up(channel, call);
                return;
        }
        channel->resuming = true;
        if (!channel->drained)
                channel_drain(channel);
        if (!call->done && channel->state == CHANNEL_LOST)
                resume(channel, call, deadline);
        channel->resuming = false;
}

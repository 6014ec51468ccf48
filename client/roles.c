/* See roles.h. */
#include "roles.h"

#include <errno.h>
#include <poll.h>

#include "channel_private.h"
#include "deadline.h"
#include "events.h"

/* Who reads may have left meanwhile. */
#define LOOK_AGAIN_MS 100

/* Of its own, as are other waits here: nearly always there is nothing to wait for. */
static __attribute__((noinline)) void wait_for_sending(struct channel *channel, int64_t deadline) {
        struct timespec until = deadline_timespec(deadline);
        int rc = 0;
        channel->send_waiting++;
        while (channel->sending && channel->state == CHANNEL_OPEN && rc == 0)
                rc = -pthread_cond_clockwait(
                        &channel->send_free, &channel->lock, CLOCK_MONOTONIC, &until);
        channel->send_waiting--;
}

int roles_take_sending(struct channel *channel, int64_t deadline) {
        if (channel->sending)
                wait_for_sending(channel, deadline);
        if (channel->state != CHANNEL_OPEN)
                return -ENOTCONN;
        if (channel->sending)
                return -ETIMEDOUT;
        channel->sending = true;
        return 0;
}

/* What it leaves undone is a turn's to see to. */
void roles_leave_sending(struct channel *channel) {
        const struct stream *stream = &channel->stream;
        channel->sending = false;
        channel->blocked = stream->out_end > stream->out_start;
        if (channel->queued.first || channel->blocked)
                channel_raise(channel);
        if (channel->send_waiting > 0)
                pthread_cond_signal(&channel->send_free);
}

/* Waits for room in the socket, without the lock. The daemon may wait for us to read, so we do if nobody else does. */
static __attribute__((noinline)) void wait_for_room(struct channel *channel, int64_t deadline) {
        pthread_mutex_lock(&channel->lock);
        bool reading = channel->reading;
        pthread_mutex_unlock(&channel->lock);
        struct pollfd socket = {channel->stream.fd, POLLOUT, 0};
        if (!reading)
                socket.events |= POLLIN;
        int64_t left_ms = deadline_left_ms(deadline);
        poll(&socket, 1, left_ms < 0 || left_ms > LOOK_AGAIN_MS ? LOOK_AGAIN_MS : (int)left_ms);
        if (!(socket.revents & POLLIN))
                return;
        pthread_mutex_lock(&channel->lock);
        if (!channel->reading && channel->state == CHANNEL_OPEN)
                roles_read(channel, DEADLINE_PASSED);
        pthread_mutex_unlock(&channel->lock);
}

static int flush(struct channel *channel, int64_t deadline) {
        int rc;
        while ((rc = stream_flush(&channel->stream, DEADLINE_PASSED)) == -ETIMEDOUT &&
                deadline_left_ms(deadline) != 0)
                wait_for_room(channel, deadline);
        return rc;
}

/* The sender's role is the caller's, the lock is not. */
static int send_request(
        struct channel *channel, const struct request *request, int64_t deadline, bool *sent) {
        struct stream *stream = &channel->stream;
        int rc = 0;
        *sent = false;
        if (stream->out_end > stream->out_start)
                rc = flush(channel, deadline);
        if (rc < 0)
                return rc;
        ptrdiff_t length =
                request_encode(request, stream->out, FRAME_HEADER_BYTES + FRAME_REQUEST_MAX);
        if (length < 0)
                return -EINVAL;
        stream->out_end = (size_t)length;
        rc = flush(channel, deadline);
        *sent = rc == 0 || stream->out_start > 0;
        if (!*sent)
                stream->out_end = 0;
        return rc == -ETIMEDOUT && *sent ? 0 : rc;
}

int roles_send(
        struct channel *channel, const struct request *request, int64_t deadline, bool *sent) {
        pthread_mutex_unlock(&channel->lock);
        int rc = send_request(channel, request, deadline, sent);
        pthread_mutex_lock(&channel->lock);
        roles_leave_sending(channel);
        if (rc == -ENOTCONN)
                channel_lose(channel, "the connection to the daemon is lost");
        return rc;
}

void roles_flush(struct channel *channel) {
        pthread_mutex_unlock(&channel->lock);
        int rc = stream_flush(&channel->stream, DEADLINE_PASSED);
        pthread_mutex_lock(&channel->lock);
        if (rc == -ENOTCONN)
                channel_lose(channel, "the connection to the daemon is lost");
}

unsigned roles_wanted(const struct channel *channel) {
        if (channel->state == CHANNEL_LOST && channel->attempt != ATTEMPT_NONE)
                return channel->resuming ? EVENTS_NONE : EVENTS_BYTES;
        if (channel->state != CHANNEL_OPEN)
                return EVENTS_NONE;
        bool comes = channel->submitted > 0 || channel->late.call_count > 0;
        bool reads = comes && channel->attended == 0;
        bool sends = channel->blocked && !channel->sending;
        return (reads ? EVENTS_BYTES : 0u) | (sends ? EVENTS_ROOM : 0u);
}

int roles_socket(const struct channel *channel, unsigned wanted) {
        return wanted == EVENTS_NONE ? -1 : channel->stream.fd;
}

void roles_watch(struct channel *channel) {
        if (!channel->events)
                return;
        unsigned wanted = roles_wanted(channel);
        events_watch(channel->events, roles_socket(channel, wanted), wanted);
}

int roles_read(struct channel *channel, int64_t deadline) {
        channel->reading = true;
        pthread_mutex_unlock(&channel->lock);
        int rc = stream_receive(&channel->stream, deadline, NULL);
        pthread_mutex_lock(&channel->lock);
        channel->reading = false;
        if (rc == 0)
                rc = channel_deliver(channel);
        if (rc == -EPROTO)
                channel_end(channel, rc, "the daemon's answer is not of this protocol");
        else if (rc < 0 && rc != -ETIMEDOUT)
                channel_lose(channel, "the connection to the daemon is lost");
        return rc;
}

int roles_sleep(struct channel *channel, struct call *call, int64_t until) {
        struct timespec time = deadline_timespec(until);
        call->asleep = true;
        int rc = pthread_cond_clockwait(&call->wake, &channel->lock, CLOCK_MONOTONIC, &time);
        call->asleep = false;
        return -rc;
}

void roles_hand_on(struct channel *channel) {
        if (channel->state == CHANNEL_OPEN ? channel->reading : channel->resuming)
                return;
        struct call *call = channel->pending.first;
        while (call && !call->asleep)
                call = call->next;
        if (call)
                pthread_cond_signal(&call->wake);
}

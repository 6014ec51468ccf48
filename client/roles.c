/* See roles.h. */
#include "roles.h"

#include <errno.h>

#include "deadline.h"

int roles_take_sending(struct channel *channel, int64_t deadline) {
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

void roles_leave_sending(struct channel *channel) {
        channel->sending = false;
        if (channel->send_waiting > 0)
                pthread_cond_signal(&channel->send_free);
}

/* The sender's role is the caller's, the lock is not. */
static int send_request(
        struct stream *stream, const struct request *request, int64_t deadline, bool *sent) {
        *sent = false;
        int rc = stream_flush(stream, deadline);
        if (rc < 0)
                return rc;
        ptrdiff_t length =
                request_encode(request, stream->out, FRAME_HEADER_BYTES + FRAME_REQUEST_MAX);
        if (length < 0)
                return -EINVAL;
        stream->out_end = (size_t)length;
        rc = stream_flush(stream, deadline);
        *sent = rc == 0 || stream->out_start > 0;
        if (!*sent)
                stream->out_end = 0;
        return rc == -ETIMEDOUT && *sent ? 0 : rc;
}

int roles_send(
        struct channel *channel, const struct request *request, int64_t deadline, bool *sent) {
        pthread_mutex_unlock(&channel->lock);
        int rc = send_request(&channel->stream, request, deadline, sent);
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

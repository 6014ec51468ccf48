/* Requests and replies over one connection, for any number of threads. There is no thread of its
 * own: of those who wait for a reply one reads for all, the others sleep until their reply is
 * there or the reading is handed to them.
 *
 * A request that nobody waits for any longer is remembered until its reply comes, so that what
 * it was granted goes back and is not lost. Once the connection is lost it stays lost: every
 * pending call and every later one ends in -ENOTCONN. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "proto/message.h"
#include "stream.h"

#define CALL_DETAIL_BYTES 256u

/* Judges the reply to a request that was not refused and takes over what it brings. Runs on
 * whichever thread reads, with the channel's lock held: it may copy, and take the locks of the
 * holdings and the mapping. What it returns is the result of the call; -EPROTO also ends the
 * connection. */
typedef int call_accept(void *context, const struct reply *reply);

/* One request under way. In the caller's memory until channel_call returns. */
struct call {
        call_accept *accept;
        void *context;
        /* The rest is the channel's, guarded by its lock. */
        uint64_t id;
        struct call *next, **link; /* in the list of pending calls; link NULL: not in it */
        pthread_cond_t wake;
        bool asleep;
        bool done;
        bool sent; /* the daemon may have seen the request */
        int result;
        char detail[CALL_DETAIL_BYTES]; /* what the daemon said to a refusal */
};

struct late_grant;

struct channel {
        struct stream
                stream;     /* written by the one who is sending, read by the one who is reading */
        struct arena arena; /* of the one who is reading */
        pthread_mutex_t lock; /* guards everything below */
        pthread_cond_t send_free;
        size_t send_waiting;
        bool sending; /* somebody is sending */
        bool reading; /* somebody is reading */
        bool lost;
        uint64_t last_id;
        struct call *pending, **pending_end; /* in the order they were made */
        uint64_t *abandoned;                 /* ids whose replies nobody waits for; owned */
        size_t abandoned_count, abandoned_size;
        struct late_grant *late; /* granted to nobody: to be returned; owned */
};

/* Begins on a connected socket, which it takes over on success. last_id is the id of the last
 * request that was made on it before. -ENOMEM. */
int channel_init(struct channel *channel, struct stream *stream, uint64_t last_id);

/* Closes the connection and frees what the channel has. Nobody may be in a call; in a forked
 * child, where the locks may be in any state, inherited is true. */
void channel_deinit(struct channel *channel, bool inherited);

/* Sends a request (its id is set here) and waits for the reply until the deadline. Returns what
 * accept returned; the errno of a refusal, with the daemon's words in call->detail; -ENOTCONN:
 * the connection is lost, or (call->sent tells) the request could not be sent or has had no
 * answer by the deadline; -EPROTO. */
int channel_call(
        struct channel *channel, struct request *request, struct call *call, int64_t deadline);

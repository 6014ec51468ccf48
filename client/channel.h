/* Requests and replies over one connection, for any number of threads, and over the next one when
 * that is lost. There is no thread of its own: of those who wait for a reply one reads for all,
 * the others sleep until their reply is there or the reading is handed to them. Calls that nobody waits
 * for (turn.h) are sent, read for and given up by whoever takes a turn, and read for by those who wait as well.
 *
 *   OPEN ──loss──► LOST ──connected again, all settled──► OPEN
 *                   └──the session is gone──► ENDED        (so does a breach of protocol: OPEN ─► ENDED)
 *
 * Roles: sending, reading and resuming, each of one thread at most; taken and given back under
 * the lock, exercised without it. Sending and reading begin only in OPEN, resuming begins only
 * in LOST when nobody is in the two others: so whoever resumes has the stream for himself. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "call.h"
#include "late.h"
#include "stream.h"

struct channel;

/* What the channel needs of its client. */
struct channel_keeper {
        void *context;
        /* The next four make the connection again, in this order, on the thread that is resuming. 0; -EAGAIN:
         * worth another try from the beginning; else that is the end, and detail says why. */
        /* Connects and says hello; without the lock. -EINPROGRESS: not done by the deadline, to be called again. */
        int (*reopen)(void *context, int64_t deadline, char detail[CALL_DETAIL_BYTES]);
        /* Settles the calls that were under way by what the daemon said of them; the lock is held. -ENOMEM: nothing is
         * settled; 1: some can be settled only by what is held. */
        int (*settle)(void *context);
        /* Asks what is held; without the lock. -EINPROGRESS as above. */
        int (*list)(void *context, int64_t deadline, char detail[CALL_DETAIL_BYTES]);
        /* Settles the rest; the lock is held. -ENOMEM: nothing is settled. */
        int (*compare)(void *context);
        /* This came too late and goes back; the lock is held. */
        void (*owe_range)(void *context, const struct message_range *range);
        /* These are held no longer; the lock is held. */
        void (*forget)(void *context, const struct message_ranges *ranges);
};

enum channel_state { CHANNEL_OPEN, CHANNEL_LOST, CHANNEL_ENDED };

/* How far making the connection again has come. */
enum channel_attempt { ATTEMPT_NONE, ATTEMPT_REOPENING, ATTEMPT_LISTING };

struct events;

struct channel {
        struct stream stream; /* of those in the roles */
        struct arena arena;   /* of the one who is reading or resuming */
        struct channel_keeper keeper;
        pthread_mutex_t lock; /* guards everything below */
        enum channel_state state;
        pthread_cond_t send_free;
        size_t send_waiting;
        bool sending;
        bool reading;
        bool resuming;
        uint64_t last_id;
        struct call_list pending; /* those that were sent in the order of their ids */
        struct late late;
        uint32_t emptied_orders; /* whose slots are still to be emptied, a bit each */
        /* Of calls that nobody waits for. */
        struct call_list queued;   /* not sent yet */
        size_t submitted;          /* of them, without a result */
        size_t attended;           /* calls that somebody waits for: he reads for all */
        size_t reply_bytes;        /* that the daemon may have to send for them */
        struct call_list finished; /* with their results */
        bool turning;              /* a turn is being taken, and sees to what comes meanwhile */
        bool blocked;              /* the socket did not take all */
        int64_t due;               /* nothing of them is overdue before */
        struct events *events; /* what tells of a turn's work; owned; NULL: nobody asked for it */
        /* Of losing and resuming. */
        bool drained; /* nothing more comes over the lost connection */
        enum channel_attempt attempt;
        bool proven;                    /* this connection has brought a reply */
        int64_t opened_at;              /* this connection */
        int64_t lost_at;                /* when the loss was noticed */
        int64_t next_try_at;            /* nobody tries before */
        int64_t pause_ms;               /* the last pause between two tries; 0: none yet */
        char detail[CALL_DETAIL_BYTES]; /* why it is lost or has ended */
};

/* Begins on a connected socket, which it takes over on success. last_id is the id of the last
 * request that was made on it before. -ENOMEM. */
int channel_init(struct channel *channel, struct stream *stream, uint64_t last_id,
        const struct channel_keeper *keeper);

/* Closes the connection and frees what the channel has. Nobody may be in a call; in a forked
 * child, where the locks may be in any state, inherited is true. */
void channel_deinit(struct channel *channel, bool inherited);

/* Sends a request (its id is set here) and waits for the reply, over as many connections as it takes.
 * Returns what accept returned; the errno of a refusal, with the daemon's words in call->detail;
 * -EPROTO; -ENOTCONN: no answer in time, or the daemon is not back in time, or never will be.
 * After -ENOTCONN call->sent tells whether the daemon may have seen it. */
int channel_call(struct channel *channel, struct request *request, struct call *call);

/* Sends a request that has no reply, if that can be done at once. */
void channel_post(struct channel *channel, struct request *request);

/* Has the daemon empty the slots of these orders (a bit each), at once or as soon as somebody who is sending is done. */
void channel_empty_orders(struct channel *channel, uint32_t orders);

/* Returns ranges later, which a call could not: the table counts them until then. */
void channel_owe(struct channel *channel, const struct batch *batch);

/* Returns what is owed now, if that can be done at once. */
void channel_return_owed_now(struct channel *channel);

/* One request under way, whoever makes it: a thread that waits for it (channel_call), or a submission (turn.h).
 *
 * It has one result: `done` is set once, under the channel's lock, by whoever takes the call out of
 * the list of pending ones: a reply, a settlement (reconcile.h), the end, or its own deadline. Its
 * request is on its way at most once: `sent` says that it is under way on this connection or on the lost
 * one, and only a settlement that found that it did not happen takes that back. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "batch.h"
#include "proto/message.h"

#define CALL_DETAIL_BYTES 256u

/* Judges the reply to a request that was not refused and takes over what it brings. Runs on
 * whichever thread reads, with the channel's lock held: it may copy, and take the locks of the
 * holdings and the mapping. What it returns is the result of the call; -EPROTO also ends the
 * connection. */
typedef int call_accept(void *context, const struct reply *reply);

struct call_list {
        struct call *first, **end;
};

/* One request under way. In the caller's memory until channel_call returns, or a turn has taken it out. */
struct call {
        call_accept *accept;
        void *context;
        struct batch *batch;  /* attach, release and give: the ranges that are still to be done; the
                              * request's own list follows it */
        bool changes_nothing; /* a give to oneself: its ranges stay held */
        int64_t timeout_ms;   /* how long the daemon may be silent, or away; -1: for ever */
        bool unattended;      /* nobody waits for it (turn.h) */
        /* The rest is the channel's, guarded by its lock. */
        struct request *request;
        struct call *next, **link; /* in its list; link NULL: not in one */
        struct call_list *list;
        size_t reply_bytes; /* that its reply may have, while it is under way and nobody waits for it */
        pthread_cond_t wake;
        int64_t made_at;
        int64_t wait_until; /* an alloc that waits: when it has waited enough */
        int64_t deadline;   /* for the reply */
        bool lingered;      /* beyond it, once */
        bool asleep;
        bool done;
        bool partly; /* of a give: some of its ranges are given, its batch has the rest */
        bool sent;   /* the daemon may have seen the request, and did not answer it */
        int result;
        char detail[CALL_DETAIL_BYTES]; /* what the daemon said to a refusal */
};

void call_list_init(struct call_list *list);

/* At its end. */
void call_link(struct call_list *list, struct call *call);

/* Sets what is its maker's, and only that: the rest is large, and is set when the call begins. Whoever has more to say of it
 * initialises it as a whole instead. */
static inline void call_init(
        struct call *call, call_accept *accept, void *context, struct batch *batch) {
        call->accept = accept;
        call->context = context;
        call->batch = batch;
        call->changes_nothing = call->unattended = false;
}

/* Makes a call one of this request that has not been sent. */
void call_begin(struct call *call, struct request *request);

/* When this call's reply is overdue, if it is sent now. */
void call_set_deadline(struct call *call, int64_t now);

/* Its place in line, if it waits for memory, over a connection that was made again just now. One that was begun on this connection
 * is behind all that came before it, however long it was on its way. */
void call_set_place(struct call *call, int64_t now);

/* A request's own list of ranges becomes what its batch still has. */
void call_follow_batch(const struct call *call);

/* The reason behind its result. */
void call_say(struct call *call, const char *detail);

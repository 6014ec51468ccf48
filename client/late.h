/* What is left of calls that gave up: replies that nobody waits for any more, and ranges that are
 * to go back without anybody waiting. Guarded by the channel's lock. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch.h"
#include "proto/message.h"

/* Ranges in memory of their own. */
struct owed {
        struct owed *next;
        bool counted; /* the table of holdings still counts them: until their release is sent */
        size_t count;
        uint64_t *places; /* owned, as are the generations behind them */
        uint32_t *generations;
};

/* A request whose reply nobody waits for. */
struct abandoned {
        uint64_t id;
        enum request_kind kind;
        bool one_way;        /* there is no reply */
        struct owed *ranges; /* what an attach, release or give named; owned; may be NULL */
};

struct late {
        struct abandoned *calls; /* by id; owned */
        size_t call_count, call_size;
        struct owed *owed; /* to be returned; owned */
};

void late_deinit(struct late *late);

/* Room for count ranges, not in any list. NULL: no memory. */
struct owed *owed_new(size_t count);
void owed_free(struct owed *owed);
struct message_ranges owed_ranges(const struct owed *owed);

/* Puts ranges into the list of what goes back. */
void late_owe(struct late *late, struct owed *owed);

/* The same for a copy of these. -ENOMEM. */
int late_owe_copy(struct late *late, const struct message_ranges *ranges, bool counted);

/* Takes one out of the list, or NULL. */
struct owed *late_take_owed(struct late *late);

/* Remembers that nobody waits for this request any more; batch may be NULL. -ENOMEM. */
int late_abandon(struct late *late, const struct request *request, const struct batch *batch);

/* Room for one more request to remember. -ENOMEM. */
int late_reserve(struct late *late);

/* Remembers a one-way release under its id, the highest so far, in room that was reserved. Takes the ranges over. */
void late_note_one_way(struct late *late, uint64_t id, struct owed *ranges);

/* A reply to this request has come: the daemon has run all one-way releases before it. */
void late_confirm(struct late *late, uint64_t id);

/* Whether this id is one of those; it is taken out, and its ranges are the caller's. */
bool late_take_call(struct late *late, uint64_t id, struct abandoned *out);

/* Forgets the requests that are of this kind, and those that are not: no reply to them will come. How many are left. */
size_t late_forget_calls(struct late *late, enum request_kind kind);
size_t late_keep_calls(struct late *late, enum request_kind kind);

/* Whose turn it is on a worker. Each uid with connections there has one share of the worker's time, however many
 * connections that are: of those with something to do the one goes first that has used the least (fair queuing by
 * virtual time, after Demers, Keshav and Shenker, 1989). A worker whose connections are all one uid's has nothing to divide.
 * Belongs to the worker's thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "list.h"

/* Of the connections of one uid; exists while there are any. */
struct share {
        struct link in_shares, in_ready;
        struct link runnable; /* of its connections, those with something to do */
        uint32_t uid;
        unsigned connections;
        uint64_t used_ns;
};

struct turns {
        struct link shares, ready; /* all; those with something to do */
        unsigned share_count;
        uint64_t virtual_ns; /* what the share had used that went last; who comes new begins here */
};

void turns_init(struct turns *turns);

/* One more connection of this uid. NULL: no memory. */
struct share *turns_join(struct turns *turns, uint32_t uid);
void turns_leave(struct turns *turns, struct share *share);

/* Several uids want to be served. */
static inline bool turns_contended(const struct turns *turns) {
        return turns->share_count > 1;
}

static inline bool turns_waiting(const struct turns *turns) {
        return link_used(&turns->ready);
}

/* One of its connections has something to do, by its link, which is in no list. */
void turns_add(struct turns *turns, struct share *share, struct link *connection);

/* Takes out the connection whose turn it is, and its share. NULL: nobody has anything to do. */
struct link *turns_next(struct turns *turns, struct share **share);

/* What its turn took. */
void turns_charge(struct share *share, uint64_t ns);

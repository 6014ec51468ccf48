/* What the threads of stress_gifts share: the clients, what they have given to each other and not looked at yet (mail), the names
 * that anybody may attach to (offers), and the marks that ranges bear. Each mail and each offer has a lock of its own; the first
 * fault ends everything. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/buddyclient.h"

#define PAGE     UINT64_C(4096)
#define CLIENTS  3
#define MAIL_MAX 32
#define OFFERS   8

/* Shared with the process that exhausts the pool. */
struct board {
        atomic_bool stop, failed;
        _Atomic uint64_t rounds;
};

/* A range, and what its pages bear in this use of it. Where it was offered any thread of any client may hold it for a moment, by the
 * same name; so only of one that was not is it known that a second release must fail. */
struct parcel {
        struct buddyclient_range range;
        uint64_t mark;
        bool offered;
};

struct player {
        struct buddyclient *client;
        pthread_mutex_t lock; /* of the mail */
        struct parcel mail[MAIL_MAX];
        size_t mail_count;
};

extern struct board *board;
extern struct player players[CLIENTS];

/* Before there are threads. False: no memory. */
bool table_open(void);

/* ---- Faults ---- */

bool table_stopped(void);
void fail(const char *what, int rc);
void need(const char *what, int rc);
void need_stale(const char *what, int rc);

/* ---- Marks ---- */

/* One that nobody has had, written to all pages of the range. */
void parcel_mark(struct buddyclient *client, struct parcel *parcel);
void parcel_expect(struct buddyclient *client, const struct parcel *parcel, const char *where);

/* ---- Mail and offers ---- */

/* False: there is no room for it. */
bool mail_post(struct player *to, const struct parcel *parcel);
/* False: there is none. */
bool mail_take(struct player *player, struct parcel *out);

void offer_put(unsigned place, const struct parcel *parcel);
/* False: nothing was offered there yet. */
bool offer_look(unsigned place, struct parcel *out);

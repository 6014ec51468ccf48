/* A client's session with a pool, from hello to the return of the last thing it held. Owned by its
 * connection while there is one, then by its worker's list of reclaims. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/pool.h"
#include "list.h"
#include "log.h"

struct connection;
struct kick;
struct served_pool;
struct user;
struct worker;

struct session {
        struct worker *worker;
        struct served_pool *served;
        struct connection *connection; /* valid until it has ended */
        uint32_t id;
        uint32_t pid, uid;
        bool read_only;
        bool resumes;   /* what its client does when it loses the connection */
        bool confirmed; /* it has asked for something: it knows of its session */
        char name[LEDGER_NAME_BYTES];
        struct link waits; /* of struct wait */
        unsigned wait_count;

        /* Once it has ended: */
        struct link in_reclaims;
        struct pool_reclaimed reclaimed;
        uint64_t ended_ns;
        const char *ending;          /* how, in words */
        struct connection *farewell; /* said goodbye and waits for the reply; NULL: nobody does */
        uint64_t farewell_id;        /* of that request */
        bool said_goodbye;
        struct kick *kick; /* wants to know when all is returned; NULL: nobody does */
};

/* Opens a session in the pool. 0; -EAGAIN: no free slot; -ENOMEM. */
int session_open(struct connection *connection, struct served_pool *served,
        const struct pool_session_identity *identity, struct session **out);

/* Opens a session that an earlier daemon left and that lives. 0; -ENOMEM. */
int session_reopen(struct connection *connection, struct served_pool *served,
        const struct pool_session_info *info, struct session **out);

/* Goes on with another connection of the same worker; waits are withdrawn and the old one is closed. */
void session_rebind(struct session *session, struct connection *connection);

/* Takes over a session that no connection has and that is over: ends it. ending: why, for the log. kick: told when all is
 * returned, or NULL. */
int session_adopt(struct worker *worker, struct served_pool *served,
        const struct pool_session_info *info, const char *ending, struct kick *kick);

/* Ends it: waits are withdrawn, what it holds is returned from now on, and then it is freed. ending: how, in words. */
void session_end(struct session *session, const char *ending);

/* An operator ends it, and its connection with it. kick is told when all is returned. */
void session_kick(struct session *session, struct kick *kick);

/* Its connection is lost, its process lives and will come back for it: it is an orphan from here on, which takes pidfd and user. 0; -errno:
 * nothing was done. */
int session_leave(struct session *session, int pidfd, struct user *user);

/* The daemon stops: forgets the session but leaves it in the ledger for the next one. */
void session_abandon(struct session *session);

/* Returns a slice of what it held. True: all of it, and the session is freed. */
bool session_reclaim(struct session *session);

/* The session as an event of the log is about it, with what it holds or held. */
struct log_subject session_subject(const struct session *session, uint64_t ranges, uint64_t bytes);

/* Sessions that an earlier daemon left and whose clients have not come back yet. What dead ones held is
 * returned; those whose process lives keep what they hold until they resume, and their process's end is
 * watched. Where it cannot be seen, a grace period decides.
 *
 * Each orphan belongs to one worker, whose loop watches it and whose thread alone resumes it: a client that
 * comes back and the end of its process meet in one thread. */
#pragma once

#include "core/pool.h"

struct connection;
struct kick;
struct orphan;
struct served_pool;
struct serving;
struct session;
struct user;
struct worker;

/* Looks through all pools before the workers run, and returns what dead ones held; what takes long goes on
 * when they run. 0; -ENOMEM or another -errno. */
int orphans_adopt(struct serving *serving);

/* The client of an orphan has come back: it is one no more. On its worker. 0; -ENOENT: it is none; -ENOMEM. */
int orphan_resume(struct connection *connection, struct served_pool *served,
        const struct pool_session_info *info, struct session **out);

/* An operator ends it; kick is told when all is returned. On its worker. -ENOMEM: nothing was done. */
int orphan_kick(struct orphan *orphan, struct kick *kick);

struct orphan_process {
        int pidfd;         /* -1: the process cannot be watched */
        struct user *user; /* whose connection it counts as */
};

/* Makes a session one whose process may live. Takes pidfd and user on success. On the worker's thread,
 * or before the workers run. -errno. */
int orphan_keep(struct worker *worker, struct served_pool *served,
        const struct pool_session_info *info, struct orphan_process process);

/* Frees those of a worker that are over. Between two turns. */
void orphans_bury(struct worker *worker);

/* Stops watching those of a worker; on its thread, or while it does not run. */
void orphans_forget(struct worker *worker);

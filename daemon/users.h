/* Who is connected, by uid: what each uid has of what the whole daemon shares, its descriptors and its memory for requests
 * and replies. A share of these is half of what the others leave. One per daemon; any thread; the lock is a leaf. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "list.h"

/* Exists while there are connections of it, or sessions that may come back. */
struct user {
        struct link in_users;
        uint32_t uid;
        uint32_t connections; /* and orphans, which have a descriptor, too; the lock */
        _Atomic uint64_t buffer_bytes;
};

struct users {
        pthread_mutex_t lock;
        struct link all;
        uint64_t connections_max;  /* for which there are descriptors */
        uint64_t connections;      /* the lock */
        uint64_t connections_peak; /* since memory was last given back; the lock */
        _Atomic uint64_t buffer_bytes, buffers_peak;
        _Atomic uint64_t connections_limit, buffers_limit; /* QUOTA_NONE, QUOTA_SHARE or a figure */
        _Atomic uint64_t client_requests, client_output; /* of one connection: the same, no share */
};

/* So much is used of so much. */
struct users_excess {
        uint64_t used, allowed;
};

int users_init(struct users *users);
void users_deinit(struct users *users);

/* One more connection of a uid. NULL: no memory, or, with allowed not 0, over its limit. */
struct user *users_enter(struct users *users, uint32_t uid, struct users_excess *excess);

/* The same without a limit, for one that is there already. NULL: no memory. */
struct user *users_take_in(struct users *users, uint32_t uid);
void users_leave(struct users *users, struct user *user);

/* Memory for its requests and replies has become so much more, or less. False: that is over its limit. */
bool users_buffer(
        struct users *users, struct user *user, int64_t more_bytes, struct users_excess *excess);

/* What a uid has. */
void users_count(struct users *users, uint32_t uid, uint64_t *connections, uint64_t *buffer_bytes);

/* A crowd has gone, or a flood run dry: the memory that it took is free, and more than is needed soon. Once for each. */
bool users_have_left(struct users *users);

/* Shares do not bind root and the daemon's own user. */
bool user_is_privileged(uint32_t uid);

/* See users.h. */
#include "users.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/quota.h"

#define DESCRIPTORS_EACH 2u  /* a socket and a pidfd */
#define DESCRIPTORS_OWN  64u /* of the daemon, at least */
#define BUFFERS_MAX      (UINT64_C(256) << 20)
#define CROWD            128u /* connections: fewer are not worth the work */
#define FLOOD_BYTES      (UINT64_C(1) << 20)

bool user_is_privileged(uint32_t uid) {
        return uid == 0 || uid == getuid();
}

int users_init(struct users *users) {
        struct rlimit limit = {0};
        *users = (struct users){.connections_limit = QUOTA_SHARE, .buffers_limit = QUOTA_SHARE};
        link_init(&users->all);
        getrlimit(RLIMIT_NOFILE, &limit);
        users->connections_max = limit.rlim_cur > DESCRIPTORS_OWN
                                         ? (limit.rlim_cur - DESCRIPTORS_OWN) / DESCRIPTORS_EACH
                                         : 1;
        return -pthread_mutex_init(&users->lock, NULL);
}

void users_deinit(struct users *users) {
        pthread_mutex_destroy(&users->lock);
}

static struct user *user_find_locked(const struct users *users, uint32_t uid) {
        for (struct link *at = users->all.next; at != &users->all; at = at->next) {
                struct user *user = LINK_OWNER(at, struct user, in_users);
                if (user->uid == uid)
                        return user;
        }
        return NULL;
}

static struct user *user_take_in_locked(struct users *users, uint32_t uid) {
        struct user *user = user_find_locked(users, uid);
        if (!user) {
                user = calloc(1, sizeof(*user));
                if (!user)
                        return NULL;
                user->uid = uid;
                list_append(&users->all, &user->in_users);
        }
        user->connections++;
        users->connections++;
        if (users->connections > users->connections_peak)
                users->connections_peak = users->connections;
        return user;
}

/* What a limit comes to for one who has own of all that is used, of max. */
static uint64_t limit_allowed(
        uint64_t limit, uint32_t uid, uint64_t own, uint64_t used, uint64_t max) {
        if (limit != QUOTA_SHARE)
                return limit;
        if (user_is_privileged(uid))
                return QUOTA_NONE;
        uint64_t others = used - own;
        return others < max ? (max - others) / 2 : 0;
}

struct user *users_enter(struct users *users, uint32_t uid, struct users_excess *excess) {
        pthread_mutex_lock(&users->lock);
        struct user *user = user_find_locked(users, uid);
        uint64_t own = user ? user->connections : 0;
        uint64_t allowed = limit_allowed(atomic_load(&users->connections_limit), uid, own,
                users->connections, users->connections_max);
        *excess = (struct users_excess){0};
        if (own < allowed) {
                user = user_take_in_locked(users, uid);
        } else {
                *excess = (struct users_excess){.used = own, .allowed = allowed ? allowed : 1};
                user = NULL;
        }
        pthread_mutex_unlock(&users->lock);
        return user;
}

struct user *users_take_in(struct users *users, uint32_t uid) {
        pthread_mutex_lock(&users->lock);
        struct user *user = user_take_in_locked(users, uid);
        pthread_mutex_unlock(&users->lock);
        return user;
}

void users_leave(struct users *users, struct user *user) {
        pthread_mutex_lock(&users->lock);
        users->connections--;
        if (--user->connections == 0) {
                link_remove(&user->in_users);
                free(user);
        }
        pthread_mutex_unlock(&users->lock);
}

bool users_buffer(
        struct users *users, struct user *user, int64_t more_bytes, struct users_excess *excess) {
        uint64_t more = (uint64_t)more_bytes;
        uint64_t own = atomic_fetch_add(&user->buffer_bytes, more) + more;
        uint64_t used = atomic_fetch_add(&users->buffer_bytes, more) + more;
        if (used > atomic_load_explicit(&users->buffers_peak, memory_order_relaxed))
                atomic_store_explicit(&users->buffers_peak, used, memory_order_relaxed);
        uint64_t allowed = limit_allowed(
                atomic_load(&users->buffers_limit), user->uid, own, used, BUFFERS_MAX);
        *excess = (struct users_excess){own, allowed};
        return more_bytes <= 0 || own <= allowed;
}

void users_count(struct users *users, uint32_t uid, uint64_t *connections, uint64_t *buffer_bytes) {
        pthread_mutex_lock(&users->lock);
        const struct user *user = user_find_locked(users, uid);
        *connections = user ? user->connections : 0;
        *buffer_bytes = user ? atomic_load(&user->buffer_bytes) : 0;
        pthread_mutex_unlock(&users->lock);
}

bool users_have_left(struct users *users) {
        uint64_t bytes = atomic_load(&users->buffer_bytes);
        uint64_t bytes_peak = atomic_load(&users->buffers_peak);
        pthread_mutex_lock(&users->lock);
        bool left = (users->connections_peak >= CROWD &&
                            users->connections <= users->connections_peak / 2) ||
                    (bytes_peak >= FLOOD_BYTES && bytes <= bytes_peak / 2);
        if (left) {
                users->connections_peak = users->connections;
                atomic_store(&users->buffers_peak, bytes);
        }
        pthread_mutex_unlock(&users->lock);
        return left;
}

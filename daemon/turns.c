/* See turns.h. A worker has few uids, so they are looked through. */
#include "turns.h"

#include <stdlib.h>

void turns_init(struct turns *turns) {
        *turns = (struct turns){0};
        link_init(&turns->shares);
        link_init(&turns->ready);
}

static struct share *share_find(const struct turns *turns, uint32_t uid) {
        for (struct link *at = turns->shares.next; at != &turns->shares; at = at->next) {
                struct share *share = LINK_OWNER(at, struct share, in_shares);
                if (share->uid == uid)
                        return share;
        }
        return NULL;
}

static struct share *share_new(struct turns *turns, uint32_t uid) {
        struct share *share = malloc(sizeof(*share));
        if (!share)
                return NULL;
        *share = (struct share){.uid = uid, .used_ns = turns->virtual_ns};
        link_init(&share->in_ready);
        link_init(&share->runnable);
        list_append(&turns->shares, &share->in_shares);
        turns->share_count++;
        return share;
}

struct share *turns_join(struct turns *turns, uint32_t uid) {
        struct share *share = share_find(turns, uid);
        if (!share)
                share = share_new(turns, uid);
        if (share)
                share->connections++;
        return share;
}

void turns_leave(struct turns *turns, struct share *share) {
        if (--share->connections > 0)
                return;
        link_remove(&share->in_ready);
        link_remove(&share->in_shares);
        turns->share_count--;
        free(share);
}

void turns_add(struct turns *turns, struct share *share, struct link *connection) {
        list_append(&share->runnable, connection);
        if (link_used(&share->in_ready))
                return;
        /* Time that it did not use is nothing to save up. */
        if (share->used_ns < turns->virtual_ns)
                share->used_ns = turns->virtual_ns;
        list_append(&turns->ready, &share->in_ready);
}

/* The ready share that has used the least; those that have lost all their runnable connections meanwhile drop out. */
static struct share *share_least(struct turns *turns) {
        struct share *least = NULL;
        for (struct link *at = turns->ready.next, *next; at != &turns->ready; at = next) {
                struct share *share = LINK_OWNER(at, struct share, in_ready);
                next = at->next;
                if (!link_used(&share->runnable))
                        link_remove(&share->in_ready);
                else if (!least || share->used_ns < least->used_ns)
                        least = share;
        }
        return least;
}

struct link *turns_next(struct turns *turns, struct share **out) {
        struct share *share = share_least(turns);
        if (!share)
                return NULL;
        struct link *connection = share->runnable.next;
        link_remove(connection);
        turns->virtual_ns = share->used_ns;
        *out = share;
        return connection;
}

void turns_charge(struct share *share, uint64_t ns) {
        share->used_ns += ns;
}

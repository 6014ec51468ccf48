/* find, attach, give, publish, lookup, unpublish: what others hold of a range. */
#include "handle.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cache_share.h"
#include "quota.h"
#include "session.h"
#include "worker.h"

/* The first that is connected; where none is, since the daemon is new, the last. */
static uint32_t find_session(struct served_pool *served, const char *name) {
        uint32_t found = 0, session = 0;
        while ((session = pool_session_find(served->pool, name, session)) != 0) {
                const struct presence *presence = served_pool_presence(served, session);
                found = session;
                if (atomic_load_explicit(&presence->connected_since_s, memory_order_relaxed) != 0)
                        break;
        }
        return found;
}

enum status handle_find(struct call *call) {
        const char *name = call->request->find.name;
        uint32_t peer = *name ? find_session(call->served, name) : 0;
        if (peer == 0)
                return call_refuse(call, STATUS_NOT_FOUND, "no client '%.64s' here", name);
        call->reply.kind = REPLY_PEER;
        call->reply.peer = peer;
        return STATUS_OK;
}

static struct pool_want hold_want(const struct call *call, struct block block) {
        return (struct pool_want){
                .bytes = call->served->page_bytes << block.order, .ranges = 1, .holds = 1};
}

enum status handle_attach(struct call *call) {
        struct block block;
        enum status status = call_block(call, &call->request->attach.range, &block);
        if (status != STATUS_OK)
                return status;
        struct pool_want want = hold_want(call, block);
        uint64_t name = call->request->attach.range.generation;
        int error = cache_attach(call->served, call->session->id, block, name);
        if (error == -EDQUOT && call_take_back_own(call) > 0)
                error = cache_attach(call->served, call->session->id, block, name);
        if (error == -EDQUOT)
                return call_refuse_quota(call, 0, &want);
        if (error == -ESTALE)
                return call_refuse(call, STATUS_STALE,
                        "nobody holds the range at offset %" PRIu64 ", generation %" PRIu32
                        " (any more)",
                        block.page * call->served->page_bytes, block.generation);
        return error ? call_refuse_block(call, error, block) : STATUS_OK;
}

/* The peer holds as much as it may, or as others may give it. */
static enum status give_refuse_quota(struct call *call) {
        const struct request_give *give = &call->request->give;
        const struct block *blocks = call->worker->scratch->blocks;
        struct pool_want want = {.ranges = give->ranges.count,
                .holds = give->ranges.count,
                .giver = call->session->id};
        for (size_t i = 0; i < give->ranges.count; i++)
                want.bytes += call->served->page_bytes << blocks[i].order;
        return call_refuse_quota(call, give->peer, &want);
}

/* -EDQUOT only when what the peer and its uid just keep at hand does not make room either. */
static int give_blocks(struct call *call, size_t *bad) {
        const struct request_give *give = &call->request->give;
        const struct cache_gift gift = {
                call->worker->scratch->blocks, give->ranges.count, give->peer};
        struct pool_session_info peer;
        int error = cache_give(call->served, call->session->id, &gift, bad);
        if (error == -EDQUOT && pool_session_info(call->served->pool, give->peer, &peer) == 0 &&
                call_take_back_of(call, peer.identity.uid) > 0)
                error = cache_give(call->served, call->session->id, &gift, bad);
        return error;
}

enum status handle_give(struct call *call) {
        const struct request_give *give = &call->request->give;
        enum status status = call_blocks(call, &give->ranges);
        if (status != STATUS_OK)
                return status;
        const struct block *blocks = call->worker->scratch->blocks;
        size_t bad = 0;
        int error = give_blocks(call, &bad);
        if (error == -ENOENT)
                return call_refuse(
                        call, STATUS_NOT_FOUND, "no client %" PRIu32 " here", give->peer);
        if (error == -EDQUOT)
                return give_refuse_quota(call);
        return error ? call_refuse_block(call, error, blocks[bad]) : STATUS_OK;
}

/* A key that is no key, or somebody else's. */
static enum status key_refuse(struct call *call, int error, const char *key) {
        switch (error) {
        case -ENOENT:
                return call_refuse(call, STATUS_NOT_FOUND, "no key '%.200s' here", key);
        case -EACCES:
                return call_refuse(call, STATUS_DENIED, "key '%.200s' is another user's", key);
        case -ENOSPC:
                return call_refuse(call, STATUS_NO_SPACE, "the table of keys is full");
        default:
                return call_refuse(call, status_from_errno(error), "a key has 1 to %u bytes",
                        LEDGER_KEY_BYTES - 1);
        }
}

/* What the key names may be something else by now, or nothing. */
static enum status lookup_refuse_quota(struct call *call) {
        struct pool_want want = {0};
        struct block block;
        if (pool_key_block(call->served->pool, call->request->lookup.key, &block) == 0)
                want = hold_want(call, block);
        return call_refuse_quota(call, 0, &want);
}

enum status handle_lookup(struct call *call) {
        const char *key = call->request->lookup.key;
        struct block block;
        uint32_t use;
        int error = cache_lookup(call->served, call->session->id, key, &block, &use);
        if (error == -EDQUOT && call_take_back_own(call) > 0)
                error = cache_lookup(call->served, call->session->id, key, &block, &use);
        if (error == -EDQUOT)
                return lookup_refuse_quota(call);
        if (error == -ENOSPC)
                return call_refuse(call, STATUS_NO_SPACE, "the table of shared holds is full");
        if (error)
                return key_refuse(call, error, key);
        call->reply.kind = REPLY_RANGE;
        call->reply.range = (struct message_range){
                .offset = block.page * call->served->page_bytes,
                .length = call->served->page_bytes << block.order,
                .generation = (uint64_t)use << 32 | block.generation,
        };
        return STATUS_OK;
}

enum status handle_publish(struct call *call) {
        const struct request_key *publish = &call->request->publish;
        struct block block;
        enum status status = call_block(call, &publish->range, &block);
        if (status != STATUS_OK)
                return status;
        size_t length = strnlen(publish->key, LEDGER_KEY_BYTES);
        if (length == 0 || length == LEDGER_KEY_BYTES)
                return key_refuse(call, -EINVAL, publish->key);
        int error = cache_publish(
                call->served, call->session->id, publish->key, block, publish->range.generation);
        if (error == -ESTALE || error == -EINVAL)
                return call_refuse_block(call, error, block);
        if (error == -EDQUOT) {
                struct pool_want want = {.keys = 1};
                return call_refuse_quota(call, 0, &want);
        }
        if (error)
                return key_refuse(call, error, publish->key);
        call_freed(call); /* what the key named before may be free now */
        return STATUS_OK;
}

enum status handle_unpublish(struct call *call) {
        const char *key = call->request->unpublish.key;
        int error = pool_unpublish(call->served->pool, call->session->id, key);
        if (error)
                return key_refuse(call, error, key);
        call_freed(call);
        return STATUS_OK;
}

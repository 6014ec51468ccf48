/* Sharing: finding peers, one more hold, a hold that moves, and keys. */
#include "sharing.h"

#include <errno.h>
#include <string.h>

#include "taking.h"
#include "utf8.h"

#define KEY_BYTES_MAX 239u

/* ---- Peers ---- */

int sharing_accept_peer(void *context, const struct reply *reply) {
        if (reply->kind != REPLY_PEER || reply->peer == 0)
                return -EPROTO;
        *(uint32_t *)context = reply->peer;
        return 0;
}

int sharing_check_name(const struct buddyclient *client, const char *name) {
        if (!name || name[0] == '\0' || strnlen(name, CLIENT_NAME_MAX + 1) > CLIENT_NAME_MAX)
                return client_refuse(
                        client, -EINVAL, "a name of 1 to %u bytes is needed", CLIENT_NAME_MAX);
        return 0;
}

int buddyclient_find(struct buddyclient *client, const char *name, uint32_t *peer) {
        int rc = client_usable(client);
        if (rc < 0)
                return rc;
        if (!peer)
                return client_refuse(client, -EINVAL, "no place for the result");
        rc = sharing_check_name(client, name);
        if (rc < 0)
                return rc;
        struct request request = {.kind = REQUEST_FIND, .find = {.name = name}};
        struct call call = {.accept = sharing_accept_peer, .context = peer};
        return client_exchange(client, &request, &call);
}

/* ---- One more hold ---- */

int buddyclient_attach(struct buddyclient *client, const struct buddyclient_range *range) {
        int rc = client_usable(client);
        if (rc < 0)
                return rc;
        if (!range)
                return client_refuse(client, -EINVAL, "no range");
        struct batch batch;
        rc = batch_init(&batch, client, range, 1);
        if (rc < 0)
                return rc;
        struct taking taking = {.client = client,
                .count = 1,
                .use = (uint32_t)(range->generation >> 32),
                .batch = &batch};
        struct request request = {
                .kind = REQUEST_ATTACH,
                .attach = {{range->offset, range->length, range->generation}},
        };
        rc = taking_exchange(&taking, &request, taking_accept_done);
        batch_deinit(&batch);
        return rc;
}

/* ---- A hold that moves ---- */

/* Writes new names over the old ones. What the batch still has is in the caller's order, but some
 * may be missing (reconcile.h). */
static int rename_ranges(const struct gift *gift, const struct message_ranges *names) {
        const struct batch *batch = gift->batch;
        struct buddyclient_range name;
        if (names->count != batch->count)
                return -EPROTO;
        for (size_t i = 0; i < names->count; i++)
                if (names->places[i] != batch->places[i] ||
                        client_range(gift->client, names->places[i], names->generations[i], &name) <
                                0)
                        return -EPROTO;
        struct buddyclient_range *range = gift->ranges;
        for (size_t i = 0; i < names->count; i++, range++) {
                client_range(gift->client, names->places[i], names->generations[i], &name);
                while (range->offset != name.offset)
                        range++;
                *range = name;
        }
        return 0;
}

int sharing_accept_gift(void *context, const struct reply *reply) {
        struct gift *gift = context;
        if (reply->kind != REPLY_DONE && reply->kind != REPLY_RANGES)
                return -EPROTO;
        if (reply->kind == REPLY_RANGES && rename_ranges(gift, &reply->ranges) < 0)
                return -EPROTO;
        struct message_ranges given = batch_ranges(gift->batch);
        if (gift->peer != gift->client->session)
                client_forget(gift->client, &given);
        return 0;
}

int sharing_check_gift(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count) {
        if (!ranges || count == 0 || count > MESSAGE_BATCH_MAX)
                return client_refuse(client, -EINVAL,
                        "%zu ranges in one request: 1 to %u can be given", ranges ? count : 0,
                        MESSAGE_BATCH_MAX);
        int rc = 0;
        for (size_t i = 0; rc == 0 && i < count; i++)
                rc = client_leave_cache(client, &ranges[i]);
        return rc;
}

int buddyclient_give_many(
        struct buddyclient *client, struct buddyclient_range *ranges, size_t count, uint32_t peer) {
        int rc = client_usable(client);
        if (rc < 0)
                return rc;
        rc = sharing_check_gift(client, ranges, count);
        if (rc < 0)
                return rc;
        struct batch batch;
        rc = batch_init(&batch, client, ranges, count);
        if (rc < 0)
                return rc;
        struct request request = {.kind = REQUEST_GIVE, .give = {.peer = peer}};
        struct gift gift = {client, &batch, peer, ranges};
        struct call call = {.accept = sharing_accept_gift,
                .context = &gift,
                .batch = &batch,
                .changes_nothing = peer == client->session};
        rc = client_exchange(client, &request, &call);
        batch_deinit(&batch);
        return rc;
}

int buddyclient_give(struct buddyclient *client, struct buddyclient_range *range, uint32_t peer) {
        return buddyclient_give_many(client, range, 1, peer);
}

/* ---- Keys ---- */

int sharing_check_key(const struct buddyclient *client, const char *key) {
        int rc = client_usable(client);
        if (rc < 0)
                return rc;
        size_t length = key ? strnlen(key, KEY_BYTES_MAX + 1) : 0;
        if (length == 0 || length > KEY_BYTES_MAX || !utf8_is_valid(key, length))
                return client_refuse(client, -EINVAL, "a key of 1 to %u bytes of UTF-8 is needed",
                        KEY_BYTES_MAX);
        return 0;
}

int sharing_accept_done(void *context, const struct reply *reply) {
        (void)context;
        return reply->kind == REPLY_DONE ? 0 : -EPROTO;
}

int sharing_check_published(
        const struct buddyclient *client, const struct buddyclient_range *range) {
        uint64_t place;
        uint32_t generation;
        if (!range)
                return client_refuse(client, -EINVAL, "no range");
        if (client_place(client, range, &place, &generation) < 0)
                return client_refuse_range(client, range, -EINVAL);
        return 0;
}

int buddyclient_publish(
        struct buddyclient *client, const char *key, const struct buddyclient_range *range) {
        int rc = sharing_check_key(client, key);
        if (rc < 0)
                return rc;
        rc = sharing_check_published(client, range);
        if (rc < 0)
                return rc;
        struct request request = {
                .kind = REQUEST_PUBLISH,
                .publish = {key, {range->offset, range->length, range->generation}},
        };
        struct call call = {.accept = sharing_accept_done};
        return client_exchange(client, &request, &call);
}

int buddyclient_lookup(struct buddyclient *client, const char *key, struct buddyclient_range *out) {
        int rc = sharing_check_key(client, key);
        if (rc < 0)
                return rc;
        if (!out)
                return client_refuse(client, -EINVAL, "no place for the result");
        struct taking taking = {.client = client, .count = 1, .out = out};
        struct request request = {.kind = REQUEST_LOOKUP, .lookup = {.key = key}};
        return taking_exchange(&taking, &request, taking_accept_range);
}

int buddyclient_unpublish(struct buddyclient *client, const char *key) {
        int rc = sharing_check_key(client, key);
        if (rc < 0)
                return rc;
        struct request request = {.kind = REQUEST_UNPUBLISH, .unpublish = {.key = key}};
        struct call call = {.accept = sharing_accept_done};
        return client_exchange(client, &request, &call);
}

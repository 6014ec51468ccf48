/* Returning ranges. What the daemon says is what counts; only where many requests are needed for
 * one call, all is looked at before the first is made. */
#include "giveback.h"

#include <errno.h>
#include <stdlib.h>

#include "roll_call.h"

int giveback_accept(void *context, const struct reply *reply) {
        struct giveback *giveback = context;
        if (reply->kind != REPLY_DONE)
                return -EPROTO;
        struct message_ranges ranges = batch_ranges(giveback->batch);
        client_forget(giveback->client, &ranges);
        return 0;
}

void giveback_later(struct giveback *giveback, const struct call *call) {
        if (!call->sent)
                channel_owe(&giveback->client->channel, giveback->batch);
}

/* One request. */
static int release_batch(struct buddyclient *client, struct batch *batch) {
        struct request request = {.kind = REQUEST_RELEASE};
        struct giveback giveback = {client, batch};
        struct call call = {.accept = giveback_accept, .context = &giveback, .batch = batch};
        int rc = client_exchange(client, &request, &call);
        if (rc == -ENOTCONN)
                giveback_later(&giveback, &call);
        return rc;
}

/* By what the daemon says: the table does not know what peers gave. */
static int check_with_daemon(
        struct buddyclient *client, const struct holding *ranges, size_t count, size_t *bad) {
        struct roll roll = {0};
        int rc = roll_call(client, &roll);
        for (*bad = 0; rc == 0 && *bad < count; ++*bad) {
                struct roll_entry *entry = roll_find(&roll, &ranges[*bad]);
                if (!entry || entry->known++ == entry->granted + entry->given)
                        rc = -ESTALE;
                if (rc < 0)
                        break;
        }
        roll_deinit(&roll);
        return rc;
}

static int check_holdings(struct buddyclient *client, const struct buddyclient_range *ranges,
        struct holding *holdings, size_t count) {
        for (size_t i = 0; i < count; i++) {
                uint64_t place;
                uint32_t generation;
                int rc = client_place(client, &ranges[i], &place, &generation);
                if (rc < 0)
                        return client_refuse_range(client, &ranges[i], rc);
                holdings[i] = client_holding(client, place, generation);
        }
        size_t bad;
        if (holdings_cover(&client->holdings, holdings, count, &bad) == 0)
                return 0;
        int rc = check_with_daemon(client, holdings, count, &bad);
        return rc == -ESTALE ? client_refuse_range(client, &ranges[bad], rc) : rc;
}

/* Looks at all ranges before any is returned: what goes to the daemon in several requests must
 * not be refused half-way. */
static int check_held(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count) {
        struct holding *holdings = calloc(count, sizeof(*holdings));
        if (!holdings)
                return client_refuse(client, -ENOMEM, "no memory left in this process");
        int rc = check_holdings(client, ranges, holdings, count);
        free(holdings);
        return rc;
}

/* By requests: of the daemon's or of several tables' knowledge. */
static int release_by_requests(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count) {
        int rc = 0;
        for (size_t i = 0; rc == 0 && i < count; i++)
                rc = client_leave_cache(client, &ranges[i]);
        if (rc == 0 && count > MESSAGE_BATCH_MAX)
                rc = check_held(client, ranges, count);
        for (size_t done = 0, size; rc == 0 && done < count; done += size) {
                struct batch batch;
                size = count - done < MESSAGE_BATCH_MAX ? count - done : MESSAGE_BATCH_MAX;
                rc = batch_init(&batch, client, ranges + done, size);
                if (rc < 0)
                        break;
                rc = release_batch(client, &batch);
                batch_deinit(&batch);
        }
        return rc;
}

/* ---- Into the cache ---- */

int giveback_cached(struct buddyclient *client, struct buddyclient_range *range) {
        struct cache *cache = &client->cache;
        unsigned order;
        switch (cache_release(cache, range)) {
        case CACHE_RELEASED:
                return 0;
        case CACHE_RELEASED_FULL:
                order = cache_order(cache, range->length);
                if (cache_keep(cache, order) > 1)
                        client_uncache(client, order, cache_keep(cache, order));
                return 0;
        case CACHE_RELEASED_BEFORE:
                return client_refuse_range(client, range, -ESTALE);
        default:
                return 1;
        }
}

/* Which of many are to be put into slots: claimed, all or none. What is not the cache's is moved to the front of rest. */
struct sorting {
        struct buddyclient_range *mine, *rest; /* owned; count each */
        size_t mine_count, rest_count;
};

static int sort_one(struct buddyclient *client, const struct buddyclient_range *range,
        struct sorting *sorting) {
        uint64_t word;
        enum cache_verdict verdict = cache_judge(&client->cache, range, &word);
        if (verdict == CACHE_STALE)
                return client_refuse_range(client, range, -ESTALE);
        if (verdict == CACHE_MINE && cache_is_open(&client->cache) &&
                cache_claim(&client->cache, range, word))
                sorting->mine[sorting->mine_count++] = *range;
        else
                sorting->rest[sorting->rest_count++] = *range;
        return 0;
}

/* What is claimed cannot be refused any more, so the others go first. */
static int release_sorted(struct buddyclient *client, const struct buddyclient_range *ranges,
        size_t count, struct sorting *sorting) {
        int rc = 0;
        for (size_t i = 0; rc == 0 && i < count; i++)
                rc = sort_one(client, &ranges[i], sorting);
        if (rc == 0 && sorting->rest_count > 0)
                rc = release_by_requests(client, sorting->rest, sorting->rest_count);
        size_t left = 0;
        for (size_t i = 0; i < sorting->mine_count; i++) {
                struct buddyclient_range *range = &sorting->mine[i];
                bool full = false;
                if (rc == 0 && cache_put(&client->cache, range, &full))
                        continue;
                cache_unclaim(&client->cache, range);
                sorting->rest[left++] = *range;
        }
        return rc < 0 || left == 0 ? rc : release_by_requests(client, sorting->rest, left);
}

static int release_many(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count) {
        if (!client->cache.area)
                return release_by_requests(client, ranges, count);
        struct sorting sorting = {
                .mine = calloc(count, sizeof(*ranges)),
                .rest = calloc(count, sizeof(*ranges)),
        };
        int rc = sorting.mine && sorting.rest
                         ? release_sorted(client, ranges, count, &sorting)
                         : client_refuse(client, -ENOMEM, "no memory left in this process");
        free(sorting.mine);
        free(sorting.rest);
        return rc;
}

int buddyclient_release_many(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count) {
        int rc = client_usable(client);
        if (rc < 0 || count == 0)
                return rc;
        if (!ranges)
                return client_refuse(client, -EINVAL, "no range");
        return count == 1 ? buddyclient_release(client, ranges)
                          : release_many(client, ranges, count);
}

int buddyclient_release(struct buddyclient *client, const struct buddyclient_range *range) {
        struct buddyclient_range named;
        if (client && range && process_mark_is_mine(&client->mark) && client->cache.area) {
                named = *range;
                range = &named;
                int rc = giveback_cached(client, &named);
                if (rc <= 0)
                        return rc;
        }
        int rc = client_usable(client);
        if (rc == 0 && !range)
                rc = client_refuse(client, -EINVAL, "no range");
        return rc == 0 ? release_by_requests(client, range, 1) : rc;
}

/* Returning ranges. What the daemon says is what counts; only where many requests are needed for
 * one call, all is looked at before the first is made. */
#include "giveback.h"

#include <errno.h>
#include <stdlib.h>

#include "cache_slot.h"
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
        struct call call;
        call_init(&call, giveback_accept, &giveback, batch);
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

/* Slots of an order are all in use, or it has none: whether it has more now. If not, a request is to follow. A gift may be longer
 * than what is ever kept. */
static bool find_room(struct buddyclient *client, unsigned order) {
        uint32_t emptied;
        if (!cache_serves(&client->cache, UINT64_C(1) << (client->cache.page_shift + order)))
                return false;
        bool more = cache_crowded(&client->cache, order, &emptied);
        client_uncache_orders(client, emptied);
        return more;
}

/* Half of what is in the slots of an order goes back. */
static void empty_half(struct buddyclient *client, unsigned order) {
        unsigned keep = cache_keep(&client->cache, order);
        if (keep > 1)
                client_uncache(client, order, keep);
}

/* What is not simply in a slot now. 1: it goes by a request, under the name that it then has. */
static int release_otherwise(
        struct buddyclient *client, struct buddyclient_range *range, enum cache_release result) {
        struct cache *cache = &client->cache;
        unsigned order;
        int rc;
        switch (result) {
        case CACHE_RELEASED_BEFORE:
                rc = client_usable(client);
                return rc < 0 ? rc : client_refuse_range(client, range, -ESTALE);
        case CACHE_RELEASED_FULL:
                order = cache_order(cache, range->length);
                if (cache_keep(cache, order) > 1 && !cache_crowded(cache, order, NULL))
                        empty_half(client, order);
                return 0;
        case CACHE_NO_ROOM:
                order = cache_order(cache, range->length);
                if (find_room(client, order) &&
                        cache_release(cache, range, &range->generation) <= CACHE_RELEASED_FULL)
                        return 0;
                empty_half(client, order);
                return 1;
        default:
                return 1;
        }
}

/* Which of many are to be put into slots: claimed, all or none. */
struct sorting {
        struct buddyclient_range *mine, *rest; /* room for all in each */
        size_t mine_count, rest_count;
        bool open; /* the cache */
        struct cache_putting putting;
};

static int sort_one(struct buddyclient *client, const struct buddyclient_range *range,
        struct sorting *sorting) {
        uint64_t word;
        enum cache_verdict verdict = cache_judge(&client->cache, range, &word);
        if (verdict == CACHE_STALE)
                return client_refuse_range(client, range, -ESTALE);
        if (verdict == CACHE_MINE && sorting->open &&
                cache_claim(cache_word_of(&client->cache, range), word))
                sorting->mine[sorting->mine_count++] = *range;
        else
                sorting->rest[sorting->rest_count++] = *range;
        return 0;
}

static void unclaim_all(struct buddyclient *client, const struct sorting *sorting) {
        for (size_t i = 0; i < sorting->mine_count; i++)
                cache_unclaim(&client->cache, &sorting->mine[i]);
}

/* One that is claimed. False: it goes by a request. */
static bool put_one(struct buddyclient *client, struct buddyclient_range *range,
        struct cache_putting *putting, uint32_t *full_orders) {
        unsigned order = cache_order(&client->cache, range->length);
        if (*full_orders & 1u << order)
                return false;
        enum cache_release result = cache_put(&client->cache, range, putting);
        if (result == CACHE_NO_ROOM) {
                putting->tried = 0;
                if (find_room(client, order))
                        result = cache_put(&client->cache, range, putting);
                else
                        *full_orders |= 1u << order;
        }
        return result <= CACHE_RELEASED_FULL;
}

/* What there is no room for is claimed no longer, and all that is left in rest. */
static void put_all(struct buddyclient *client, struct sorting *sorting) {
        uint32_t full_orders = 0;
        sorting->rest_count = 0;
        for (size_t i = 0; i < sorting->mine_count; i++) {
                if (put_one(client, &sorting->mine[i], &sorting->putting, &full_orders))
                        continue;
                cache_unclaim(&client->cache, &sorting->mine[i]);
                sorting->rest[sorting->rest_count++] = sorting->mine[i];
        }
}

/* What is claimed cannot be refused any more, so the others go first. */
static int release_sorted(struct buddyclient *client, const struct buddyclient_range *ranges,
        size_t count, struct sorting *sorting) {
        int rc = 0;
        sorting->putting.pulse = cache_pulse_of(&client->cache);
        sorting->open = cache_pulse_is_open(sorting->putting.pulse);
        for (size_t i = 0; rc == 0 && i < count; i++)
                rc = sort_one(client, &ranges[i], sorting);
        if (rc == 0 && sorting->rest_count > 0)
                rc = release_by_requests(client, sorting->rest, sorting->rest_count);
        if (rc < 0) {
                unclaim_all(client, sorting);
                return rc;
        }
        put_all(client, sorting);
        return sorting->rest_count == 0
                       ? 0
                       : release_by_requests(client, sorting->rest, sorting->rest_count);
}

/* Of so many no heap is needed: more do not fit into an order's slots. */
#define RELEASE_FEW CACHE_SLOTS

static int release_many(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count) {
        struct buddyclient_range few[2][RELEASE_FEW];
        if (!client->cache.area)
                return release_by_requests(client, ranges, count);
        struct sorting sorting = {.mine = few[0], .rest = few[1]};
        if (count > RELEASE_FEW) {
                sorting.mine = calloc(count, 2 * sizeof(*ranges));
                sorting.rest = sorting.mine + count;
        }
        int rc = sorting.mine ? release_sorted(client, ranges, count, &sorting)
                              : client_refuse(client, -ENOMEM, "no memory left in this process");
        if (count > RELEASE_FEW)
                free(sorting.mine);
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

/* By a request, or as the cache says. */
static __attribute__((noinline)) int release_one(struct buddyclient *client,
        const struct buddyclient_range *range, enum cache_release result, uint64_t name) {
        struct buddyclient_range named = {range->offset, range->length, name};
        int rc = release_otherwise(client, &named, result);
        if (rc <= 0)
                return rc;
        rc = client_usable(client);
        return rc < 0 ? rc : release_by_requests(client, &named, 1);
}

int giveback_cached(struct buddyclient *client, struct buddyclient_range *range) {
        enum cache_release result = cache_release(&client->cache, range, &range->generation);
        return result == CACHE_RELEASED ? 0 : release_otherwise(client, range, result);
}

int buddyclient_release(struct buddyclient *client, const struct buddyclient_range *range) {
        if (client && range && process_mark_is_mine(&client->mark) && client->cache.area) {
                uint64_t name = range->generation;
                enum cache_release result = cache_release(&client->cache, range, &name);
                return result == CACHE_RELEASED ? 0 : release_one(client, range, result, name);
        }
        int rc = client_usable(client);
        if (rc == 0 && !range)
                rc = client_refuse(client, -EINVAL, "no range");
        return rc == 0 ? release_by_requests(client, range, 1) : rc;
}

/* Without memory they stay held, which the table knows. */
static void owe(struct buddyclient *client, const struct buddyclient_range *ranges, size_t count) {
        struct batch batch;
        if (count == 0 || batch_init(&batch, client, ranges, count) < 0)
                return;
        channel_owe(&client->channel, &batch);
        batch_deinit(&batch);
}

void giveback_unused(struct buddyclient *client, struct buddyclient_range *ranges, size_t count) {
        size_t left = 0;
        for (size_t i = 0; i < count; i++) {
                struct buddyclient_range *range = &ranges[i];
                enum cache_release result =
                        cache_release(&client->cache, range, &range->generation);
                if (result > CACHE_RELEASED_FULL && client_leave_cache(client, range) == 0)
                        ranges[left++] = *range;
        }
        owe(client, ranges, left);
}

void giveback_shared(void *context, struct buddyclient_range *range) {
        struct buddyclient *client = context;
        if (client_leave_cache(client, range) < 0)
                return;
        owe(client, range, 1);
        channel_return_owed_now(&client->channel);
}

/* Named: the daemon runs a session's requests in the order of their ids, and keeps {id, ranges done} of the last that it
 * has done; whoever has a smaller id and was not refused is done as well, and a refusal is told before anything else is run. So each
 * range of each request is known to be done or not. The table follows in the same order: a drop takes a hold that
 * replies told of before one that a peer gave, as the daemon does.
 *
 * Granted: nothing is under way on the new connection, so what the daemon counts as granted (D) and the table (T) and the
 * list of what is owed (O) do not know came of an alloc: D - T - O goes back, and the alloc is made again. What peers gave is
 * not counted. */
#include "reconcile.h"

#include <errno.h>
#include <string.h>

#include "channel_private.h"

/* ---- Named ---- */

static const struct reply reply_done = {.kind = REPLY_DONE};

/* How many of its ranges, or of its one key, a request has done. */
static size_t count_done(const struct message_done *done, uint64_t id, size_t count) {
        /* Ids are compared modulo 2^MESSAGE_DONE_BITS. */
        int64_t behind = (int64_t)((id - done->request) << (64 - MESSAGE_DONE_BITS));
        if (done->request == 0 || behind > 0)
                return 0;
        return behind < 0 || done->ranges > count ? count : done->ranges;
}

static void cut_front(uint64_t *places, uint32_t *generations, size_t *count, size_t done) {
        *count -= done;
        memmove(places, places + done, *count * sizeof(*places));
        memmove(generations, generations + done, *count * sizeof(*generations));
}

static void finish_done(struct buddyclient *client, struct call *call) {
        channel_finish(&client->channel, call, call->accept(call->context, &reply_done));
}

/* A release or a give. */
static void settle_drops(
        struct buddyclient *client, struct call *call, const struct message_done *done) {
        struct batch *batch = call->batch;
        size_t count = count_done(done, call->request->id, batch->count);
        if (count == batch->count) {
                finish_done(client, call);
                return;
        }
        call->partly |= count > 0 && call->request->kind == REQUEST_GIVE;
        client_forget(client, &(struct message_ranges){batch->places, batch->generations, count});
        cut_front(batch->places, batch->generations, &batch->count, count);
}

/* It was the last request that was done, or it was not: the daemon runs nothing behind a lookup that it has not answered. */
static void settle_lookup(
        struct buddyclient *client, struct call *call, const struct message_done *done) {
        if (count_done(done, call->request->id, 1) == 0 || done->generation == 0)
                return;
        struct holding found = client_holding(client, done->place, done->generation);
        struct reply reply = {.kind = REPLY_RANGE,
                .range = {
                        found.offset, found.length, (uint64_t)done->use << 32 | found.generation}};
        channel_finish(&client->channel, call, call->accept(call->context, &reply));
}

static void settle_call(
        struct buddyclient *client, struct call *call, const struct message_done *done) {
        switch (call->request->kind) {
        case REQUEST_RELEASE:
        case REQUEST_GIVE:
                settle_drops(client, call, done);
                break;
        case REQUEST_ATTACH:
        case REQUEST_PUBLISH:
        case REQUEST_UNPUBLISH:
                if (count_done(done, call->request->id, 1) > 0)
                        finish_done(client, call);
                break;
        case REQUEST_LOOKUP:
                settle_lookup(client, call, done);
                break;
        default:
                break;
        }
}

/* What nobody waits for is made up for: a release that did not happen is still owed, an attach or lookup that did goes
 * back. *spare: room for the range of a lookup. */
static void settle_abandoned(struct buddyclient *client, struct abandoned *call,
        const struct message_done *done, struct owed **spare) {
        struct late *late = &client->channel.late;
        struct owed *ranges = call->ranges;
        size_t count = count_done(done, call->id, ranges ? ranges->count : 1);
        if (call->kind == REQUEST_GIVE && ranges) {
                client_forget(client,
                        &(struct message_ranges){ranges->places, ranges->generations, count});
        } else if (call->kind == REQUEST_RELEASE && count < ranges->count) {
                cut_front(ranges->places, ranges->generations, &ranges->count, count);
                late_owe(late, ranges);
                call->ranges = NULL;
        } else if (call->kind == REQUEST_ATTACH && count > 0) {
                late_owe(late, ranges);
                call->ranges = NULL;
        } else if (call->kind == REQUEST_LOOKUP && count > 0 && done->generation != 0 && *spare) {
                (*spare)->places[0] = done->place;
                (*spare)->generations[0] = done->generation;
                late_owe(late, *spare);
                *spare = NULL;
        }
        owed_free(call->ranges);
        call->ranges = NULL;
}

static struct call *next_sent(struct call *call) {
        while (call && !call->sent)
                call = call->next;
        return call;
}

/* Both lists are in the order of ids, and so is what the table is told. */
static void settle_all(
        struct buddyclient *client, const struct message_done *done, struct owed **spare) {
        struct late *late = &client->channel.late;
        size_t given_up = 0;
        struct call *call = next_sent(client->channel.pending.first);
        while (call || given_up < late->call_count) {
                struct abandoned *abandoned =
                        given_up < late->call_count ? &late->calls[given_up] : NULL;
                if (abandoned && (!call || abandoned->id < call->request->id)) {
                        settle_abandoned(client, abandoned, done, spare);
                        given_up++;
                        continue;
                }
                struct call *next = next_sent(call->next);
                settle_call(client, call, done);
                call = next;
        }
}

/* What has not happened is sent again; but of an alloc that is not known yet. True: there is one. */
static bool take_back_the_rest(struct channel *channel) {
        bool granted = false;
        for (struct call *call = channel->pending.first; call; call = call->next) {
                if (call->sent && call->request->kind == REQUEST_ALLOC)
                        granted = true;
                else
                        call->sent = false;
        }
        return granted;
}

int reconcile_named(struct buddyclient *client, const struct message_done *done) {
        struct late *late = &client->channel.late;
        struct owed *spare = owed_new(1);
        if (!spare)
                return -ENOMEM;
        settle_all(client, done, &spare);
        owed_free(spare);
        size_t unknown = late_keep_calls(late, REQUEST_ALLOC);
        return take_back_the_rest(&client->channel) || unknown > 0;
}

/* ---- Granted ---- */

static void no_alloc_happened(struct channel *channel) {
        late_forget_calls(&channel->late, REQUEST_ALLOC);
        for (struct call *call = channel->pending.first; call; call = call->next)
                call->sent = false;
}

bool reconcile_by_count(struct buddyclient *client, uint64_t granted_ranges) {
        for (const struct owed *owed = client->channel.late.owed; owed; owed = owed->next)
                if (!owed->counted)
                        return false;
        if (holdings_holds(&client->holdings) + cache_counted(&client->cache) != granted_ranges)
                return false;
        no_alloc_happened(&client->channel);
        return true;
}

static int enter_table_locked(struct buddyclient *client, struct roll *roll) {
        int rc = 0;
        for (size_t i = 0; rc == 0 && i < client->holdings.slot_count; i++) {
                const struct holding *known = &client->holdings.slots[i];
                if (known->count == 0)
                        continue;
                struct roll_entry *entry = roll_enter(roll, known);
                if (entry)
                        entry->known = known->count;
                else
                        rc = -ENOMEM;
        }
        return rc;
}

/* What the table still counts is known by it. */
static int enter_owed(struct buddyclient *client, struct roll *roll) {
        for (const struct owed *owed = client->channel.late.owed; owed; owed = owed->next) {
                for (size_t i = 0; !owed->counted && i < owed->count; i++) {
                        struct holding range =
                                client_holding(client, owed->places[i], owed->generations[i]);
                        struct roll_entry *entry = roll_enter(roll, &range);
                        if (!entry)
                                return -ENOMEM;
                        entry->owed++;
                }
        }
        return 0;
}

/* What the words of the cache count, of what the daemon lists; and none else, from here on. */
static void enter_cached_locked(struct buddyclient *client, struct roll *roll) {
        uint64_t counted = 0;
        for (size_t i = 0; i < roll->slot_count; i++) {
                struct roll_entry *entry = &roll->slots[i];
                struct buddyclient_range range = {entry->offset, entry->length, entry->generation};
                if (!entry->used || entry->granted == 0 || !cache_counts(&client->cache, &range))
                        continue;
                entry->known++;
                counted++;
        }
        cache_set_counted(&client->cache, counted);
}

/* A hold moves from its word to the table under the lock: it is met in one of them. */
static int enter_known(struct buddyclient *client, struct roll *roll) {
        holdings_lock(&client->holdings);
        int rc = enter_table_locked(client, roll);
        if (rc == 0)
                enter_cached_locked(client, roll);
        holdings_unlock(&client->holdings);
        return rc;
}

static uint32_t surplus_of(const struct roll_entry *entry) {
        uint64_t known = (uint64_t)entry->known + entry->owed;
        return entry->used && entry->granted > known ? entry->granted - (uint32_t)known : 0;
}

static uint64_t count_surplus(const struct roll *roll) {
        uint64_t surplus = 0;
        for (size_t i = 0; i < roll->slot_count; i++)
                surplus += surplus_of(&roll->slots[i]);
        return surplus;
}

/* Room for so many ranges, in lists that a request can carry. */
static int make_room(uint64_t count, struct owed **out) {
        *out = NULL;
        while (count > 0) {
                struct owed *owed = owed_new(MESSAGE_BATCH_MAX);
                if (!owed) {
                        while ((owed = *out)) {
                                *out = owed->next;
                                owed_free(owed);
                        }
                        return -ENOMEM;
                }
                owed->count = 0;
                owed->next = *out;
                *out = owed;
                count -= count < MESSAGE_BATCH_MAX ? count : MESSAGE_BATCH_MAX;
        }
        return 0;
}

static uint64_t place_of(const struct buddyclient *client, const struct roll_entry *entry) {
        return entry->offset |
               (uint64_t)(__builtin_ctzll(entry->length) - __builtin_ctzll(client->page_bytes));
}

static void owe(struct buddyclient *client, const struct roll_entry *entry, struct owed **room) {
        while ((*room)->count == MESSAGE_BATCH_MAX) {
                struct owed *full = *room;
                *room = full->next;
                late_owe(&client->channel.late, full);
        }
        struct owed *owed = *room;
        owed->places[owed->count] = place_of(client, entry);
        owed->generations[owed->count++] = entry->generation;
}

/* What the table counts and the daemon does not is held no longer, whoever took it. */
static void drop_lost(struct buddyclient *client, const struct roll *roll) {
        holdings_lock(&client->holdings);
        for (size_t i = 0; i < roll->slot_count; i++) {
                struct roll_entry *entry = &roll->slots[i];
                struct holding range = {entry->offset, entry->length, entry->generation, 0, 0};
                for (; entry->used && entry->known > entry->granted; entry->known--)
                        holdings_drop_locked(&client->holdings, &range);
        }
        holdings_unlock(&client->holdings);
}

static void owe_surplus(struct buddyclient *client, const struct roll *roll, struct owed *room) {
        for (size_t i = 0; i < roll->slot_count; i++)
                for (uint32_t n = surplus_of(&roll->slots[i]); n > 0; n--)
                        owe(client, &roll->slots[i], &room);
        while (room) {
                struct owed *next = room->next;
                if (room->count > 0)
                        late_owe(&client->channel.late, room);
                else
                        owed_free(room);
                room = next;
        }
}

int reconcile_granted(struct buddyclient *client, struct roll *roll) {
        struct owed *room;
        int rc = enter_known(client, roll);
        if (rc == 0)
                rc = enter_owed(client, roll);
        if (rc == 0)
                rc = make_room(count_surplus(roll), &room);
        if (rc < 0)
                return rc;
        drop_lost(client, roll);
        owe_surplus(client, roll, room);
        no_alloc_happened(&client->channel);
        return 0;
}

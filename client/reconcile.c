/* For each range the daemon counts the holds that it granted (D, attached ones too) and those that
 * peers gave (G), and the table counts those that replies told of (T). Nothing is under way on the
 * new connection, and what peers do changes only G; so D - T is what the calls under way have done
 * and no reply has told:
 *
 *   D < T  so many releases or gives have happened (releases first, if there are both)
 *   D > T  so many attaches have happened; what is left of it came from an alloc or a lookup, or
 *          from a call that gave up: nobody knows of it, it goes back
 *
 * Everything else has not happened and is done again. Calls on the same range whose effects cancel
 * out look as if none had happened: doing them again cancels out as well. The table does not know
 * what peers gave: a release or give of such a range has happened if G is 0. An alloc or lookup
 * that happened is undone and done again, and so has one result too; publish and unpublish are
 * the same twice. */
#include "reconcile.h"

#include <errno.h>

static const struct reply reply_done = {.kind = REPLY_DONE};

/* ---- Before: all that can fail ---- */

static int enter_known(struct buddyclient *client, struct roll *roll) {
        int rc = 0;
        holdings_lock(&client->holdings);
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
        holdings_unlock(&client->holdings);
        return rc;
}

static uint64_t count_surplus(const struct roll *roll) {
        uint64_t surplus = 0;
        for (size_t i = 0; i < roll->slot_count; i++) {
                const struct roll_entry *entry = &roll->slots[i];
                if (entry->used && entry->granted > entry->known)
                        surplus += entry->granted - entry->known;
        }
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

/* ---- Calls under way ---- */

static struct holding named(const struct buddyclient *client, const struct batch *batch, size_t i) {
        return client_holding(client, batch->places[i], batch->generations[i]);
}

static void forget_one(struct buddyclient *client, const struct batch *batch, size_t i) {
        client_forget(
                client, &(struct message_ranges){&batch->places[i], &batch->generations[i], 1});
}

/* Whether one release or give of this range has happened; the entry and the table then know. */
static bool drop_happened(
        struct buddyclient *client, struct roll_entry *entry, const struct batch *batch, size_t i) {
        if (!entry)
                return true;
        if (entry->granted < entry->known) {
                entry->known--;
                forget_one(client, batch, i);
                return true;
        }
        if (entry->claimed < entry->granted) {
                entry->claimed++;
                return false;
        }
        return entry->given == 0;
}

/* Takes out of the batch what has happened. */
static void settle_drops(struct buddyclient *client, const struct roll *roll, struct call *call) {
        struct batch *batch = call->batch;
        size_t left = 0;
        for (size_t i = 0; i < batch->count; i++) {
                struct holding range = named(client, batch, i);
                if (drop_happened(client, roll_find(roll, &range), batch, i))
                        continue;
                batch->places[left] = batch->places[i];
                batch->generations[left++] = batch->generations[i];
        }
        batch->count = left;
        if (left == 0)
                channel_finish(&client->channel, call, call->accept(call->context, &reply_done));
}

static void settle_attach(struct buddyclient *client, const struct roll *roll, struct call *call) {
        struct holding range = named(client, call->batch, 0);
        struct roll_entry *entry = roll_find(roll, &range);
        if (!entry || entry->granted <= entry->known)
                return;
        entry->known++;
        channel_finish(&client->channel, call, call->accept(call->context, &reply_done));
}

typedef void settle_call(struct buddyclient *client, const struct roll *roll, struct call *call);

static void settle_kind(struct buddyclient *client, const struct roll *roll, enum request_kind kind,
        settle_call *settle) {
        for (struct call *call = client->channel.pending, *next; call; call = next) {
                next = call->next;
                bool to_itself =
                        kind == REQUEST_GIVE && call->request->give.peer == client->session;
                if (call->sent && call->request->kind == kind && !to_itself)
                        settle(client, roll, call);
        }
}

/* ---- What nobody knows of ---- */

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
                struct holding range = {entry->offset, entry->length, entry->generation, 0};
                for (; entry->used && entry->known > entry->granted; entry->known--)
                        holdings_drop_locked(&client->holdings, &range);
        }
        holdings_unlock(&client->holdings);
}

static void owe_surplus(struct buddyclient *client, const struct roll *roll, struct owed *room) {
        for (size_t i = 0; i < roll->slot_count; i++) {
                const struct roll_entry *entry = &roll->slots[i];
                for (uint32_t n = entry->known; entry->used && n < entry->granted; n++)
                        owe(client, entry, &room);
        }
        while (room) {
                struct owed *next = room->next;
                if (room->count > 0)
                        late_owe(&client->channel.late, room);
                else
                        owed_free(room);
                room = next;
        }
}

/* What has not happened is sent again. */
static void take_back_the_rest(struct channel *channel) {
        for (struct call *call = channel->pending; call; call = call->next) {
                call->repeated |= call->sent;
                call->sent = false;
        }
}

int reconcile(struct buddyclient *client, struct roll *roll) {
        struct owed *room;
        int rc = enter_known(client, roll);
        if (rc == 0)
                rc = make_room(count_surplus(roll), &room);
        if (rc < 0)
                return rc;
        late_start_over(&client->channel.late);
        settle_kind(client, roll, REQUEST_RELEASE, settle_drops);
        settle_kind(client, roll, REQUEST_GIVE, settle_drops);
        drop_lost(client, roll);
        settle_kind(client, roll, REQUEST_ATTACH, settle_attach);
        owe_surplus(client, roll, room);
        take_back_the_rest(&client->channel);
        return 0;
}

/* Returning ranges. What the daemon says is what counts; only where many requests are needed for
 * one call, all is looked at before the first is made. */
#include <errno.h>
#include <stdlib.h>

#include "batch.h"
#include "client.h"
#include "roll_call.h"

struct giveback {
        struct buddyclient *client;
        struct batch *batch;
};

static int accept_release(void *context, const struct reply *reply) {
        struct giveback *giveback = context;
        if (reply->kind != REPLY_DONE)
                return -EPROTO;
        struct message_ranges ranges = batch_ranges(giveback->batch);
        client_forget(giveback->client, &ranges);
        return 0;
}

/* A range whose return the daemon has not confirmed in time counts as returned: nothing else may be
 * done with it. If the daemon has seen the request, the channel remembers that and makes up for what
 * may be left of it; if not, it is still to be asked for. */
static void return_later(struct giveback *giveback, const struct call *call) {
        struct message_ranges ranges = batch_ranges(giveback->batch);
        if (call->sent)
                client_forget(giveback->client, &ranges);
        else
                channel_owe(&giveback->client->channel, giveback->batch);
}

/* One request. */
static int release_batch(struct buddyclient *client, struct batch *batch) {
        struct request request = {.kind = REQUEST_RELEASE};
        struct giveback giveback = {client, batch};
        struct call call = {.accept = accept_release, .context = &giveback, .batch = batch};
        int rc = client_exchange(client, &request, &call);
        if (rc == -ENOTCONN)
                return_later(&giveback, &call);
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

int buddyclient_release_many(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count) {
        int rc = client_usable(client);
        if (rc < 0 || count == 0)
                return rc;
        if (!ranges)
                return client_refuse(client, -EINVAL, "no range");
        if (count > MESSAGE_BATCH_MAX)
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

int buddyclient_release(struct buddyclient *client, const struct buddyclient_range *range) {
        return buddyclient_release_many(client, range, 1);
}

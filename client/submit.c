/* Requests without waiting: each is a submission, which owns everything that its call needs until its callback has run. What becomes of it
 * is what becomes of the call of the same name; where that would return without the daemon (out of the cache, into it), it
 * has its result at once, and is told like all others. */
#include "submit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache_slot.h"
#include "giveback.h"
#include "sharing.h"
#include "taking.h"
#include "turn.h"

struct submission {
        struct call call; /* the first member: what the channel hands back */
        struct request request;
        struct batch batch;
        bool has_batch;
        union {
                struct taking taking;
                struct giveback giveback;
                struct gift gift;
                uint32_t peer;
        };
        enum { SUBMITTED_TAKING = 1, SUBMITTED_GIVEBACK, SUBMITTED_GIFT, SUBMITTED_PEER } form;
        size_t count;                     /* of ranges */
        struct buddyclient_range *ranges; /* what the callback is shown; owned unless one_range */
        struct buddyclient_range one_range;
        char *text; /* a key or a name; owned */
        buddyclient_callback callback;
        void *data;
};

/* ---- Making and freeing ---- */

static void submission_free(struct submission *submission) {
        if (submission->has_batch)
                batch_deinit(&submission->batch);
        if (submission->ranges != &submission->one_range)
                free(submission->ranges);
        free(submission->text);
        free(submission);
}

/* With room for count ranges, which are copied from `ranges` unless that is NULL. NULL: refused with words, like all that is refused here. */
static struct submission *submission_new(struct buddyclient *client,
        const struct buddyclient_range *ranges, size_t count, buddyclient_callback callback,
        void *data) {
        struct submission *submission = calloc(1, sizeof(*submission));
        if (submission) {
                submission->ranges =
                        count > 1 ? calloc(count, sizeof(*ranges)) : &submission->one_range;
                submission->count = count;
                submission->callback = callback;
                submission->data = data;
        }
        if (!submission || !submission->ranges) {
                free(submission);
                client_refuse(client, -ENOMEM, "no memory left in this process");
                return NULL;
        }
        if (ranges)
                memcpy(submission->ranges, ranges, count * sizeof(*ranges));
        return submission;
}

static int keep_text(struct buddyclient *client, struct submission *submission, const char *text) {
        submission->text = strdup(text);
        return submission->text ? 0
                                : client_refuse(client, -ENOMEM, "no memory left in this process");
}

static int make_batch(struct buddyclient *client, struct submission *submission) {
        int rc = batch_init(&submission->batch, client, submission->ranges, submission->count);
        submission->has_batch = rc == 0;
        submission->call.batch = submission->has_batch ? &submission->batch : NULL;
        return rc;
}

/* ---- Submitting ---- */

/* Takes it over, whatever comes of it. */
static int submit(struct buddyclient *client, struct submission *submission, call_accept *accept,
        void *context) {
        struct call *call = &submission->call;
        call->accept = accept;
        call->context = context;
        call->timeout_ms = client->timeout_ms;
        call->unattended = true;
        int rc = channel_submit(&client->channel, &submission->request, call);
        if (rc < 0)
                client_refuse(client, rc, "%s", call->detail);
        return rc;
}

static int submit_taking(
        struct buddyclient *client, struct submission *submission, call_accept *accept) {
        struct taking *taking = &submission->taking;
        int rc = holdings_reserve(&client->holdings, taking->count);
        if (rc < 0)
                return client_refuse(client, rc, "no memory left in this process");
        submission->form = SUBMITTED_TAKING;
        rc = submit(client, submission, accept, taking);
        if (rc < 0)
                holdings_unreserve(&client->holdings, taking->count);
        return rc;
}

static int submit_finished(struct buddyclient *client, struct submission *submission) {
        submission->call.unattended = true;
        channel_submit_finished(&client->channel, &submission->call);
        return 0;
}

/* Frees it if it was not taken over. */
static int submitted(struct submission *submission, int rc) {
        if (rc < 0)
                submission_free(submission);
        return rc;
}

static int check(struct buddyclient *client, buddyclient_callback callback) {
        int rc = client_usable(client);
        return rc == 0 && !callback ? client_refuse(client, -EINVAL, "no callback") : rc;
}

/* ---- Taking ---- */

static int submit_alloc(struct buddyclient *client, struct submission *submission,
        const struct request_alloc *alloc) {
        submission->request = (struct request){.kind = REQUEST_ALLOC, .alloc = *alloc};
        submission->taking = (struct taking){.client = client,
                .length = alloc->length,
                .count = alloc->count,
                .spare_max = alloc->spare,
                .granted = true,
                .out = submission->ranges};
        return submit_taking(client, submission, taking_accept_ranges);
}

static int submit_alloc_or_take(
        struct buddyclient *client, struct submission *submission, uint64_t length) {
        size_t count = submission->count;
        bool serves = cache_serves(&client->cache, length);
        if (serves && taking_all_cached(client, length, count, submission->ranges))
                return submit_finished(client, submission);
        struct request_alloc alloc = {.length = length, .count = (uint32_t)count};
        if (serves && count == 1 && cache_is_open(&client->cache))
                alloc = taking_refill(client, length, 1, 1);
        int rc = submit_alloc(client, submission, &alloc);
        if (rc < 0)
                taking_refilled(client, &alloc);
        return rc;
}

int buddyclient_submit_alloc_many(struct buddyclient *client, uint64_t length, size_t count,
        buddyclient_callback callback, void *data) {
        int rc = check(client, callback);
        if (rc == 0)
                rc = taking_check(client, length, count);
        if (rc < 0)
                return rc;
        struct submission *submission = submission_new(client, NULL, count, callback, data);
        return submission ? submitted(submission, submit_alloc_or_take(client, submission, length))
                          : -ENOMEM;
}

int buddyclient_submit_alloc(
        struct buddyclient *client, uint64_t length, buddyclient_callback callback, void *data) {
        return buddyclient_submit_alloc_many(client, length, 1, callback, data);
}

int buddyclient_submit_alloc_wait(struct buddyclient *client, uint64_t length, int timeout_ms,
        buddyclient_callback callback, void *data) {
        int rc = check(client, callback);
        if (rc == 0)
                rc = taking_check(client, length, 1);
        if (rc == 0 && timeout_ms < -1)
                rc = client_refuse(client, -EINVAL, "a timeout of %d ms", timeout_ms);
        if (rc < 0)
                return rc;
        struct submission *submission = submission_new(client, NULL, 1, callback, data);
        if (!submission)
                return -ENOMEM;
        struct request_alloc alloc = {
                .length = length, .count = 1, .wait = true, .timeout_ms = timeout_ms};
        return submitted(submission, submit_alloc(client, submission, &alloc));
}

static int submit_attach(struct buddyclient *client, struct submission *submission) {
        const struct buddyclient_range *range = submission->ranges;
        int rc = make_batch(client, submission);
        if (rc < 0)
                return rc;
        submission->taking = (struct taking){.client = client,
                .count = 1,
                .use = (uint32_t)(range->generation >> 32),
                .batch = &submission->batch};
        submission->request = (struct request){
                .kind = REQUEST_ATTACH,
                .attach = {{range->offset, range->length, range->generation}},
        };
        return submit_taking(client, submission, taking_accept_done);
}

int buddyclient_submit_attach(struct buddyclient *client, const struct buddyclient_range *range,
        buddyclient_callback callback, void *data) {
        int rc = check(client, callback);
        if (rc == 0 && !range)
                rc = client_refuse(client, -EINVAL, "no range");
        if (rc < 0)
                return rc;
        struct submission *submission = submission_new(client, range, 1, callback, data);
        return submission ? submitted(submission, submit_attach(client, submission)) : -ENOMEM;
}

static int submit_lookup(
        struct buddyclient *client, struct submission *submission, const char *key) {
        int rc = keep_text(client, submission, key);
        if (rc < 0)
                return rc;
        submission->taking =
                (struct taking){.client = client, .count = 1, .out = submission->ranges};
        submission->request =
                (struct request){.kind = REQUEST_LOOKUP, .lookup = {.key = submission->text}};
        return submit_taking(client, submission, taking_accept_range);
}

int buddyclient_submit_lookup(
        struct buddyclient *client, const char *key, buddyclient_callback callback, void *data) {
        int rc = check(client, callback);
        if (rc == 0)
                rc = sharing_check_key(client, key);
        if (rc < 0)
                return rc;
        struct submission *submission = submission_new(client, NULL, 1, callback, data);
        return submission ? submitted(submission, submit_lookup(client, submission, key)) : -ENOMEM;
}

/* ---- Returning ---- */

static int submit_release(struct buddyclient *client, struct submission *submission) {
        int rc = 0;
        submission->form = SUBMITTED_GIVEBACK;
        if (submission->count == 1 && client->cache.area) {
                rc = giveback_cached(client, submission->ranges);
                if (rc <= 0)
                        return rc < 0 ? rc : submit_finished(client, submission);
        }
        for (size_t i = 0; i < submission->count; i++)
                if ((rc = client_leave_cache(client, &submission->ranges[i])) < 0)
                        return rc;
        rc = make_batch(client, submission);
        if (rc < 0)
                return rc;
        submission->giveback = (struct giveback){client, &submission->batch};
        submission->request = (struct request){.kind = REQUEST_RELEASE};
        return submit(client, submission, giveback_accept, &submission->giveback);
}

int buddyclient_submit_release_many(struct buddyclient *client,
        const struct buddyclient_range *ranges, size_t count, buddyclient_callback callback,
        void *data) {
        int rc = client_usable(client);
        if (rc == 0 && (!ranges || count == 0 || count > MESSAGE_BATCH_MAX))
                rc = client_refuse(client, -EINVAL,
                        "%zu ranges in one request: 1 to %u can be returned", ranges ? count : 0,
                        MESSAGE_BATCH_MAX);
        if (rc < 0)
                return rc;
        struct submission *submission = submission_new(client, ranges, count, callback, data);
        return submission ? submitted(submission, submit_release(client, submission)) : -ENOMEM;
}

int buddyclient_submit_release(struct buddyclient *client, const struct buddyclient_range *range,
        buddyclient_callback callback, void *data) {
        return buddyclient_submit_release_many(client, range, 1, callback, data);
}

/* ---- Giving ---- */

static int submit_give(struct buddyclient *client, struct submission *submission, uint32_t peer) {
        int rc = make_batch(client, submission);
        if (rc < 0)
                return rc;
        submission->gift = (struct gift){client, &submission->batch, peer, submission->ranges};
        submission->request = (struct request){.kind = REQUEST_GIVE, .give = {.peer = peer}};
        submission->call.changes_nothing = peer == client->session;
        submission->form = SUBMITTED_GIFT;
        return submit(client, submission, sharing_accept_gift, &submission->gift);
}

int buddyclient_submit_give_many(struct buddyclient *client, const struct buddyclient_range *ranges,
        size_t count, uint32_t peer, buddyclient_callback callback, void *data) {
        int rc = check(client, callback);
        if (rc == 0)
                rc = sharing_check_gift(client, ranges, count);
        if (rc < 0)
                return rc;
        struct submission *submission = submission_new(client, ranges, count, callback, data);
        return submission ? submitted(submission, submit_give(client, submission, peer)) : -ENOMEM;
}

int buddyclient_submit_give(struct buddyclient *client, const struct buddyclient_range *range,
        uint32_t peer, buddyclient_callback callback, void *data) {
        return buddyclient_submit_give_many(client, range, 1, peer, callback, data);
}

/* ---- Keys and peers ---- */

static int submit_named(struct buddyclient *client, struct submission *submission, const char *text,
        call_accept *accept) {
        struct request *request = &submission->request;
        int rc = keep_text(client, submission, text);
        if (rc < 0)
                return rc;
        if (request->kind == REQUEST_PUBLISH)
                request->publish.key = submission->text;
        else if (request->kind == REQUEST_UNPUBLISH)
                request->unpublish.key = submission->text;
        else
                request->find.name = submission->text;
        return submit(client, submission, accept, &submission->peer);
}

int buddyclient_submit_publish(struct buddyclient *client, const char *key,
        const struct buddyclient_range *range, buddyclient_callback callback, void *data) {
        int rc = sharing_check_key(client, key);
        if (rc == 0)
                rc = sharing_check_published(client, range);
        if (rc < 0)
                return rc;
        struct submission *submission = submission_new(client, NULL, 0, callback, data);
        if (!submission)
                return -ENOMEM;
        submission->request = (struct request){.kind = REQUEST_PUBLISH,
                .publish = {.range = {range->offset, range->length, range->generation}}};
        return submitted(submission, submit_named(client, submission, key, sharing_accept_done));
}

int buddyclient_submit_unpublish(
        struct buddyclient *client, const char *key, buddyclient_callback callback, void *data) {
        int rc = sharing_check_key(client, key);
        if (rc < 0)
                return rc;
        struct submission *submission = submission_new(client, NULL, 0, callback, data);
        if (!submission)
                return -ENOMEM;
        submission->request = (struct request){.kind = REQUEST_UNPUBLISH};
        return submitted(submission, submit_named(client, submission, key, sharing_accept_done));
}

int buddyclient_submit_find(
        struct buddyclient *client, const char *name, buddyclient_callback callback, void *data) {
        int rc = check(client, callback);
        if (rc == 0)
                rc = sharing_check_name(client, name);
        if (rc < 0)
                return rc;
        struct submission *submission = submission_new(client, NULL, 0, callback, data);
        if (!submission)
                return -ENOMEM;
        submission->request = (struct request){.kind = REQUEST_FIND};
        submission->form = SUBMITTED_PEER;
        return submitted(submission, submit_named(client, submission, name, sharing_accept_peer));
}

/* ---- Dispatching ---- */

/* What the call of the same name does behind its exchange. */
static void settle(struct buddyclient *client, struct submission *submission) {
        struct taking *taking = &submission->taking;
        switch (submission->form) {
        case SUBMITTED_TAKING:
                if (taking->recorded < taking->count)
                        holdings_unreserve(&client->holdings, taking->count - taking->recorded);
                if (submission->request.kind == REQUEST_ALLOC)
                        taking_refilled(client, &submission->request.alloc);
                break;
        case SUBMITTED_GIVEBACK:
                if (submission->call.result == -ENOTCONN)
                        giveback_later(&submission->giveback, &submission->call);
                break;
        default:
                break;
        }
}

static void tell(struct buddyclient *client, struct submission *submission) {
        const struct call *call = &submission->call;
        struct buddyclient_completion completion = {.result = call->result};
        if (call->result < 0) {
                client_refuse(client, call->result, "%s",
                        call->detail[0] != '\0' ? call->detail
                                                : buddyclient_strerror(call->result));
        } else if (submission->form == SUBMITTED_PEER) {
                completion.peer = submission->peer;
        } else if (submission->form != SUBMITTED_GIVEBACK && submission->count > 0) {
                completion.count = submission->count;
                completion.ranges = submission->ranges;
        }
        if (submission->callback)
                submission->callback(client, &completion, submission->data);
}

/* How many. */
static int tell_all(struct buddyclient *client, struct call_list *finished) {
        int told = 0;
        for (struct call *call = finished->first, *next; call; call = next) {
                struct submission *submission = (struct submission *)call;
                next = call->next;
                settle(client, submission);
                tell(client, submission);
                submission_free(submission);
                told++;
        }
        return told;
}

int buddyclient_dispatch(struct buddyclient *client) {
        struct call_list finished;
        int rc = client_usable(client);
        if (rc < 0)
                return rc;
        rc = channel_turn(&client->channel, &finished);
        if (rc < 0)
                return client_refuse(client, rc, "another dispatch is under way");
        int told = tell_all(client, &finished);
        rc = channel_turn_end(&client->channel);
        if (rc < 0 && told == 0)
                return client_refuse(client, rc, "%s", client->channel.detail);
        return told;
}

int buddyclient_fd(struct buddyclient *client) {
        int rc = client_usable(client);
        if (rc < 0)
                return rc;
        rc = channel_events_fd(&client->channel);
        return rc < 0 ? client_refuse(client, rc, "no descriptor to watch can be had") : rc;
}

void submit_end(struct buddyclient *client) {
        struct call_list ended;
        channel_end_all(&client->channel, &ended);
        tell_all(client, &ended);
}

void submit_forget(struct buddyclient *client) {
        struct channel *channel = &client->channel;
        const struct call_list *lists[] = {&channel->finished, &channel->queued, &channel->pending};
        for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
                for (struct call *call = lists[i]->first, *next; call; call = next) {
                        next = call->next;
                        if (call->unattended)
                                submission_free((struct submission *)call);
                }
        }
}

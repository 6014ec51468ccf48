#include "outcome.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static unsigned turns;

void outcome_note(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct outcome *outcome = data;
        size_t kept = completion->count < OUTCOME_RANGES ? completion->count : OUTCOME_RANGES;
        outcome->runs++;
        outcome->turn = ++turns;
        outcome->result = completion->result;
        outcome->peer = completion->peer;
        outcome->count = completion->count;
        if (kept > 0)
                memcpy(outcome->ranges, completion->ranges, kept * sizeof *outcome->ranges);
        snprintf(outcome->detail, sizeof outcome->detail, "%s", buddyclient_detail(client));
        outcome->since_ms = now_ms();
}

struct buddyclient *client_with(const struct scene *scene, uint64_t cache_bytes, int timeout_ms) {
        struct buddyclient *client = NULL;
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, scene->socket), 0);
        cr_assert_eq(buddyclient_set_pool(client, scene->pool), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(client, cache_bytes), 0);
        cr_assert_eq(buddyclient_set_timeout_ms(client, timeout_ms), 0);
        cr_assert_eq(buddyclient_connect(client), 0, "%s", buddyclient_detail(client));
        return client;
}

bool client_readable(struct buddyclient *client, int timeout_ms) {
        struct pollfd ready = {.fd = buddyclient_fd(client), .events = POLLIN};
        cr_assert_geq(ready.fd, 0, "buddyclient_fd: %d", ready.fd);
        int rc = poll(&ready, 1, timeout_ms);
        cr_assert_geq(rc, 0);
        cr_assert_eq(ready.revents & (POLLNVAL | POLLERR), 0, "poll: %x", ready.revents);
        return rc > 0;
}

unsigned client_settle(struct buddyclient *client, int quiet_ms) {
        unsigned ran = 0;
        for (unsigned round = 0; client_readable(client, quiet_ms); round++) {
                cr_assert_lt(round, 1000, "the descriptor stays readable with nothing to do");
                int rc = buddyclient_dispatch(client);
                cr_assert(rc >= 0 || rc == -ENOTCONN, "dispatch: %d", rc);
                ran += rc > 0 ? (unsigned)rc : 0;
        }
        return ran;
}

unsigned client_serve(struct buddyclient *client, const unsigned *runs, unsigned wanted) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        unsigned dispatches = 0;
        while (*runs < wanted) {
                cr_assert(client_readable(client, PATIENCE_MS),
                        "nothing to dispatch for good: %u of %u", *runs, wanted);
                int rc = buddyclient_dispatch(client);
                cr_assert(rc >= 0 || (rc == -ENOTCONN && *runs >= wanted), "dispatch: %d: %s", rc,
                        buddyclient_detail(client));
                dispatches++;
                cr_assert(now_ms() < deadline, "%u of %u have run", *runs, wanted);
        }
        return dispatches;
}

void outcome_await(struct buddyclient *client, struct outcome *outcome, int result) {
        client_serve(client, &outcome->runs, 1);
        cr_assert_eq(outcome->runs, 1, "%u times", outcome->runs);
        cr_assert_eq(outcome->result, result, "%d instead of %d: %s", outcome->result, result,
                outcome->detail);
}

void outcome_refused(struct buddyclient *client, struct outcome *outcome, int rc, int error) {
        if (rc == 0) {
                outcome_await(client, outcome, error);
                cr_assert_str_not_empty(outcome->detail, "no reason in the callback");
                cr_assert_eq(outcome->count, 0);
                cr_assert_eq(outcome->peer, 0);
                return;
        }
        cr_assert_eq(rc, error, "%d instead of %d", rc, error);
        cr_assert_str_not_empty(buddyclient_detail(client), "no reason behind %d", rc);
        client_settle(client, 0);
        cr_assert_eq(outcome->runs, 0, "refused at once, and a callback all the same");
}

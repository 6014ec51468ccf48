/* What became of submissions: a callback that writes down what it is told, and an event loop that watches the client's
 * descriptor as a program would, for as long as it is awaited. A failed expectation ends the test; call from its main thread. */
#pragma once

#include "harness.h"

#define OUTCOME_RANGES 16 /* that are written down */

struct outcome {
        unsigned runs; /* of the callback; must become 1 */
        unsigned turn; /* the how-manieth of all callbacks this was */
        int result;
        uint32_t peer;
        size_t count;
        struct buddyclient_range ranges[OUTCOME_RANGES];
        char detail[160];  /* what buddyclient_detail said inside the callback */
        uint64_t since_ms; /* when the callback ran */
};

/* data is a struct outcome. */
void outcome_note(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data);

/* A client of the scene with these bytes of cache, and this timeout. */
struct buddyclient *client_with(const struct scene *scene, uint64_t cache_bytes, int timeout_ms);

/* Whether the client's descriptor becomes readable within so many milliseconds. */
bool client_readable(struct buddyclient *client, int timeout_ms);

/* Dispatches while it is readable, until it is quiet for so long; how many callbacks that ran. */
unsigned client_settle(struct buddyclient *client, int quiet_ms);

/* Watches the descriptor and dispatches when it is readable, until *runs is at least wanted: whoever the descriptor does not
 * wake waits in vain. How many dispatches that took. */
unsigned client_serve(struct buddyclient *client, const unsigned *runs, unsigned wanted);

/* The same until the callback has run, which must be told this result. */
void outcome_await(struct buddyclient *client, struct outcome *outcome, int result);

/* The submission answered rc. It must have been refused with this error, at once without a callback, or by a callback; with a
 * reason either way. */
void outcome_refused(struct buddyclient *client, struct outcome *outcome, int rc, int error);

/* What top shows, asked for again and again: statistics and rates, the map, the clients. It loses the daemon and finds it again by
 * itself. One thread. */
#pragma once

#include "glyph.h"
#include "sample.h"

/* A daemon that hangs must not keep the keys waiting for long. */
#define TOP_TIMEOUT_MS 1000

struct top_feed {
        const struct invocation *invocation; /* not owned */
        struct observer observer;
        bool connected;
        bool has_figures; /* sample, map, clients and legend are there, of now or of before it was lost */
        struct sample samples[2];
        unsigned turn; /* samples[turn] is the last one */
        struct rates rates;
        struct map map;
        struct legend legend;
        struct roster by_id, clients; /* the same clients, sorted by id and as asked for */
        char trouble[256];            /* why it is away; empty: it is not */
        double lost;                  /* monotonic clock; when it was found away */
};

struct top_wanted {
        size_t cells; /* of the map, at most */
        enum roster_key sort;
};

/* EXIT_DONE: connected, and ends with top_feed_close. Says what is wrong else. */
enum exit_status top_feed_open(struct top_feed *feed, const struct invocation *invocation);
void top_feed_close(struct top_feed *feed);

/* Asks once more. False: the daemon is away, and trouble says why; the figures are those of before. */
bool top_feed_update(struct top_feed *feed, const struct top_wanted *wanted);

/* Ends a client's session. *text gets what came of it, in one line. */
void top_feed_kick(struct top_feed *feed, uint32_t session, char *text, size_t size);

static inline const struct reply_stats *top_feed_stats(const struct top_feed *feed) {
        return &feed->samples[feed->turn].stats;
}

/* Seconds of the monotonic clock. */
double top_clock(void);

/* See top_feed.h. Each update is whole: what it asked for replaces what was there only when all of it has come. */
#include "top_feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "complain.h"
#include "quantity.h"

/* What it held goes back in slices, so that a large client takes its time. */
#define KICK_TIMEOUT_MS 30000

double top_clock(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

enum exit_status top_feed_open(struct top_feed *feed, const struct invocation *invocation) {
        memset(feed, 0, sizeof(*feed));
        feed->invocation = invocation;
        enum exit_status status =
                ask_open_within(invocation, TOP_TIMEOUT_MS, &feed->observer, NULL);
        feed->connected = status == EXIT_DONE;
        return status;
}

static void figures_drop(struct top_feed *feed) {
        map_deinit(&feed->map);
        legend_deinit(&feed->legend);
        roster_deinit(&feed->by_id);
        roster_deinit(&feed->clients);
        feed->has_figures = false;
}

static void feed_disconnect(struct top_feed *feed) {
        if (feed->connected)
                observer_close(&feed->observer);
        feed->connected = false;
}

void top_feed_close(struct top_feed *feed) {
        feed_disconnect(feed);
        figures_drop(feed);
}

static enum exit_status roster_copy(
        const struct roster *from, enum roster_key sort, struct roster *out) {
        *out = (struct roster){0};
        for (size_t i = 0; i < from->count; i++)
                if (roster_add(out, &from->entries[i]) != 0) {
                        roster_deinit(out);
                        return complain(EXIT_REFUSED, "out of memory");
                }
        roster_sort(out, sort);
        return EXIT_DONE;
}

struct figures {
        struct map map;
        struct legend legend;
        struct roster by_id, clients;
};

static enum exit_status figures_load(struct top_feed *feed, struct sample *sample,
        const struct top_wanted *wanted, struct figures *out) {
        *out = (struct figures){0};
        enum exit_status status = roster_load(&feed->observer, &out->by_id);
        if (status == EXIT_DONE)
                status = roster_copy(&out->by_id, wanted->sort, &out->clients);
        roster_sort(&out->by_id, ROSTER_ID);
        if (status == EXIT_DONE)
                status = sample_take(&feed->observer, sample);
        if (status == EXIT_DONE)
                status = map_load(&feed->observer, sample->stats.size_bytes,
                        map_cell_bytes(
                                sample->stats.size_bytes, sample->stats.page_bytes, wanted->cells),
                        true, &out->map);
        if (status == EXIT_DONE && legend_init(&out->legend, &out->map) != 0)
                status = complain(EXIT_REFUSED, "out of memory");
        if (status == EXIT_DONE)
                return status;
        map_deinit(&out->map);
        roster_deinit(&out->by_id);
        roster_deinit(&out->clients);
        return status;
}

static enum exit_status feed_connect(struct top_feed *feed) {
        if (feed->connected)
                return EXIT_DONE;
        enum exit_status status =
                ask_open_within(feed->invocation, TOP_TIMEOUT_MS, &feed->observer, NULL);
        feed->connected = status == EXIT_DONE;
        return status;
}

bool top_feed_update(struct top_feed *feed, const struct top_wanted *wanted) {
        char trouble[sizeof(feed->trouble)] = "";
        struct figures figures;
        unsigned next = 1 - feed->turn;
        complain_divert(trouble, sizeof(trouble));
        enum exit_status status = feed_connect(feed);
        if (status == EXIT_DONE)
                status = figures_load(feed, &feed->samples[next], wanted, &figures);
        complain_divert(NULL, 0);
        if (status != EXIT_DONE) {
                feed_disconnect(feed);
                if (feed->trouble[0] == '\0')
                        feed->lost = top_clock();
                memcpy(feed->trouble, trouble, sizeof(trouble));
                return false;
        }
        feed->rates = rates_between(
                feed->has_figures ? &feed->samples[feed->turn] : NULL, &feed->samples[next]);
        figures_drop(feed);
        feed->map = figures.map;
        feed->legend = figures.legend;
        feed->by_id = figures.by_id;
        feed->clients = figures.clients;
        feed->has_figures = true;
        feed->turn = next;
        feed->trouble[0] = '\0';
        return true;
}

void top_feed_kick(struct top_feed *feed, uint32_t session, char *text, size_t size) {
        struct request request = {.kind = REQUEST_KICK, .kick.session = session};
        struct reply reply;
        char bytes[QUANTITY_BYTES];
        complain_divert(text, size);
        enum exit_status status = feed_connect(feed);
        if (status == EXIT_DONE) {
                observer_set_timeout(&feed->observer, KICK_TIMEOUT_MS);
                status = ask(&feed->observer, &request, REPLY_RETURNED, &reply);
        }
        complain_divert(NULL, 0);
        if (status == EXIT_DONE)
                snprintf(text, size,
                        "client %" PRIu32 " ended: %" PRIu64 " ranges returned, %s free again",
                        session, reply.returned.count, quantity_bytes(bytes, reply.returned.bytes));
        if (status == EXIT_UNREACHABLE)
                feed_disconnect(feed);
        else if (feed->connected)
                observer_set_timeout(&feed->observer, TOP_TIMEOUT_MS);
}

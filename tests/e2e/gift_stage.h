/* A pool with a giver, a receiver and a third client, all with caches unless said otherwise, and an observer without one; and
 * ranges that bear a mark, so that whoever is granted what somebody else holds is found out. A failed expectation ends the
 * test, but for what says that it answers; call those that expect from the test's main thread. */
#pragma once

#include "harness.h"

#define GIFT_POOL       "64M"
#define GIFT_POOL_BYTES (64 * MIB)
#define GIFT_POOL_PAGES (GIFT_POOL_BYTES / SCENE_PAGE)
#define GIFT_CACHE      MIB /* of a client, unless set; and 1/64 of the pool */

struct gift_stage {
        struct scene scene;
        struct buddyclient *giver, *receiver, *third, *observer;
};

void gift_stage_open(struct gift_stage *stage);
/* The giver and the receiver with these bytes of cache. */
void gift_stage_open_with(struct gift_stage *stage, uint64_t giver_bytes, uint64_t receiver_bytes);
/* The daemon is killed, and the next one started. */
void gift_stage_restart(struct gift_stage *stage);
/* Nothing may be held any more; with the clients gone nothing is cached either, and everything is merged. */
void gift_stage_close(struct gift_stage *stage);

/* ---- Marks ---- */

/* Nobody else's: of this name. */
uint64_t mark_of(const struct buddyclient_range *range);
/* The first and the last word of each page. */
void mark_write(struct buddyclient *client, const struct buddyclient_range *range, uint64_t mark);
/* Whether all of them are this mark. */
bool mark_holds(struct buddyclient *client, const struct buddyclient_range *range, uint64_t mark);

/* ---- Ranges ---- */

/* Granted, and marked as its name says. */
struct buddyclient_range gift_taken(struct buddyclient *client, uint64_t length);
void gift_returned(struct buddyclient *client, const struct buddyclient_range *range);
void gift_handed(
        struct buddyclient *giver, struct buddyclient_range *range, struct buddyclient *receiver);
/* Taken by the giver and handed to the receiver. */
struct buddyclient_range gift_new(struct gift_stage *stage, uint64_t length);
/* Returns it and takes the same block again, under a name that differs, by whatever way it comes. */
struct buddyclient_range gift_again(
        struct buddyclient *client, const struct buddyclient_range *range);

/* Whoever names it in whatever call is refused with -ESTALE, and as much is held as before. */
void expect_outdated(struct gift_stage *stage, const struct buddyclient_range *range);

/* All pages that can be had, marked as the taker's own. How many; expects nothing. */
size_t take_all(struct buddyclient *client, struct buddyclient_range pages[GIFT_POOL_PAGES]);
/* Exactly the bytes that are held cannot be had by somebody else, down to the last page. */
void expect_rest_free(struct gift_stage *stage, uint64_t held_bytes);

/* The lists of top: clients, one of which is selected, and orders. */
#pragma once

#include "top_draw.h"
#include "top_screen.h"

/* NULL: it is gone. */
const struct reply_client *top_client_find(const struct roster *clients, uint32_t session);

/* Selects the client so many places further down, or up. */
void top_client_move(const struct roster *clients, struct top_state *state, long by);

/* Both draw nothing where the box has no rows. */
void top_clients_draw(
        const struct top_box *box, const struct top_feed *feed, struct top_state *state);
void top_orders_draw(const struct top_box *box, const struct reply_stats *stats);

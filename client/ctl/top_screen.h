/* The screen of top: what is drawn where, at any size. Draws with ncurses; the feed's figures and the state are only read, but for the
 * place in the list, which is kept within it. One thread. */
#pragma once

#include "top_feed.h"

enum top_lower { TOP_LOWER_CLIENTS, TOP_LOWER_ORDERS, TOP_LOWER_KINDS };

struct top_state {
        double every; /* seconds */
        enum roster_key sort;
        enum top_lower lower; /* where both have no room beside each other */
        bool by_client;       /* the map's colours */
        bool help;
        uint32_t selected; /* session; 0: none */
        size_t first;      /* of the clients, on top of the list */
        uint32_t asks;     /* whether to kick this one; 0: nothing is asked */
        char told[256];    /* what came of the last action; empty: nothing */
};

/* Colours and characters, once ncurses has the terminal. */
void top_screen_begin(void);

/* How many cells the map has room for at the screen's size. */
size_t top_screen_cells(void);

void top_screen_draw(const struct top_feed *feed, struct top_state *state);

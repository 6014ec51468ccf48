/* The statistics of a pool as a screen for people and as JSON for programs. No state. */
#pragma once

#include <stdio.h>

#include "json.h"
#include "proto/message.h"

/* One screen, under 80 columns. */
void stats_view_text(FILE *out, const struct reply_stats *stats);

/* One object on one line. */
void stats_view_json(FILE *out, const struct reply_stats *stats);

/* The array "orders" of the object that is open. */
void stats_view_orders_json(struct json *json, const struct reply_stats *stats);

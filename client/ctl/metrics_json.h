/* The text of metrics, which is OpenMetrics, as JSON. No state of its own. */
#pragma once

#include <stdio.h>

#include "metrics_pages.h"

/* One document: "samples", a list of name, labels and value. 0; -EPROTO: text is no such text, from there on nothing is in the list. Changes
 * text. */
int metrics_json_write(FILE *out, struct metrics_text *text);

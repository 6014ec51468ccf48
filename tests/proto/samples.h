/* One message of every kind and more at the limits, and what "the same message" means. */
#pragma once

#include "proto/message.h"

/* Static; arrays and texts are static as well. */
const struct request *sample_requests(size_t *count);
const struct reply *sample_replies(size_t *count);

bool requests_equal(const struct request *a, const struct request *b);
bool replies_equal(const struct reply *a, const struct reply *b);

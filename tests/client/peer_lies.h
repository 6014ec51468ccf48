/* Scripts of daemons that break the protocol or break off: each welcomes a client, reads its first alloc, of two pages, and then says
 * what no daemon says. */
#pragma once

#include <stdbool.h>

/* Welcomes, and true the first time. Later it is a daemon that knows no earlier session. */
bool greets_first(int fd);

/* X(script, what every call under way ends with, a word of the reason) */
#define PEER_LIES(X)                                                                               \
        X(closes_on_a_request, -ENOTCONN, "the session is gone")                                   \
        X(closes_in_the_reply, -ENOTCONN, "the session is gone")                                   \
        X(sends_garbage, -EPROTO, "protocol")                                                      \
        X(sends_too_long_a_frame, -EPROTO, "protocol")                                             \
        X(answers_a_request_never_made, -EPROTO, "protocol")                                       \
        X(answers_alloc_with_done, -EPROTO, "protocol")                                            \
        X(has_last_words, -EPROTO, "half a frame for 5 s")                                         \
        X(grants_outside, -EPROTO, "protocol")                                                     \
        X(grants_across_the_end, -EPROTO, "protocol")                                              \
        X(grants_too_short, -EPROTO, "protocol")                                                   \
        X(grants_unaligned, -EPROTO, "protocol")                                                   \
        X(grants_impossible_order, -EPROTO, "protocol")                                            \
        X(grants_impossible_order_12_bits, -EPROTO, "protocol")                                    \
        X(grants_no_generation, -EPROTO, "protocol")                                               \
        X(grants_two, -EPROTO, "protocol")

#define X(script, error, reason) void script(int fd);
PEER_LIES(X)
#undef X

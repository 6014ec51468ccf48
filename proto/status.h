/* Why a request is refused: the wire's own numbers, each with its errno. This is the one place that
 * turns the one into the other, in either direction. */
#pragma once

#include <errno.h>

/*       name         wire  errno */
#define STATUS_LIST(X)                                                                             \
        X(OK, 0, 0)                                                                                \
        X(INVALID, 1, EINVAL)                                                                      \
        X(TOO_BIG, 2, E2BIG)                                                                       \
        X(NO_SPACE, 3, ENOMEM)                                                                     \
        X(TIMED_OUT, 4, ETIMEDOUT)                                                                 \
        X(QUOTA, 5, EDQUOT)                                                                        \
        X(STALE, 6, ESTALE)                                                                        \
        X(DENIED, 7, EACCES)                                                                       \
        X(NOT_FOUND, 8, ENOENT)                                                                    \
        X(NOT_CONNECTED, 9, ENOTCONN)                                                              \
        X(PROTOCOL, 10, EPROTO)                                                                    \
        X(BUSY, 11, EBUSY)                                                                         \
        X(UNKNOWN_REQUEST, 12, EOPNOTSUPP)

enum status {
#define X(name, wire, number) STATUS_##name = wire,
        STATUS_LIST(X)
#undef X
};

/* Negative errno of a status; -EPROTO for a number this version does not know. */
int status_to_errno(unsigned status);

/* Status of a negative errno; STATUS_INVALID for one without a status of its own. */
enum status status_from_errno(int error);

/* What a number in a refusal means: STATUS_PROTOCOL for one that this version does not know, and for OK. */
enum status status_from_wire(unsigned status);

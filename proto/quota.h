/* The limits that a daemon has on what clients and uids use: their numbers on the wire, and their names in the config and for
 * people. What each means stands in buddyd.conf(5). */
#pragma once

#include <stdint.h>

/* Name, name for people, number, and whether it is the whole daemon's and not a pool's. */
#define QUOTA_LIST(X)                                                                              \
        X(CLIENT_BYTES, "client-bytes", 1, false)                                                  \
        X(CLIENT_RANGES, "client-ranges", 2, false)                                                \
        X(CLIENT_WAITS, "client-waits", 3, false)                                                  \
        X(USER_BYTES, "user-bytes", 4, false)                                                      \
        X(USER_RANGES, "user-ranges", 5, false)                                                    \
        X(USER_CLIENTS, "user-clients", 6, false)                                                  \
        X(USER_KEYS, "user-keys", 7, false)                                                        \
        X(USER_HOLDS, "user-holds", 8, false)                                                      \
        X(USER_WAITS, "user-waits", 9, false)                                                      \
        X(USER_CONNECTIONS, "user-connections", 10, true)                                          \
        X(USER_BUFFERS, "user-buffers", 11, true)                                                  \
        X(CLIENT_REQUESTS, "client-requests", 12, true)                                            \
        X(CLIENT_OUTPUT, "client-output", 13, true)

enum quota {
        QUOTA_NOTHING = 0,
#define X(name, text, number, of_daemon) QUOTA_##name = number,
        QUOTA_LIST(X)
#undef X
                QUOTA_END = 14,
};

#define QUOTA_NONE UINT64_MAX /* no limit */
#define QUOTA_SHARE                                                                                \
        (UINT64_MAX - 1) /* half of what others leave; root and the daemon's user are free of it */

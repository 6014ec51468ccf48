/* The clients of a pool as the daemon lists them, page after page. Not thread-safe. */
#pragma once

#include "ask.h"

struct roster {
        struct reply_client *entries; /* owned, and so are their names */
        size_t count, capacity;
};

enum roster_key {
        ROSTER_ID,
        ROSTER_NAME,
        ROSTER_PID,
        ROSTER_UID,
        ROSTER_HELD,
        ROSTER_CACHED,
        ROSTER_WAITING,
        ROSTER_KEYS,
};

/* -EINVAL: no such key. */
int roster_key_parse(const char *text, enum roster_key *key);

/* The name of a key. */
const char *roster_key_name(enum roster_key key);

/* Asks for all of them. EXIT_DONE: the caller ends with roster_deinit. */
enum exit_status roster_load(struct observer *observer, struct roster *out);
void roster_deinit(struct roster *roster);

/* Adds a copy. -ENOMEM. */
int roster_add(struct roster *roster, const struct reply_client *client);

/* Amounts with the largest first, all else upwards; equals by id. */
void roster_sort(struct roster *roster, enum roster_key key);

/* Name of a client; NULL: not known. The roster must be sorted by id. */
const char *roster_name(const struct roster *roster, uint32_t session);

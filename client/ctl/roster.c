/* A growing array of clients with names of their own. */
#include "roster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "complain.h"

static const char *const key_names[ROSTER_KEYS] = {
        [ROSTER_ID] = "id",
        [ROSTER_NAME] = "name",
        [ROSTER_PID] = "pid",
        [ROSTER_UID] = "uid",
        [ROSTER_HELD] = "held",
        [ROSTER_CACHED] = "cached",
        [ROSTER_WAITING] = "waiting",
};

int roster_key_parse(const char *text, enum roster_key *key) {
        for (enum roster_key i = 0; i < ROSTER_KEYS; i++) {
                if (strcmp(key_names[i], text) != 0)
                        continue;
                *key = i;
                return 0;
        }
        return -EINVAL;
}

const char *roster_key_name(enum roster_key key) {
        return key_names[key];
}

int roster_add(struct roster *roster, const struct reply_client *client) {
        if (roster->count == roster->capacity) {
                size_t capacity = roster->capacity == 0 ? 64 : roster->capacity * 2;
                struct reply_client *grown =
                        reallocarray(roster->entries, capacity, sizeof(*grown));
                if (!grown)
                        return -ENOMEM;
                roster->entries = grown;
                roster->capacity = capacity;
        }
        char *name = strdup(client->name);
        if (!name)
                return -ENOMEM;
        roster->entries[roster->count] = *client;
        roster->entries[roster->count++].name = name;
        return 0;
}

void roster_deinit(struct roster *roster) {
        for (size_t i = 0; i < roster->count; i++)
                free((char *)roster->entries[i].name);
        free(roster->entries);
        *roster = (struct roster){0};
}

enum exit_status roster_load(struct observer *observer, struct roster *out) {
        struct roster roster = {0};
        struct request request = {.kind = REQUEST_CLIENTS};
        struct reply reply;
        do {
                enum exit_status status = ask(observer, &request, REPLY_CLIENTS, &reply);
                for (size_t i = 0; status == EXIT_DONE && i < reply.clients.count; i++)
                        if (roster_add(&roster, &reply.clients.entries[i]) != 0)
                                status = complain(
                                        EXIT_REFUSED, "out of memory; free some and try again");
                if (status != EXIT_DONE) {
                        roster_deinit(&roster);
                        return status;
                }
                request.clients.cursor = reply.clients.next_cursor;
        } while (request.clients.cursor != 0);
        *out = roster;
        return EXIT_DONE;
}

static int order_up(uint64_t a, uint64_t b) {
        return (a > b) - (a < b);
}

static int client_compare(const void *left, const void *right, void *context) {
        const struct reply_client *a = left, *b = right;
        int order = 0;
        switch (*(const enum roster_key *)context) {
        case ROSTER_NAME:
                order = strcmp(a->name, b->name);
                break;
        case ROSTER_PID:
                order = order_up(a->pid, b->pid);
                break;
        case ROSTER_UID:
                order = order_up(a->uid, b->uid);
                break;
        case ROSTER_HELD:
                order = order_up(b->held_bytes, a->held_bytes);
                break;
        case ROSTER_CACHED:
                order = order_up(b->cached_bytes, a->cached_bytes);
                break;
        case ROSTER_WAITING:
                order = order_up(b->waiting, a->waiting);
                break;
        case ROSTER_ID:
        case ROSTER_KEYS:
                break;
        }
        return order != 0 ? order : order_up(a->session, b->session);
}

void roster_sort(struct roster *roster, enum roster_key key) {
        if (roster->count > 0)
                qsort_r(roster->entries, roster->count, sizeof(*roster->entries), client_compare,
                        &key);
}

const char *roster_name(const struct roster *roster, uint32_t session) {
        struct reply_client wanted = {.session = session, .name = ""};
        enum roster_key key = ROSTER_ID;
        size_t low = 0, high = roster->count;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int order = client_compare(&roster->entries[middle], &wanted, &key);
                if (order == 0)
                        return roster->entries[middle].name;
                if (order < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return NULL;
}

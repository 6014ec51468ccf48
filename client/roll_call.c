/* See roll_call.h. */
#include "roll_call.h"

#include <errno.h>

int roll_call_enter(
        const struct buddyclient *client, struct roll *roll, const struct reply_hold *hold) {
        struct buddyclient_range range = {
                hold->range.offset, hold->range.length, hold->range.generation};
        uint64_t place;
        uint32_t generation;
        if (client_place(client, &range, &place, &generation) < 0 ||
                client_range(client, place, generation, &range) < 0)
                return -EPROTO;
        struct holding holding = client_holding(client, place, generation);
        struct roll_entry *entry = roll_enter(roll, &holding);
        if (!entry)
                return -ENOMEM;
        if (hold->given)
                entry->given++;
        else
                entry->granted++;
        return 0;
}

struct page {
        struct buddyclient *client;
        struct roll *roll;
        uint64_t cursor, next_cursor;
};

static int accept_page(void *context, const struct reply *reply) {
        struct page *page = context;
        if (reply->kind != REPLY_HOLDS)
                return -EPROTO;
        page->next_cursor = reply->holds.next_cursor;
        if (page->next_cursor != 0 && page->next_cursor <= page->cursor)
                return -EPROTO;
        int rc = 0;
        for (size_t i = 0; rc == 0 && i < reply->holds.count; i++)
                if (reply->holds.entries[i].session == page->client->session)
                        rc = roll_call_enter(page->client, page->roll, &reply->holds.entries[i]);
        return rc;
}

int roll_call(struct buddyclient *client, struct roll *roll) {
        struct page page = {.client = client, .roll = roll};
        int rc;
        do {
                struct request request = {
                        .kind = REQUEST_HOLDS,
                        .holds = {.session = client->session, .cursor = page.cursor},
                };
                struct call call = {.accept = accept_page, .context = &page};
                rc = client_exchange(client, &request, &call);
                page.cursor = page.next_cursor;
        } while (rc == 0 && page.cursor != 0);
        return rc;
}

/* ranges: every held range, printed while it is listed, so that a pool of millions costs no memory here. The
 * holds of one range come together and share one line. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "complain.h"
#include "json.h"
#include "printable.h"
#include "quantity.h"
#include "roster.h"

/* What is held by hand; it is nobody's connection, so the list of clients leaves it out. */
#define SESSION_OPERATOR 1u

struct listing {
        const struct roster *roster; /* sorted by id; not owned */
        bool as_json;
        struct json json;
        const char *pool;
        bool begun;
        struct message_range current; /* the range whose line is open; length 0: none is */
        uint64_t ranges;
};

static void line_close(struct listing *listing) {
        if (listing->current.length == 0)
                return;
        if (listing->as_json) {
                json_end_array(&listing->json);
                json_end_object(&listing->json);
        } else {
                putchar('\n');
        }
        listing->current.length = 0;
}

static void line_open(struct listing *listing, const struct reply_hold *hold) {
        listing->current = hold->range;
        if (listing->as_json) {
                struct json *json = &listing->json;
                json_begin_object(json, NULL);
                json_integer(json, "offset", hold->range.offset);
                json_integer(json, "length", hold->range.length);
                json_integer(json, "generation", hold->range.generation);
                json_integer(json, "age_seconds", hold->age_seconds);
                json_begin_array(json, "holders");
                return;
        }
        char length[QUANTITY_BYTES], age[QUANTITY_BYTES];
        if (listing->ranges == 0)
                printf("%16s %12s %12s %14s  %s\n", "OFFSET", "LENGTH", "GENERATION", "AGE",
                        "HOLDERS");
        printf("%16" PRIu64 " %12s %12" PRIu64 " %14s ", hold->range.offset,
                quantity_bytes(length, hold->range.length), hold->range.generation,
                quantity_seconds(age, hold->age_seconds));
}

/* Empty: it has gone or come since the clients were listed. */
static const char *holder_name(const struct listing *listing, uint32_t session) {
        const char *name = roster_name(listing->roster, session);
        if (name)
                return name;
        return session == SESSION_OPERATOR ? "operator" : "";
}

static void holder_json(struct listing *listing, const struct reply_hold *hold) {
        struct json *json = &listing->json;
        json_begin_object(json, NULL);
        if (hold->session == 0) {
                json_text(json, "key", hold->key);
        } else {
                json_integer(json, "id", hold->session);
                json_text(json, "name", holder_name(listing, hold->session));
        }
        json_end_object(json);
}

static void holder_text(struct listing *listing, const struct reply_hold *hold) {
        if (hold->session == 0) {
                fputs(" key ", stdout);
                printable_write(stdout, hold->key);
                return;
        }
        putchar(' ');
        printable_write(stdout, holder_name(listing, hold->session));
        printf("#%" PRIu32, hold->session);
}

static void listing_add(struct listing *listing, const struct reply_hold *hold) {
        const struct message_range *current = &listing->current;
        bool same = current->length != 0 && current->offset == hold->range.offset &&
                    current->generation == hold->range.generation;
        if (!same) {
                line_close(listing);
                line_open(listing, hold);
                listing->ranges++;
        } else if (!listing->as_json) {
                putchar(',');
        }
        (listing->as_json ? holder_json : holder_text)(listing, hold);
}

/* Not before the first reply: a refusal leaves nothing on stdout. */
static void listing_begin(struct listing *listing) {
        if (listing->as_json && !listing->begun) {
                json_begin_object(&listing->json, NULL);
                json_text(&listing->json, "pool", listing->pool);
                json_begin_array(&listing->json, "ranges");
        }
        listing->begun = true;
}

static void listing_end(struct listing *listing) {
        line_close(listing);
        if (listing->as_json && listing->begun) {
                json_end_array(&listing->json);
                json_end_object(&listing->json);
                json_end_document(&listing->json);
        } else if (listing->begun && listing->ranges == 0) {
                puts("no range is held");
        }
}

static enum exit_status listing_run(
        struct listing *listing, struct observer *observer, uint32_t client) {
        struct request request = {.kind = REQUEST_HOLDS, .holds.session = client};
        struct reply reply;
        do {
                enum exit_status status = ask(observer, &request, REPLY_HOLDS, &reply);
                if (status != EXIT_DONE)
                        return status;
                listing_begin(listing);
                for (size_t i = 0; i < reply.holds.count; i++)
                        listing_add(listing, &reply.holds.entries[i]);
                request.holds.cursor = reply.holds.next_cursor;
        } while (request.holds.cursor != 0 && !ferror(stdout));
        return EXIT_DONE;
}

static enum exit_status print_ranges(const struct invocation *invocation, struct observer *observer,
        const struct roster *roster, uint32_t client) {
        struct listing listing = {
                .roster = roster,
                .as_json = invocation_has(invocation, OPTION_JSON),
                .json.out = stdout,
                .pool = ask_pool(invocation),
        };
        enum exit_status status = listing_run(&listing, observer, client);
        listing_end(&listing);
        return status;
}

enum exit_status cmd_ranges(const struct invocation *invocation) {
        const char *only = invocation->values[OPTION_CLIENT];
        uint32_t client = 0;
        if (only && quantity_parse_id(only, &client) != 0)
                return complain(
                        EXIT_USAGE, "--client %s: give an id as \"clients\" prints it", only);
        struct observer observer;
        enum exit_status status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        struct roster roster;
        status = roster_load(&observer, &roster);
        if (status == EXIT_DONE) {
                roster_sort(&roster, ROSTER_ID);
                status = print_ranges(invocation, &observer, &roster, client);
                roster_deinit(&roster);
        }
        observer_close(&observer);
        return status;
}

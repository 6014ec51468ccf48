/* ranges: every held range, printed while it is listed, so that a pool of millions costs no memory here. The
 * holds of one range come together and share one line. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "columns.h"
#include "complain.h"
#include "json.h"
#include "printable.h"
#include "quantity.h"
#include "roster.h"

/* What is held by hand; it is nobody's connection, so the list of clients leaves it out. */
#define SESSION_OPERATOR 1u

struct listing {
        const struct roster *roster; /* sorted by id; not owned */
        struct columns columns;      /* without that of the holders */
        bool with_holders;
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

enum range_column { RANGE_OFFSET, RANGE_LENGTH, RANGE_GENERATION, RANGE_AGE, RANGE_HOLDERS };
static const struct table_column columns[] = {
        {"OFFSET", false},
        {"LENGTH", false},
        {"GENERATION", false},
        {"AGE", false},
        {"HOLDERS", true},
};
#define COLUMN_COUNT (sizeof(columns) / sizeof(columns[0]))
static const int widths[] = {16, 12, 12, 14, 0};

/* Holders come one by one, so they stand last. */
static void heading_write(const struct listing *listing) {
        for (unsigned i = 0; i < listing->columns.count; i++) {
                unsigned column = listing->columns.chosen[i];
                printf("%s%*s", i > 0 ? " " : "", widths[column], columns[column].heading);
        }
        if (listing->with_holders)
                printf("  %s", columns[RANGE_HOLDERS].heading);
        putchar('\n');
}

static void column_write(
        const struct listing *listing, unsigned column, const struct reply_hold *hold) {
        char text[QUANTITY_BYTES];
        const char *cell = text;
        if (column == RANGE_OFFSET)
                snprintf(text, sizeof(text), "%" PRIu64, hold->range.offset);
        else if (column == RANGE_LENGTH)
                quantity_amount(text, hold->range.length, listing->columns.raw_bytes);
        else if (column == RANGE_GENERATION)
                snprintf(text, sizeof(text), "%" PRIu64, hold->range.generation);
        else
                quantity_seconds(text, hold->age_seconds);
        printf("%*s", widths[column], cell);
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
        if (listing->ranges == 0)
                heading_write(listing);
        for (unsigned i = 0; i < listing->columns.count; i++) {
                if (i > 0)
                        putchar(' ');
                column_write(listing, listing->columns.chosen[i], hold);
        }
        if (listing->with_holders)
                putchar(' ');
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
        } else if (listing->with_holders) {
                putchar(',');
        }
        if (listing->as_json)
                holder_json(listing, hold);
        else if (listing->with_holders)
                holder_text(listing, hold);
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

/* Takes the holders out of the columns. */
static void listing_choose(struct listing *listing, const struct columns *chosen) {
        listing->columns = *chosen;
        listing->columns.count = 0;
        for (unsigned i = 0; i < chosen->count; i++) {
                if (chosen->chosen[i] == RANGE_HOLDERS)
                        listing->with_holders = !listing->as_json;
                else
                        listing->columns.chosen[listing->columns.count++] = chosen->chosen[i];
        }
}

struct ranges_wanted {
        uint32_t client; /* 0: everybody's */
        struct columns columns;
};

static enum exit_status print_ranges(const struct invocation *invocation, struct observer *observer,
        const struct roster *roster, const struct ranges_wanted *wanted) {
        struct listing listing = {
                .roster = roster,
                .as_json = invocation_has(invocation, OPTION_JSON),
                .json.out = stdout,
                .pool = ask_pool(invocation),
        };
        listing_choose(&listing, &wanted->columns);
        enum exit_status status = listing_run(&listing, observer, wanted->client);
        listing_end(&listing);
        return status;
}

enum exit_status cmd_ranges(const struct invocation *invocation) {
        const char *only = invocation->values[OPTION_CLIENT];
        struct ranges_wanted wanted = {.client = 0};
        if (only && quantity_parse_id(only, &wanted.client) != 0)
                return complain(
                        EXIT_USAGE, "--client %s: give an id as \"clients\" prints it", only);
        struct observer observer;
        enum exit_status status =
                columns_choose(invocation, columns, COLUMN_COUNT, &wanted.columns);
        if (status == EXIT_DONE)
                status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        struct roster roster;
        status = roster_load(&observer, &roster);
        if (status == EXIT_DONE) {
                roster_sort(&roster, ROSTER_ID);
                status = print_ranges(invocation, &observer, &roster, &wanted);
                roster_deinit(&roster);
        }
        observer_close(&observer);
        return status;
}

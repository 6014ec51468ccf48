/* quota: the limits of a pool and of its daemon, what each uid uses, and changing a limit. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "complain.h"
#include "json.h"
#include "quantity.h"
#include "table.h"

static const char *const names[QUOTA_END] = {
#define X(name, text, number, of_daemon) [number] = text,
        QUOTA_LIST(X)
#undef X
};

static bool limit_is_bytes(unsigned limit) {
        return limit == QUOTA_CLIENT_BYTES || limit == QUOTA_USER_BYTES ||
               limit == QUOTA_USER_BUFFERS || limit == QUOTA_CLIENT_OUTPUT;
}

static const char *limit_text(char text[QUANTITY_BYTES], unsigned limit, uint64_t value) {
        if (value == QUOTA_NONE)
                return "none";
        if (value == QUOTA_SHARE)
                return "share";
        return limit_is_bytes(limit) ? quantity_bytes(text, value) : quantity_count(text, value);
}

/* ---- What to set ---- */

static int value_parse(const char *text, uint64_t *value) {
        if (strcmp(text, "none") == 0) {
                *value = QUOTA_NONE;
                return 0;
        }
        if (strcmp(text, "share") == 0) {
                *value = QUOTA_SHARE;
                return 0;
        }
        int error = quantity_parse_bytes(text, value);
        return error ? error : *value >= QUOTA_SHARE ? -ERANGE : 0;
}

static enum exit_status setting_parse(const char *text, struct request_quota *out) {
        const char *equals = strchr(text, '=');
        size_t length = equals ? (size_t)(equals - text) : 0;
        for (unsigned i = 1; i < QUOTA_END && equals; i++)
                if (strlen(names[i]) == length && strncmp(names[i], text, length) == 0)
                        out->limit = i;
        if (!equals || out->limit == 0)
                return complain(EXIT_USAGE,
                        "--set %s: give LIMIT=VALUE, with a limit that \"buddyctl quota\" lists",
                        text);
        if (value_parse(equals + 1, &out->value) != 0)
                return complain(EXIT_USAGE,
                        "--set %s: give a number, perhaps with K, M, G or T, or none, or share",
                        text);
        return EXIT_DONE;
}

/* ---- Printing ---- */

static void print_json_limits(struct json *json, const struct reply_quotas *quotas) {
        char text[QUANTITY_BYTES];
        json_begin_object(json, "limits");
        for (unsigned i = 1; i < QUOTA_END && i <= quotas->limit_count; i++) {
                uint64_t value = quotas->limits[i - 1];
                if (value >= QUOTA_SHARE)
                        json_text(json, names[i], limit_text(text, i, value));
                else
                        json_integer(json, names[i], value);
        }
        json_end_object(json);
}

static void print_json_user(struct json *json, const struct reply_user *user) {
        json_begin_object(json, NULL);
        json_integer(json, "uid", user->uid);
        json_bool(json, "privileged", user->privileged);
        json_integer(json, "bytes", user->bytes);
        json_integer(json, "ranges", user->ranges);
        json_integer(json, "clients", user->clients);
        json_integer(json, "keys", user->keys);
        json_integer(json, "holds", user->holds);
        json_integer(json, "waits", user->waits);
        json_integer(json, "connections", user->connections);
        json_integer(json, "buffers", user->buffers);
        json_end_object(json);
}

static enum exit_status print_limits(const struct reply_quotas *quotas) {
        static const struct table_column columns[] = {{"LIMIT", true}, {"VALUE", false}};
        struct table table;
        table_init(&table, columns, &(struct columns){.count = 2, .chosen = {0, 1}});
        for (unsigned i = 1; i < QUOTA_END && i <= quotas->limit_count; i++) {
                char text[QUANTITY_BYTES];
                table_row(&table);
                table_text(&table, names[i]);
                table_text(&table, limit_text(text, i, quotas->limits[i - 1]));
        }
        int error = table_print(&table, stdout);
        table_deinit(&table);
        return error == 0 ? EXIT_DONE : complain(EXIT_REFUSED, "out of memory; try --json");
}

static void table_user(struct table *table, const struct reply_user *user) {
        table_row(table);
        table_id(table, user->uid);
        table_bytes(table, user->bytes);
        table_count(table, user->ranges);
        table_count(table, user->clients);
        table_count(table, user->keys);
        table_count(table, user->holds);
        table_count(table, user->waits);
        table_count(table, user->connections);
        table_bytes(table, user->buffers);
}

/* ---- Pages of the listing ---- */

struct listing {
        struct json *json; /* NULL: into the table */
        struct table *table;
};

static void listing_add(struct listing *listing, const struct reply_quotas *quotas) {
        for (size_t i = 0; i < quotas->count; i++) {
                if (listing->json)
                        print_json_user(listing->json, &quotas->entries[i]);
                else
                        table_user(listing->table, &quotas->entries[i]);
        }
}

/* The users of this page and of those behind it. */
static enum exit_status listing_load(
        struct listing *listing, struct observer *observer, const struct reply_quotas *first) {
        struct reply reply = {.quotas = *first};
        for (;;) {
                listing_add(listing, &reply.quotas);
                if (reply.quotas.next_cursor == 0)
                        return EXIT_DONE;
                struct request next = {
                        .kind = REQUEST_QUOTA, .quota = {.cursor = reply.quotas.next_cursor}};
                enum exit_status status = ask(observer, &next, REPLY_QUOTAS, &reply);
                if (status != EXIT_DONE)
                        return status;
        }
}

static enum exit_status print_json(const struct invocation *invocation, struct observer *observer,
        const struct reply_quotas *quotas) {
        struct json json = {.out = stdout};
        struct listing listing = {.json = &json};
        json_begin_object(&json, NULL);
        json_text(&json, "pool", ask_pool(invocation));
        print_json_limits(&json, quotas);
        json_begin_array(&json, "users");
        enum exit_status status = listing_load(&listing, observer, quotas);
        json_end_array(&json);
        json_end_object(&json);
        json_end_document(&json);
        return status;
}

static const struct table_column user_columns[] = {
        {"UID", false},
        {"BYTES", false},
        {"RANGES", false},
        {"CLIENTS", false},
        {"KEYS", false},
        {"HOLDS", false},
        {"WAITS", false},
        {"CONNECTIONS", false},
        {"BUFFERS", false},
};
#define USER_COLUMNS (sizeof(user_columns) / sizeof(user_columns[0]))

static enum exit_status print_tables(struct observer *observer, const struct columns *chosen,
        const struct reply_quotas *quotas) {
        enum exit_status status = chosen->listed ? EXIT_DONE : print_limits(quotas);
        if (status != EXIT_DONE || quotas->count == 0)
                return status;
        struct table table;
        struct listing listing = {.table = &table};
        table_init(&table, user_columns, chosen);
        status = listing_load(&listing, observer, quotas);
        if (!chosen->listed)
                putchar('\n');
        if (status == EXIT_DONE && table_print(&table, stdout) != 0)
                status = complain(EXIT_REFUSED, "out of memory; try --json");
        table_deinit(&table);
        return status;
}

enum exit_status cmd_quota(const struct invocation *invocation) {
        struct request request = {.kind = REQUEST_QUOTA};
        const char *setting = invocation->values[OPTION_SET];
        enum exit_status status = setting ? setting_parse(setting, &request.quota) : EXIT_DONE;
        struct columns chosen;
        if (status == EXIT_DONE)
                status = columns_choose(invocation, user_columns, USER_COLUMNS, &chosen);
        if (status != EXIT_DONE)
                return status;
        struct observer observer;
        struct reply reply;
        status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        status = ask(&observer, &request, REPLY_QUOTAS, &reply);
        if (status == EXIT_DONE && invocation_has(invocation, OPTION_JSON))
                status = print_json(invocation, &observer, &reply.quotas);
        else if (status == EXIT_DONE && !setting)
                status = print_tables(&observer, &chosen, &reply.quotas);
        observer_close(&observer);
        return status;
}

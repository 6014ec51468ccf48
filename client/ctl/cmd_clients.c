/* clients: who is connected, and what they hold. */
#include "complain.h"
#include "json.h"
#include "quantity.h"
#include "roster.h"
#include "table.h"

static const char *client_state(const struct reply_client *client) {
        if (!client->connected)
                return "away";
        return client->read_only ? "read-only" : "read-write";
}

static void print_json(const struct roster *roster, const char *pool) {
        struct json json = {.out = stdout};
        json_begin_object(&json, NULL);
        json_text(&json, "pool", pool);
        json_begin_array(&json, "clients");
        for (size_t i = 0; i < roster->count; i++) {
                const struct reply_client *client = &roster->entries[i];
                json_begin_object(&json, NULL);
                json_integer(&json, "id", client->session);
                json_text(&json, "name", client->name);
                json_integer(&json, "pid", client->pid);
                json_integer(&json, "uid", client->uid);
                json_integer(&json, "held", client->held_bytes);
                json_integer(&json, "cached", client->cached_bytes);
                json_integer(&json, "waiting", client->waiting);
                json_integer(&json, "held_ranges", client->held_ranges);
                json_bool(&json, "connected", client->connected);
                json_bool(&json, "read_only", client->read_only);
                json_integer(&json, "connected_seconds", client->connected_seconds);
                json_end_object(&json);
        }
        json_end_array(&json);
        json_end_object(&json);
        json_end_document(&json);
}

static const struct table_column columns[] = {
        {"ID", false},
        {"NAME", true},
        {"PID", false},
        {"UID", false},
        {"HELD", false},
        {"RANGES", false},
        {"CACHED", false},
        {"WAITING", false},
        {"SINCE", false},
        {"ACCESS", true},
};
#define COLUMN_COUNT (sizeof(columns) / sizeof(columns[0]))

static enum exit_status print_table(const struct roster *roster, const struct columns *chosen) {
        struct table table;
        table_init(&table, columns, chosen);
        for (size_t i = 0; i < roster->count; i++) {
                const struct reply_client *client = &roster->entries[i];
                char since[QUANTITY_BYTES];
                table_row(&table);
                table_id(&table, client->session);
                table_text(&table, client->name);
                table_id(&table, client->pid);
                table_id(&table, client->uid);
                table_bytes(&table, client->held_bytes);
                table_count(&table, client->held_ranges);
                table_bytes(&table, client->cached_bytes);
                table_count(&table, client->waiting);
                table_text(&table, quantity_seconds(since, client->connected_seconds));
                table_text(&table, client_state(client));
        }
        int error = table_print(&table, stdout);
        table_deinit(&table);
        return error == 0 ? EXIT_DONE : complain(EXIT_REFUSED, "out of memory; try --json");
}

static enum exit_status print_clients(const struct invocation *invocation,
        const struct roster *roster, const struct columns *chosen) {
        if (invocation_has(invocation, OPTION_JSON))
                print_json(roster, ask_pool(invocation));
        else if (roster->count == 0)
                puts("nobody is connected");
        else
                return print_table(roster, chosen);
        return EXIT_DONE;
}

enum exit_status cmd_clients(const struct invocation *invocation) {
        const char *sort = invocation->values[OPTION_SORT];
        enum roster_key key = ROSTER_ID;
        if (sort && roster_key_parse(sort, &key) != 0)
                return complain(EXIT_USAGE,
                        "--sort %s: give id, name, pid, uid, held, cached or waiting", sort);
        struct observer observer;
        struct columns chosen;
        enum exit_status status = columns_choose(invocation, columns, COLUMN_COUNT, &chosen);
        if (status == EXIT_DONE)
                status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        struct roster roster;
        status = roster_load(&observer, &roster);
        if (status == EXIT_DONE) {
                roster_sort(&roster, key);
                status = print_clients(invocation, &roster, &chosen);
                roster_deinit(&roster);
        }
        observer_close(&observer);
        return status;
}

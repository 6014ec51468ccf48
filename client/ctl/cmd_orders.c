/* orders: what is free and held of each block size, and how fragmented that is. */
#include "ask.h"
#include "complain.h"
#include "stats_view.h"
#include "table.h"

static const struct table_column columns[] = {
        {"ORDER", false},
        {"BLOCK", false},
        {"FREE", false},
        {"HELD", false},
        {"UNUSABLE", false},
        {"FRAGMENTATION", false},
};
#define COLUMN_COUNT (sizeof(columns) / sizeof(columns[0]))

static enum exit_status print_table(const struct reply_stats *stats, const struct columns *chosen) {
        struct table table;
        table_init(&table, columns, chosen);
        for (size_t i = 0; i < stats->order_count; i++) {
                const struct reply_order *order = &stats->orders[i];
                table_row(&table);
                table_id(&table, order->order);
                table_bytes(&table, order->block_bytes);
                table_count(&table, order->free_blocks);
                table_count(&table, order->held_blocks);
                table_number(&table, order->unusable_index);
                table_number(&table, order->fragmentation_index);
        }
        int error = table_print(&table, stdout);
        table_deinit(&table);
        return error == 0 ? EXIT_DONE : complain(EXIT_REFUSED, "out of memory; try --json");
}

enum exit_status cmd_orders(const struct invocation *invocation) {
        struct observer observer;
        struct columns chosen;
        enum exit_status status = columns_choose(invocation, columns, COLUMN_COUNT, &chosen);
        if (status == EXIT_DONE)
                status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        struct request request = {.kind = REQUEST_STATS};
        struct reply reply;
        status = ask(&observer, &request, REPLY_STATS, &reply);
        if (status == EXIT_DONE && invocation_has(invocation, OPTION_JSON)) {
                struct json json = {.out = stdout};
                json_begin_object(&json, NULL);
                json_text(&json, "pool", reply.stats.pool);
                stats_view_orders_json(&json, &reply.stats);
                json_end_object(&json);
                json_end_document(&json);
        } else if (status == EXIT_DONE) {
                status = print_table(&reply.stats, &chosen);
        }
        observer_close(&observer);
        return status;
}

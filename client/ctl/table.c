/* libsmartcols lays out; what stands in the cells is made here. */
#include "table.h"

#include <errno.h>
#include <inttypes.h>
#include <libsmartcols/libsmartcols.h>
#include <stdlib.h>

#include "printable.h"
#include "quantity.h"

void table_init(
        struct table *table, const struct table_column *all, const struct columns *columns) {
        *table = (struct table){.handle = scols_new_table(), .columns = *columns};
        table->failed = !table->handle;
        if (table->failed)
                return;
        /* Its own escape would escape ours again. */
        scols_table_enable_noencoding(table->handle, 1);
        for (unsigned i = 0; i < columns->count; i++) {
                const struct table_column *column = &all[columns->chosen[i]];
                if (!scols_table_new_column(
                            table->handle, column->heading, 0, column->left ? 0 : SCOLS_FL_RIGHT))
                        table->failed = true;
        }
}

void table_deinit(struct table *table) {
        if (table->handle)
                scols_unref_table(table->handle);
        table->handle = NULL;
}

void table_row(struct table *table) {
        table->row = table->failed ? NULL : scols_table_new_line(table->handle, NULL);
        table->next_column = 0;
        if (!table->row)
                table->failed = true;
}

static void table_plain(struct table *table, const char *text) {
        if (table->failed)
                return;
        for (unsigned i = 0; i < table->columns.count; i++)
                if (table->columns.chosen[i] == table->next_column &&
                        (!text || scols_line_set_data(table->row, i, text) != 0))
                        table->failed = true;
        table->next_column++;
}

void table_text(struct table *table, const char *text) {
        char *escaped = printable_text(text);
        table_plain(table, escaped);
        free(escaped);
}

void table_id(struct table *table, uint64_t id) {
        char text[QUANTITY_BYTES];
        snprintf(text, sizeof(text), "%" PRIu64, id);
        table_plain(table, text);
}

void table_count(struct table *table, uint64_t count) {
        char text[QUANTITY_BYTES];
        table_plain(table, quantity_count(text, count));
}

void table_bytes(struct table *table, uint64_t bytes) {
        char text[QUANTITY_BYTES];
        table_plain(table, quantity_amount(text, bytes, table->columns.raw_bytes));
}

void table_number(struct table *table, double value) {
        char text[64];
        snprintf(text, sizeof(text), "%.3f", value);
        table_plain(table, text);
}

int table_print(struct table *table, FILE *out) {
        if (table->failed)
                return -ENOMEM;
        scols_table_set_stream(table->handle, out);
        return scols_print_table(table->handle) != 0 ? -ENOMEM : 0;
}

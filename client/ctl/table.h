/* Tables for people: columns that fit their cells, by libsmartcols. Out of memory anywhere shows once, as the
 * return of table_print. Not thread-safe. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "columns.h"

struct libscols_table;
struct libscols_line;
struct table {
        struct libscols_table *handle; /* owned */
        struct libscols_line *row;     /* the last one */
        unsigned next_column;          /* of all that there are */
        struct columns columns;        /* those that are shown */
        bool failed;
};

void table_init(struct table *table, const struct table_column *all, const struct columns *columns);
void table_deinit(struct table *table);

/* Begins a row; the cells of all columns follow in their order, also of those that are not shown. */
void table_row(struct table *table);
void table_text(struct table *table, const char *text); /* from others: escaped as needed */
void table_id(struct table *table, uint64_t id);        /* bare digits */
void table_count(struct table *table, uint64_t count);  /* in groups of three */
void table_bytes(struct table *table, uint64_t bytes);
void table_number(struct table *table, double value); /* three decimals */

/* 0, or -ENOMEM and nothing was printed. */
int table_print(struct table *table, FILE *out);

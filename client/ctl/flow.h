/* Phrases one behind the other, in lines that are no wider than they may be. Not thread-safe. */
#pragma once

#include <stdio.h>

#include "terminal.h"

struct flow {
        FILE *out; /* not owned */
        unsigned width, column;
};

/* Columns that text takes on a terminal. */
unsigned flow_columns(const char *text);

/* Bytes of text that so many columns hold. */
size_t flow_cut(const char *text, unsigned columns);

/* A mark in its style and what it means, two blanks behind what stands before, or on a line of its own. Text that no line has room
 * for goes on on the next. Mark may be NULL. What is not printable in text comes escaped. */
void flow_phrase(struct flow *flow, enum terminal_style style, const char *mark, const char *text);

/* Ends the line, if one was begun. */
void flow_end(struct flow *flow);

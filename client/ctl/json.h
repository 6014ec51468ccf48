/* Writes JSON: compact, one document a line, pure ASCII (all else as \uNNNN), numbers as numbers. The
 * caller nests properly; keys are the caller's own and need no escape. Not thread-safe. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
        FILE *out;      /* not owned */
        bool comma_due; /* something stands before at this level */
};

/* Key NULL: an element of an array, or the document itself. */
void json_begin_object(struct json *json, const char *key);
void json_end_object(struct json *json);
void json_begin_array(struct json *json, const char *key);
void json_end_array(struct json *json);

void json_text(struct json *json, const char *key, const char *value);
void json_integer(struct json *json, const char *key, uint64_t value);
void json_number(struct json *json, const char *key, double value); /* null if not finite */
void json_figure(
        struct json *json, const char *key, const char *digits); /* a number that is text already */
void json_bool(struct json *json, const char *key, bool value);

/* Ends the document with its line. */
void json_end_document(struct json *json);

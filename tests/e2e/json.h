/* A small reader of JSON for checking what buddyctl prints: strict about the grammar, so that output which another
 * reader would refuse is refused here too. Values live until the process ends. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_kind {
        JSON_NULL,
        JSON_BOOL,
        JSON_INTEGER, /* a number without fraction or exponent */
        JSON_REAL,
        JSON_STRING,
        JSON_LIST,
        JSON_OBJECT,
};

struct json {
        enum json_kind kind;
        bool truth;
        int64_t integer;    /* JSON_INTEGER */
        double number;      /* JSON_INTEGER and JSON_REAL */
        char *text;         /* JSON_STRING: its value */
        char *key;          /* of a member of an object */
        struct json *first; /* of a list or an object */
        struct json *next;
        size_t count; /* of a list or an object */
};

/* One whole document, or NULL when text is not JSON. *rest, where wanted, gets what follows the first document;
 * without it nothing but white space may follow. */
const struct json *json_parse(const char *text, const char **rest);

/* The member, or NULL. */
const struct json *json_member(const struct json *object, const char *key);

/* The first list of objects in the document whose first entry has this key: the document itself, or a member of it. */
const struct json *json_list_with(const struct json *document, const char *key);

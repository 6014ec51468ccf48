/* See metrics_json.h. */
#include "metrics_json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:"

/* A name that ends with one of these, which is written over; *at goes behind it. NULL: there is none. */
static const char *name_take(char **at, const char *ends, char *end) {
        char *name = *at;
        size_t length = strspn(name, NAME_CHARACTERS);
        *end = name[length];
        if (length == 0 || *end == '\0' || !strchr(ends, *end))
                return NULL;
        name[length] = '\0';
        *at = name + length + 1;
        return name;
}

/* What stands between quotes, without its escapes. */
static const char *quoted_take(char **at) {
        char *value = *at + 1, *to = value, *from = value;
        if (**at != '"')
                return NULL;
        for (; *from != '"'; from++, to++) {
                bool escaped = *from == '\\';
                if (escaped)
                        from++;
                if (*from == '\0')
                        return NULL;
                *to = escaped && *from == 'n' ? '\n' : *from;
        }
        *to = '\0';
        *at = from + 1;
        return value;
}

static int labels_write(struct json *json, char **at) {
        char end;
        while (**at != '}') {
                const char *name = name_take(at, "=", &end);
                const char *value = name ? quoted_take(at) : NULL;
                if (!value)
                        return -EPROTO;
                json_text(json, name, value);
                if (**at == ',')
                        ++*at;
        }
        ++*at;
        return **at == ' ' ? 0 : -EPROTO;
}

/* With every digit that was sent; what JSON has no number for, as infinity, is null. */
static int value_write(struct json *json, const char *text) {
        size_t length = strlen(text);
        if (length > 0 && strspn(text, "-+.e0123456789") == length && !strchr("+.e", *text)) {
                json_figure(json, "value", text);
                return 0;
        }
        char *end;
        double value = strtod(text, &end);
        if (end == text || *end != '\0' || isfinite(value))
                return -EPROTO;
        json_number(json, "value", value);
        return 0;
}

static int sample_write(struct json *json, char *line) {
        char end;
        const char *name = name_take(&line, "{ ", &end);
        if (!name)
                return -EPROTO;
        json_begin_object(json, NULL);
        json_text(json, "name", name);
        json_begin_object(json, "labels");
        int error = end == '{' ? labels_write(json, &line) : 0;
        json_end_object(json);
        if (error == 0)
                error = value_write(json, line + strspn(line, " "));
        json_end_object(json);
        return error;
}

int metrics_json_write(FILE *out, struct metrics_text *text) {
        struct json json = {.out = out};
        int error = 0;
        json_begin_object(&json, NULL);
        json_begin_array(&json, "samples");
        char *line = text->bytes, *end;
        for (size_t left = text->length; left > 0 && error == 0;
                left -= (size_t)(end - line), line = end) {
                end = memchr(line, '\n', left);
                if (!end) {
                        error = -EPROTO;
                        break;
                }
                *end++ = '\0';
                if (*line != '#' && *line != '\0')
                        error = sample_write(&json, line);
        }
        json_end_array(&json);
        json_end_object(&json);
        json_end_document(&json);
        return error;
}
